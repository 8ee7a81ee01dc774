package tsdriver

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/timeseries"
)

// point is what scripts hand to the queues of interface: a schema, a time, tags and metrics.
type point struct {
	schema        string
	time          int64
	tags, metrics []field // by name
}

type field struct{ name, text string }

// readPoint reads the arguments of appendInfluxDB and rrd_enqueue (4.6).
func readPoint(c *lua.Call) (*point, error) {
	p := new(point)
	var err error
	if c.Type(1) == "table" { // a schema object
		t, err := c.Table(1)
		if err != nil {
			return nil, err
		}
		p.schema, _ = t.Get("name").(string)
	} else if p.schema, err = c.String(1); err != nil {
		return nil, err
	}
	at, err := c.Float(2)
	if err != nil {
		return nil, err
	}
	if !(at >= 0 && at < 1<<53) {
		return nil, &lua.ArgumentError{Argument: 2, Message: "not a time: " + lua.FormatNumber(at)}
	}
	p.time = int64(at)
	if p.tags, err = fields(c, 3, false); err != nil {
		return nil, err
	}
	p.metrics, err = fields(c, 4, true)
	if err == nil && len(p.metrics) == 0 {
		err = errors.New("there is no metric")
	}
	return p, err
}

// fields are the pairs of a table, sorted by name; of metrics the values are numbers.
func fields(c *lua.Call, argument int, metrics bool) ([]field, error) {
	t, err := c.Table(argument)
	if err != nil {
		return nil, err
	}
	if len(t.Array) > 0 {
		return nil, &lua.ArgumentError{Argument: argument, Message: "keys must be names"}
	}
	if len(t.Hash) > timeseries.MaxMetrics {
		return nil, &lua.ArgumentError{Argument: argument, Message: fmt.Sprintf("%d entries, at most %d are allowed", len(t.Hash), timeseries.MaxMetrics)}
	}
	list := make([]field, 0, len(t.Hash))
	for _, pair := range t.Hash {
		name, ok := pair.Key.(string)
		if !ok {
			return nil, &lua.ArgumentError{Argument: argument, Message: "keys must be names"}
		}
		text, err := fieldText(pair.Value, metrics)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", cut(name), err)
		}
		if len(name) > timeseries.MaxNameLength || len(text) > timeseries.MaxPacked || strings.ContainsAny(name+text, "\n\r\x00") {
			return nil, fmt.Errorf("%q is too long or holds a line end", cut(name))
		}
		list = append(list, field{name, text})
	}
	slices.SortFunc(list, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

func fieldText(v lua.Value, metric bool) (string, error) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", fmt.Errorf("%s is no value", lua.FormatNumber(v))
		}
		if v == math.Trunc(v) && math.Abs(v) < 1<<63 {
			return strconv.FormatFloat(v, 'f', -1, 64), nil
		}
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case string:
		if !metric {
			return v, nil
		}
		if f, err := strconv.ParseFloat(v, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return v, nil
		}
		return "", fmt.Errorf("%q is no number", cut(v))
	case bool:
		if !metric {
			return strconv.FormatBool(v), nil
		}
	}
	return "", fmt.Errorf("a %T is no value", v)
}

// escapes of line protocol: of a measurement, and of names and values.
var (
	escapeMeasurement = strings.NewReplacer(",", `\,`, " ", `\ `)
	escapeName        = strings.NewReplacer(",", `\,`, "=", `\=`, " ", `\ `)
)

// line is the point in InfluxDB's line protocol, with all that needs it escaped (R24). A value that
// ends in a backslash would escape what comes after it and has no form there.
func (p *point) line() ([]byte, error) {
	line := []byte(escapeMeasurement.Replace(p.schema))
	for _, tag := range p.tags {
		if tag.text == "" { // an empty tag is none to InfluxDB
			continue
		}
		if strings.HasSuffix(tag.text, `\`) {
			return nil, fmt.Errorf("the value of %q ends in a backslash, which line protocol has no form for: %q", cut(tag.name), cut(tag.text))
		}
		line = append(line, ","+escapeName.Replace(tag.name)+"="+escapeName.Replace(tag.text)...)
	}
	line = append(line, ' ')
	for i, metric := range p.metrics {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, escapeName.Replace(metric.name)+"="+metric.text...)
	}
	line = strconv.AppendInt(append(line, ' '), p.time, 10)
	return append(line, '\n'), nil
}

// plain is the point as rrd_dequeue gives it: the same without escapes and without a line end.
func (p *point) plain() []byte {
	line := []byte(p.schema)
	for _, tag := range p.tags {
		line = append(line, ","+tag.name+"="+tag.text...)
	}
	line = append(line, ' ')
	for i, metric := range p.metrics {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, metric.name+"="+metric.text...)
	}
	return strconv.AppendInt(append(line, ' '), p.time, 10)
}
