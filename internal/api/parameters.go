package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/timeseries"
)

// Limits of one question.
const (
	maxPoints = timeseries.MaxSlots
	maxTop    = 1000

	// maxValues bounds the points of an answer over all its series, so that one
	// question takes at most some ten megabytes.
	maxValues = 1 << 20
)

// What each endpoint understands. tag and group_by may be there many times.
var (
	totalParameters  = []string{"schema", "tag", "start", "end", "resolution"}
	queryParameters  = []string{"schema", "tag", "start", "end", "group_by", "points", "fill", "min_value", "stats", "initial_point", "consolidation", "resolution"}
	topkParameters   = []string{"schema", "tag", "start", "end", "group_by", "points", "fill", "min_value", "stats", "initial_point", "consolidation", "resolution", "top", "series"}
	seriesParameters = []string{"schema", "tag", "start", "end", "limit"}
)

// parameters are those of one request. The first error of a reading method stays.
type parameters struct {
	values url.Values
	now    time.Time
	err    error
}

// readParameters takes them from the query of the URL and from the body of a
// POST, which is a form or a JSON object with the same names.
func readParameters(w http.ResponseWriter, r *http.Request, known []string) (*parameters, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badParameter("the query", r.URL.RawQuery, "it is not a URL's query: "+err.Error())
	}
	if r.Method == http.MethodPost {
		body, err := readBody(w, r)
		if err != nil {
			return nil, err
		}
		for name, list := range body {
			values[name] = append(values[name], list...)
		}
	}
	for name, list := range values {
		if !slices.Contains(known, name) {
			return nil, &Error{http.StatusBadRequest, "bad_parameter", fmt.Sprintf("unknown parameter %.100q%s", name, suggest(name, known, "there are none here"))}
		}
		switch {
		case name != "tag" && name != "group_by" && len(list) > 1:
			return nil, badParameter(name, strings.Join(list, ","), "it is there more than once")
		case len(list) > timeseries.MaxTags:
			return nil, badParameter(name, list[0], fmt.Sprintf("it is there %d times, at most %d are allowed", len(list), timeseries.MaxTags))
		}
	}
	return &parameters{values: values, now: time.Now()}, nil
}

func readBody(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = r.Header.Get("Content-Type")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var values url.Values
	switch kind {
	case "application/x-www-form-urlencoded":
		if err = r.ParseForm(); err == nil {
			values = r.PostForm
		}
	case "application/json":
		values, err = readJSON(json.NewDecoder(r.Body))
	case "":
		if r.ContentLength == 0 {
			return nil, nil
		}
		fallthrough
	default:
		return nil, &Error{http.StatusUnsupportedMediaType, "bad_body", fmt.Sprintf("cannot read a body of type %q: send application/x-www-form-urlencoded or application/json", kind)}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &Error{http.StatusRequestEntityTooLarge, "bad_body", fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	}
	if err != nil {
		return nil, &Error{http.StatusBadRequest, "bad_body", "cannot read the body: " + err.Error()}
	}
	return values, nil
}

// readJSON reads an object whose values are text, numbers, booleans or lists of these.
func readJSON(d *json.Decoder) (url.Values, error) {
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("there is more than one JSON value")
	}
	values := make(url.Values)
	for name, v := range object {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, item := range list {
			switch item := item.(type) {
			case string:
				values.Add(name, item)
			case json.Number:
				values.Add(name, item.String())
			case bool:
				values.Add(name, strconv.FormatBool(item))
			case nil: // as if it were not there
			default:
				return nil, fmt.Errorf("%.100q must be text, a number, true, false, or a list of these", name)
			}
		}
	}
	return values, nil
}

func (p *parameters) get(name string) string {
	if list := p.values[name]; len(list) > 0 {
		return list[0]
	}
	return ""
}

func (p *parameters) fail(err *Error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parameters) time(name string, otherwise int64) int64 {
	text := p.get(name)
	if text == "" {
		return otherwise
	}
	t, err := ParseTime(text, p.now)
	if err != nil {
		p.fail(badParameter(name, text, err.Error()))
	}
	return t
}

// interval reads start and end.
func (p *parameters) interval(start, end int64) (int64, int64) {
	start, end = p.time("start", start), p.time("end", end)
	if p.err == nil && start > end && end != 0 {
		p.fail(badParameter("start", p.get("start"), fmt.Sprintf("the range starts at %d and ends before it, at %d", start, end)))
	}
	return start, end
}

func (p *parameters) int(name string, otherwise, low, high int) int {
	text := p.get(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		p.fail(badParameter(name, text, fmt.Sprintf("want a whole number from %d to %d", low, high)))
	}
	return n
}

func (p *parameters) float(name string, otherwise float64) float64 {
	text := p.get(name)
	if text == "" {
		return otherwise
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		p.fail(badParameter(name, text, "want a number; leave the parameter out for none"))
	}
	return v
}

func (p *parameters) bool(name string, otherwise bool) bool {
	switch text := p.get(name); text {
	case "":
		return otherwise
	case "true", "1":
		return true
	case "false", "0":
		return false
	default:
		p.fail(badParameter(name, text, "want true or false"))
		return false
	}
}

// consolidation is what becomes of the points in a longer step.
func (p *parameters) consolidation() timeseries.Consolidation {
	switch text := p.get("consolidation"); text {
	case "":
		return timeseries.BySchema
	case "mean":
		return timeseries.ByMean
	case "max":
		return timeseries.ByMax
	case "min":
		return timeseries.ByMin
	default:
		p.fail(badParameter("consolidation", text, "want mean, max or min; leave the parameter out for that of the schema"))
		return timeseries.BySchema
	}
}

// resolution is what is read of those in which series are kept.
func (p *parameters) resolution() timeseries.Resolution {
	text := p.get("resolution")
	resolution, err := timeseries.ParseResolution(text)
	if err != nil {
		p.fail(badParameter("resolution", text, "want raw, 1m, 1h or 1d; leave the parameter out for what answers fastest"))
	}
	return resolution
}

// tags reads the filter: tag=NAME=VALUE, once per tag.
func (p *parameters) tags(s *timeseries.Schema) timeseries.Tags {
	tags := make(timeseries.Tags)
	for _, text := range p.values["tag"] {
		name, value, ok := strings.Cut(text, "=")
		longest := timeseries.MaxTagValue
		if name == s.Packed {
			longest = timeseries.MaxPacked
		}
		switch _, twice := tags[name]; {
		case !ok || name == "":
			p.fail(badParameter("tag", text, "want tag=NAME=VALUE"))
		case twice:
			p.fail(badParameter("tag", text, fmt.Sprintf("tag %q is there twice; one value can be asked for", name)))
		case len(value) > longest:
			p.fail(badParameter("tag", text, fmt.Sprintf("the value is %d bytes long, at most %d are allowed", len(value), longest)))
		default:
			p.known(s, name)
			tags[name] = value
		}
	}
	return tags
}

// groupBy reads the names to group by: repeated, or one list with commas.
func (p *parameters) groupBy(s *timeseries.Schema) []string {
	var names []string
	for _, text := range p.values["group_by"] {
		for name := range strings.SplitSeq(text, ",") {
			switch {
			case name == "":
				p.fail(badParameter("group_by", text, "want NAME or NAME,NAME"))
			case len(names) == timeseries.MaxTags:
				p.fail(badParameter("group_by", text, fmt.Sprintf("at most %d names are allowed", timeseries.MaxTags)))
			case !slices.Contains(names, name):
				p.known(s, name)
				names = append(names, name)
			}
			if p.err != nil {
				return nil
			}
		}
	}
	return names
}

// known checks a tag name. A schema with a packed tag may have any name inside it.
func (p *parameters) known(s *timeseries.Schema, name string) {
	if s.Packed == "" && !slices.Contains(s.Tags, name) {
		p.fail(&Error{http.StatusBadRequest, "unknown_tag", fmt.Sprintf("schema %q has no tag %.100q%s", s.Name, name, suggest(name, s.Tags, "it has no tags"))})
	}
}

// question reads what query and topk share.
func (p *parameters) question(s *timeseries.Schema) (timeseries.Query, error) {
	q := timeseries.Query{Schema: s, Options: timeseries.DefaultOptions()}
	q.Start, q.End = p.interval(p.now.Add(-time.Hour).Unix(), p.now.Unix())
	q.Tags, q.GroupBy = p.tags(s), p.groupBy(s)
	q.MaxPoints = p.int("points", q.MaxPoints, 1, maxPoints)
	q.FillValue = p.float("fill", math.NaN())
	q.MinValue = p.float("min_value", math.Inf(-1)) // the contract's 0 would hide negative gauges
	q.NoStatistics = !p.bool("stats", true)
	q.InitialPoint = p.bool("initial_point", false)
	q.Consolidation = p.consolidation()
	q.Resolution = p.resolution()
	q.Top = p.int("top", q.Top, 1, maxTop)
	q.WithSeries = p.bool("series", false)
	if p.err != nil {
		return q, p.err
	}
	return q, nil
}

// suggest ends an error about a name that is not known: with the nearest one, or with all of them.
func suggest(name string, known []string, none string) string {
	if len(known) == 0 {
		return ": " + none
	}
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	if len(known) > 20 {
		return fmt.Sprintf(": there are %s and %d more", strings.Join(known[:20], ", "), len(known)-20)
	}
	return ": there are " + strings.Join(known, ", ")
}

// nearest is the known name with the fewest edits to name, "" when none is close.
func nearest(name string, known []string) string {
	if len(name) > timeseries.MaxNameLength {
		return ""
	}
	best, least := "", len(name)/3+2
	for _, k := range known {
		if d := edits(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// edits counts the insertions, deletions and replacements between two names.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
