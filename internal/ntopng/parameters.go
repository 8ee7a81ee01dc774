package ntopng

import (
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// parameters are those of one request, or of one entry of ts_requests.
type parameters struct {
	values   map[string]string
	requests []*parameters // ts_requests of ts_multi.lua
	now      int64
}

// read takes parameters from the query of the URL and, with POST, from a body that is a
// JSON object.
func read(w http.ResponseWriter, r *http.Request) (*parameters, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &problem{fmt.Sprintf("cannot use the query %.200q: %v", r.URL.RawQuery, err)}
	}
	p := &parameters{values: make(map[string]string)}
	for name, list := range query {
		p.values[name] = list[0]
	}
	if r.Method != http.MethodPost {
		return p, nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, &problem{fmt.Sprintf("cannot read a body of type %.100q: send application/json", r.Header.Get("Content-Type"))}
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.UseNumber()
	var body map[string]any
	if err := d.Decode(&body); err != nil {
		return nil, &problem{"cannot read the body, a JSON object is needed: " + err.Error()}
	}
	if list, ok := body["ts_requests"]; ok {
		delete(body, "ts_requests")
		if err := p.readRequests(list); err != nil {
			return nil, err
		}
	}
	return p, p.add(body)
}

// readRequests reads the entries of ts_requests.
func (p *parameters) readRequests(list any) error {
	entries, ok := list.([]any)
	if !ok || len(entries) == 0 || len(entries) > maxRequests {
		return &problem{fmt.Sprintf("cannot use ts_requests: a list of 1 to %d objects is needed", maxRequests)}
	}
	for _, entry := range entries {
		object, ok := entry.(map[string]any)
		if !ok {
			return &problem{"cannot use ts_requests: its entries must be objects with ts_schema and ts_query"}
		}
		one := &parameters{values: make(map[string]string)}
		if err := one.add(object); err != nil {
			return err
		}
		p.requests = append(p.requests, one)
	}
	return nil
}

// add takes the values of an object over as the text a URL would have.
func (p *parameters) add(object map[string]any) error {
	for name, v := range object {
		switch v := v.(type) {
		case string:
			p.values[name] = v
		case json.Number:
			p.values[name] = v.String()
		case bool:
			p.values[name] = strconv.FormatBool(v)
		case nil: // as if it were not there
		default:
			return &problem{fmt.Sprintf("cannot use %.100q: it must be text, a number, true or false", name)}
		}
	}
	return nil
}

// share gives an entry of ts_requests what stands beside the list.
func (p *parameters) share(from *parameters) {
	p.now = from.now
	for name, v := range from.values {
		if _, own := p.values[name]; !own {
			p.values[name] = v
		}
	}
}

func (p *parameters) int(name string, otherwise int64) (int64, error) {
	text := p.values[name]
	if text == "" {
		return otherwise, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) {
		return 0, &problem{fmt.Sprintf("cannot use %s=%.100q: a whole number is needed", name, text)}
	}
	const far = 1 << 53
	return int64(min(max(v, -far), far)), nil
}

func (p *parameters) flag(name string) bool {
	return p.values[name] == "true" || p.values[name] == "1"
}

// tags reads ts_query: tag:value,tag:value. Values may hold colons, and commas as long
// as no colon comes after them: what has none goes on with the value before.
func (p *parameters) tags() (timeseries.Tags, error) {
	tags := make(timeseries.Tags)
	text := p.values["ts_query"]
	if text == "" {
		return tags, nil
	}
	last := ""
	for item := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(item, ":")
		if !ok && last != "" {
			tags[last] += "," + item
			continue
		}
		if last = name; !ok || name == "" {
			return nil, &problem{fmt.Sprintf("cannot use %.100q of ts_query: tag:value,tag:value is needed", item)}
		}
		tags[name] = value
		if len(tags) > timeseries.MaxTags {
			return nil, &problem{fmt.Sprintf("cannot use ts_query: it has more than %d tags", timeseries.MaxTags)}
		}
	}
	return tags, nil
}

// schema reads ts_schema.
func (p *parameters) schema() (string, error) {
	name := p.values["ts_schema"]
	switch {
	case name == "":
		return "", &problem{"the parameter ts_schema is missing: it names a schema such as iface:traffic"}
	case strings.Contains(name, " "):
		return "", &problem{fmt.Sprintf("cannot use ts_schema=%.100q: the name of a schema has no spaces", name)}
	}
	return name, nil
}

// The lengths of time by which ts_compare goes back, in seconds.
var shifts = map[string]int64{
	"1m": 60, "5m": 300, "30m": 1800, "1h": 3600, "1d": 86400, "1w": 604800, "1M": 31 * 86400, "1Y": 366 * 86400,
}

// unknownShift is that of a text that is not one of them.
const unknownShift = 180

// shift reads ts_compare: how far back the range lies that is compared with; 0 for none.
func (p *parameters) shift() (name string, seconds int64) {
	name = p.values["ts_compare"]
	if name == "" {
		return "", 0
	}
	if seconds = shifts[name]; seconds == 0 {
		seconds = unknownShift
	}
	return name, seconds
}
