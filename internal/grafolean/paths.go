package grafolean

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// filter chooses paths: segments that are literal, "?" for one and "*" for one or more (section 4.8).
type filter []string

// maxFilter bounds a filter, in segments.
const maxFilter = 100

func parseFilter(text string) (filter, error) {
	f := filter(strings.Split(text, "."))
	for _, part := range f {
		if part != "?" && part != "*" && (part == "" || strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "") {
			return nil, invalid("Invalid PathFilterInputValue format: %s", shorten(text))
		}
	}
	if len(f) > maxFilter {
		return nil, invalid("Invalid PathFilterInputValue format: %s", shorten(text))
	}
	return f, nil
}

// matches reports whether all of a path is what the filter says.
func (f filter) matches(path string) bool {
	return f.match(strings.Split(path, "."), false)
}

// match compares segments. When only the beginning must match, segments may follow. It goes back to
// the last "*" only, which is enough, so that no filter takes long.
func (f filter) match(segments []string, beginning bool) bool {
	i, star, resume := 0, -1, 0
	for j := 0; j < len(segments); j++ {
		switch {
		case i < len(f) && f[i] == "*":
			star, resume = i, j
			i++
		case i < len(f) && (f[i] == "?" || f[i] == segments[j]):
			i++
		case beginning && i == len(f):
			return true
		case star >= 0:
			resume++
			i, j = star+1, resume
		default:
			return false
		}
	}
	return i == len(f)
}

// pathJSON is a path with its number.
type pathJSON struct {
	ID   int64  `json:"id"`
	Path string `json:"path"`
}

// maxPaths is how many paths of a filter are shown at once.
const maxPaths = 10_000

// paths are those of an account that match filters.
func paths(c *call) error {
	account, err := c.known()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	limit := 10
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 0 || limit > maxPaths {
			return bad("Invalid parameter: limit")
		}
	}
	trailing := query.Get("failover_trailing") == "true"
	found, limited, err := c.matching(account, query.Get("filter"), limit, trailing)
	if err != nil {
		return err
	}
	answer := map[string]any{"paths": found, "limit_reached": limited}
	if len(found) == 0 && trailing {
		more, limited, err := c.matchingBeginnings(account, query.Get("filter"), limit)
		if err != nil {
			return err
		}
		answer["paths_with_trailing"], answer["limit_reached"] = more, limited
	}
	return c.ok(answer)
}

// matching are the paths of every filter of a list; without any match there are none.
func (c *call) matching(account int64, text string, limit int, lenient bool) (map[string][]pathJSON, bool, error) {
	if text == "" {
		return map[string][]pathJSON{}, false, nil
	}
	matches := make(map[string]func(string) bool)
	for _, one := range strings.Split(text, ",") {
		f, err := parseFilter(one)
		if err != nil {
			if lenient {
				continue
			}
			return nil, false, err
		}
		matches[one] = f.matches
	}
	return c.choose(account, matches, limit)
}

// matchingBeginnings are the paths that begin as filters say, the last segment of which may be unfinished.
func (c *call) matchingBeginnings(account int64, text string, limit int) (map[string][]pathJSON, bool, error) {
	matches := make(map[string]func(string) bool)
	for _, one := range strings.Split(text, ",") {
		above, unfinished := filter{}, one
		if i := strings.LastIndexByte(one, '.'); i >= 0 {
			f, err := parseFilter(one[:i])
			if err != nil {
				return nil, false, err
			}
			above, unfinished = f, one[i+1:]
		}
		if unfinished == "?" || unfinished == "*" {
			above, unfinished = append(above, unfinished), ""
		}
		matches[one] = func(path string) bool {
			segments := strings.Split(path, ".")
			for i := range segments {
				if strings.HasPrefix(segments[i], unfinished) && above.match(segments[:i], false) {
					return true
				}
			}
			return false
		}
	}
	return c.choose(account, matches, limit)
}

// choose gives the paths of an account to functions. With no match at all the map is empty.
func (c *call) choose(account int64, matches map[string]func(string) bool, limit int) (map[string][]pathJSON, bool, error) {
	names := make(map[string][]string)
	if c.s.driver != nil && len(matches) > 0 {
		for tags, err := range c.s.driver.List(c.ctx, timeseries.ListQuery{Schema: Schema, Tags: timeseries.Tags{"account": strconv.FormatInt(account, 10)}}) {
			if errors.Is(err, timeseries.ErrUnknownSchema) || errors.Is(err, timeseries.ErrNoSeries) {
				break
			}
			if err != nil {
				return nil, false, err
			}
			for name, match := range matches {
				if match(tags["path"]) {
					names[name] = append(names[name], tags["path"])
				}
			}
		}
	}
	found, limited := make(map[string][]pathJSON), false
	if len(names) == 0 {
		return found, false, nil
	}
	for name := range matches {
		all := names[name]
		slices.Sort(all)
		if len(all) > limit {
			all, limited = all[:limit], true
		}
		ids, err := c.s.inventory.PathIDs(c.ctx, account, all)
		if err != nil {
			return nil, false, err
		}
		found[name] = make([]pathJSON, len(all))
		for i := range all {
			found[name][i] = pathJSON{ids[i], all[i]}
		}
	}
	return found, limited, nil
}

// pathOf is the path the resource is about.
func (c *call) pathOf() (account, id int64, path string, err error) {
	account, id, err = c.within("path")
	if err != nil {
		return 0, 0, "", err
	}
	path, err = c.s.inventory.Path(c.ctx, account, id)
	return account, id, path, missing(err, "path")
}

func path(c *call) error {
	_, _, name, err := c.pathOf()
	if err != nil {
		return err
	}
	return c.ok(map[string]string{"path": name})
}

func deletePath(c *call) error {
	account, id, name, err := c.pathOf()
	if err != nil {
		return err
	}
	if err := c.forget(account, name); err != nil {
		return err
	}
	if err := c.s.inventory.DeletePath(c.ctx, account, id); err != nil {
		return missing(err, "path")
	}
	return c.done()
}

// forget removes the values of a path.
func (c *call) forget(account int64, path string) error {
	if c.s.driver == nil {
		return errNoReader
	}
	return c.s.driver.Delete(c.ctx, "collector", timeseries.Tags{"account": strconv.FormatInt(account, 10), "path": path})
}

// renamePath keeps the values: they are stored under the new name before the old one goes.
func renamePath(c *call) error {
	account, id, old, err := c.pathOf()
	if err != nil {
		return err
	}
	var body struct {
		Path string `json:"path"`
	}
	if err := c.decode(&body, []string{"path"}, nil); err != nil {
		return err
	}
	if err := checkPath(body.Path); err != nil {
		return err
	}
	if body.Path == old {
		return c.done()
	}
	if c.s.reader == nil {
		return errNoReader
	}
	taken := failed(http.StatusConflict, "There is a path with this name")
	all := timeseries.SampleQuery{Schema: Schema, Through: 1<<33 - 1}
	all.Tags = timeseries.Tags{"account": strconv.FormatInt(account, 10), "path": body.Path}
	for _, err := range c.s.reader.Samples(c.ctx, all) {
		if err == nil {
			return taken
		}
	}
	all.Tags["path"] = old
	tags := []string{strconv.FormatInt(account, 10), body.Path}
	var points []timeseries.Point
	for samples, err := range c.s.reader.Samples(c.ctx, all) {
		if err != nil {
			return err
		}
		for i, t := range samples.Times {
			points = append(points, timeseries.Point{Schema: Schema, Time: t, Tags: tags, Values: []float64{samples.Values[0][i]}})
		}
	}
	if err := c.s.append(c, points); err != nil {
		return err
	}
	if err := c.s.inventory.RenamePath(c.ctx, account, id, body.Path); err != nil {
		return missing(err, "path")
	}
	if err := c.forget(account, old); err != nil {
		return err
	}
	return c.done()
}
