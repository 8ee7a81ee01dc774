package grafolean

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/timeseries"
)

// dataPoint is a value that is read.
type dataPoint struct {
	T   seconds  `json:"t"`
	V   float64  `json:"v"`
	Min *float64 `json:"minv,omitempty"`
	Max *float64 `json:"maxv,omitempty"`
}

// seconds are shown with a decimal, as clients know them.
type seconds int64

// MarshalJSON implements json.Marshaler.
func (s seconds) MarshalJSON() ([]byte, error) {
	return append(strconv.AppendInt(nil, int64(s), 10), ".0"...), nil
}

// pathData is what is read of a path.
type pathData struct {
	Next *seconds    `json:"next_data_point"` // of the first value beyond the limit
	Data []dataPoint `json:"data"`
}

// question asks for values (section 4.6).
type question struct {
	account    int64
	paths      []string
	from       []int64 // per path
	through    int64
	descending bool
	limit      int
	level      int // of aggregation, -1 for none
}

// maxLimit is how many values of a path are read at once.
const maxLimit = 100_000

func bad(text string) error { return failed(http.StatusBadRequest, "%s", text) }

// values are those of the path in the URL.
func values(c *call) error {
	query := c.r.URL.Query()
	path := c.args[1]
	if strings.Contains(path, ",") {
		return bad("Only a single path is allowed")
	}
	return c.values(map[string]string{"p": path, "t0": query.Get("t0"), "t1": query.Get("t1"), "sort": query.Get("sort"), "limit": query.Get("limit")}, false)
}

func getValues(c *call) error     { return c.posted(false) }
func getAggregated(c *call) error { return c.posted(true) }

// posted reads the parameters of a question from the body.
func (c *call) posted(aggregated bool) error {
	given, _, err := c.object()
	if err != nil {
		return err
	}
	parameters := make(map[string]string)
	for name, value := range given {
		if string(value) == "null" {
			continue
		}
		text := string(value)
		if text[0] == '"' {
			if err := json.Unmarshal(value, &text); err != nil {
				return invalid("%s is not a text", name)
			}
		}
		parameters[name] = text
	}
	return c.values(parameters, aggregated)
}

// values answers a question.
func (c *call) values(parameters map[string]string, aggregated bool) error {
	q, err := c.question(parameters, aggregated)
	if err != nil {
		return err
	}
	answer := make(map[string]pathData, len(q.paths))
	for i, path := range q.paths {
		data, err := c.s.read(c.ctx, q, path, q.from[i])
		if err != nil {
			return err
		}
		answer[path] = data
	}
	return c.ok(map[string]any{"paths": answer})
}

func (c *call) question(parameters map[string]string, aggregated bool) (q *question, err error) {
	q = &question{limit: maxLimit, level: -1, through: c.s.now().Unix()}
	if q.account, err = c.known(); err != nil {
		return nil, err
	}
	if parameters["p"] == "" {
		return nil, bad("Path(s) not specified")
	}
	q.paths = strings.Split(parameters["p"], ",")
	for _, path := range q.paths {
		if collector.CheckPath(path) != nil {
			return nil, bad("Path(s) not specified correctly")
		}
	}
	q.from = make([]int64, len(q.paths))
	if text := parameters["t0"]; text != "" {
		times := strings.Split(text, ",")
		if len(times) == 1 {
			times = slices.Repeat(times, len(q.paths))
		}
		if len(times) != len(q.paths) {
			return nil, bad("Error parsing t0")
		}
		for i, text := range times {
			if q.from[i], err = ceilTime(text); err != nil {
				return nil, bad("Error parsing t0")
			}
		}
	}
	if text := parameters["t1"]; text != "" {
		if q.through, err = parseTime(quote(text)); err != nil {
			return nil, bad("Error parsing t1")
		}
	}
	if text := parameters["limit"]; text != "" {
		if q.limit, err = strconv.Atoi(text); err != nil || q.limit < 0 || q.limit > maxLimit {
			return nil, bad("Invalid parameter: limit")
		}
	}
	switch parameters["sort"] {
	case "", "asc":
	case "desc":
		q.descending = true
	default:
		return nil, bad("Invalid parameter: sort (should be 'asc' or 'desc')")
	}
	if aggregated {
		if q.level, err = strconv.Atoi(parameters["a"]); err != nil {
			return nil, bad("Invalid parameter: a")
		}
		if q.level < 0 || q.level > 6 {
			return nil, bad("Invalid parameter a (should be a number in range from 0 to 6).")
		}
	}
	return q, nil
}

// ceilTime is the first whole second that is not before a time.
func ceilTime(text string) (int64, error) {
	t, err := parseTime(quote(text))
	if _, decimals, _ := strings.Cut(text, "."); strings.Trim(decimals, "0") != "" {
		t++
	}
	return t, err
}

// errNoReader is when values can be written but not read.
var errNoReader = errors.New("the timeseries driver that is read gives no samples")

// read reads the values of one path.
func (s *Server) read(ctx context.Context, q *question, path string, from int64) (pathData, error) {
	of := pathData{Data: []dataPoint{}}
	if s.reader == nil {
		return of, errNoReader
	}
	ask := timeseries.SampleQuery{Schema: Schema, Tags: timeseries.Tags{"account": strconv.FormatInt(q.account, 10), "path": path}, After: from - 1, Through: q.through}
	width := int64(0)
	if q.level >= 0 {
		width = bucketWidth(q.level)
		// A bucket is wanted when it begins in the range, and then all of it. The middle of one, which is what
		// next_data_point was before, stands for its beginning.
		if first := bucket(from, width); from-first == width/2 {
			ask.After = first - 1
		} else if first < from {
			ask.After = first + width - 1
		}
		ask.Through = bucket(q.through, width) + width - 1
	}
	for samples, err := range s.reader.Samples(ctx, ask) {
		if err != nil {
			if errors.Is(err, timeseries.ErrUnknownSchema) || errors.Is(err, timeseries.ErrNoSeries) {
				break
			}
			return of, err
		}
		if q.level < 0 {
			for i, t := range samples.Times {
				of.Data = append(of.Data, dataPoint{T: seconds(t), V: samples.Values[0][i]})
			}
		} else {
			of.Data = aggregate(samples, width)
		}
	}
	if q.descending {
		slices.Reverse(of.Data)
	}
	if len(of.Data) > q.limit {
		next := of.Data[q.limit].T
		of.Next, of.Data = &next, of.Data[:q.limit]
	}
	return of, nil
}

// origin is where buckets begin: 2000-01-03 00:00 UTC, a Monday (section 6).
const origin = 946857600

// bucketWidth is 3^level hours, in seconds.
func bucketWidth(level int) int64 {
	width := int64(3600)
	for range level {
		width *= 3
	}
	return width
}

// bucket is when the bucket of a time begins.
func bucket(t, width int64) int64 {
	offset := (t - origin) % width
	if offset < 0 {
		offset += width
	}
	return t - offset
}

// aggregate is a point for each bucket with values, at its middle.
func aggregate(samples *timeseries.Samples, width int64) []dataPoint {
	all := []dataPoint{}
	sum, n := 0.0, 0
	for i, t := range samples.Times {
		v := samples.Values[0][i]
		if math.IsNaN(v) {
			continue
		}
		middle := seconds(bucket(t, width) + width/2)
		if len(all) == 0 || all[len(all)-1].T != middle {
			low, high := v, v
			all = append(all, dataPoint{T: middle, Min: &low, Max: &high})
			sum, n = 0, 0
		}
		p := &all[len(all)-1]
		sum, n = sum+v, n+1
		p.V, *p.Min, *p.Max = sum/float64(n), min(*p.Min, v), max(*p.Max, v)
	}
	return all
}

// topWindow is how far back topvalues looks, in seconds.
const topWindow = 3600

// topValues are the largest values of the newest time at which there are any (section 4.7).
func topValues(c *call) error {
	account, err := c.known()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	wanted, err := parseFilter(query.Get("f"))
	if err != nil {
		return err
	}
	n, now := 5, c.s.now().Unix()
	if text := query.Get("n"); text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxLimit {
			return bad("Invalid parameter: n")
		}
	}
	if text := query.Get("t"); text != "" {
		if now, err = parseTime(quote(text)); err != nil {
			return bad("Error parsing t")
		}
	}
	if c.s.reader == nil {
		return errNoReader
	}
	type value struct {
		P string  `json:"p"`
		V float64 `json:"v"`
	}
	newest, total, found := int64(0), 0.0, []value{}
	for samples, err := range c.s.reader.Samples(c.ctx, timeseries.SampleQuery{
		Schema: Schema, Tags: timeseries.Tags{"account": strconv.FormatInt(account, 10)}, After: now - topWindow - 1, Through: now,
		Match: func(tags []string) bool { return wanted.matches(tags[1]) },
	}) {
		if errors.Is(err, timeseries.ErrUnknownSchema) || errors.Is(err, timeseries.ErrNoSeries) {
			break
		}
		if err != nil {
			return err
		}
		last := len(samples.Times) - 1
		if last < 0 || samples.Times[last] < newest {
			continue
		}
		if samples.Times[last] > newest {
			newest, total, found = samples.Times[last], 0, found[:0]
		}
		v := samples.Values[0][last]
		total += v
		found = append(found, value{strings.Clone(samples.Tags[1]), v})
	}
	if newest == 0 {
		newest = now
	}
	slices.SortFunc(found, func(a, b value) int {
		switch {
		case a.V > b.V:
			return -1
		case a.V < b.V:
			return 1
		}
		return strings.Compare(a.P, b.P)
	})
	return c.ok(struct {
		T     seconds `json:"t"`
		Total float64 `json:"total"`
		List  []value `json:"list"`
	}{seconds(newest), total, found[:min(n, len(found))]})
}
