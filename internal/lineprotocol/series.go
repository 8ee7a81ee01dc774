package lineprotocol

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weirhq/weir/internal/writes"
	"github.com/weirhq/weir/timeseries"
)

// defaultStep is the step in seconds of schemas made on demand: how often Telegraf writes.
const defaultStep = 10

// model is what schemas made on demand are like: "influx:MEASUREMENT".
var model = timeseries.Schema{
	Name: "influx", Step: defaultStep, Tags: []string{"field", "tags"}, Metrics: []string{"value"}, Packed: "tags",
}

// series is what one measurement with its tags is in the store. Only columns changes.
type series struct {
	err    error // why nothing can be written to it
	schema *timeseries.Schema
	tags   []string // of a declared schema, in its order; nil for one made on demand
	packed string   // the tags of one made on demand

	columns atomic.Pointer[[]column] // fields seen so far, in the order in which they came first
}

// column is what one field is in the store.
type column struct {
	name   string   // as it stands in lines, with its escapes
	tags   []string // of the series of the field; nil for a declared schema
	metric int      // number of the metric of a declared schema, -1 when it has none of that name
}

// newSeries takes apart what a line has before its fields.
func newSeries(key string, schemas *writes.Schemas) *series {
	s := new(series)
	s.columns.Store(new([]column))
	s.err = s.resolve(key, schemas)
	return s
}

func (s *series) resolve(key string, schemas *writes.Schemas) error {
	measurement, rest, tagged := cutUnescaped(key, ',')
	measurement = unescape(measurement, ", =")
	var keys, values []string
	for tagged {
		var item string
		item, rest, tagged = cutUnescaped(rest, ',')
		name, value, ok := cutUnescaped(item, '=')
		if !ok || name == "" {
			return fmt.Errorf("missing tag value: %.100q is not NAME=VALUE", item)
		}
		if name = unescape(name, ", ="); slices.Contains(keys, name) {
			return fmt.Errorf("duplicate tags: %.100q is there twice", name)
		}
		keys, values = append(keys, name), append(values, unescape(value, ", ="))
		if len(keys) > timeseries.MaxPackedItems {
			return fmt.Errorf("more than %d tags", timeseries.MaxPackedItems)
		}
	}
	if declared := schemas.Declared(measurement); declared != nil {
		s.schema = declared
		return s.arrange(keys, values)
	}
	schema, err := schemas.Foreign(measurement, timeseries.Gauge)
	if err != nil {
		return err
	}
	s.schema, s.packed = schema, pack(keys, values)
	return nil
}

// arrange brings tags into the order of a declared schema. Those it does not have go into its packed tag.
func (s *series) arrange(keys, values []string) error {
	s.tags = make([]string, len(s.schema.Tags))
	for i, name := range s.schema.Tags {
		at := slices.Index(keys, name)
		switch {
		case at >= 0:
			s.tags[i] = values[at]
			keys, values = slices.Delete(keys, at, at+1), slices.Delete(values, at, at+1)
		case name != s.schema.Packed:
			return fmt.Errorf("missing tag %q: the schema %s has the tags %s", name, s.schema.Name, strings.Join(s.schema.Tags, ", "))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	packed := slices.Index(s.schema.Tags, s.schema.Packed)
	if packed < 0 || s.tags[packed] != "" {
		return fmt.Errorf("unknown tag %.100q: the schema %s has the tags %s", keys[0], s.schema.Name, strings.Join(s.schema.Tags, ", "))
	}
	s.tags[packed] = pack(keys, values)
	return nil
}

// pack is the text of a packed tag, sorted by key so that a series has one text.
func pack(keys, values []string) string {
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(keys[a], keys[b]) })
	var packed []byte
	for _, i := range order {
		packed = timeseries.AppendPacked(packed, keys[i], values[i])
	}
	return string(packed)
}

// column is what the field is whose name stands so; at is where it would be when
// lines have their fields in one order.
func (s *series) column(name []byte, at int) *column {
	columns := *s.columns.Load()
	if at < len(columns) && columns[at].name == string(name) {
		return &columns[at]
	}
	for i := range columns {
		if columns[i].name == string(name) {
			return &columns[i]
		}
	}
	return s.newColumn(string(name))
}

// maxColumns is how many fields are remembered of a series; further ones are taken apart every time.
const maxColumns = 1024

func (s *series) newColumn(name string) *column {
	made := column{name: name}
	plain := unescape(name, ", =")
	if s.tags != nil {
		made.metric = slices.Index(s.schema.Metrics, plain)
	} else {
		made.tags = []string{plain, s.packed}
	}
	for {
		old := s.columns.Load()
		if len(*old) >= maxColumns {
			return &made
		}
		columns := append(slices.Clip(slices.Clone(*old)), made)
		if s.columns.CompareAndSwap(old, &columns) {
			return &columns[len(columns)-1]
		}
	}
}

// cutUnescaped cuts text at the first separator without "\" before it.
func cutUnescaped(text string, separator byte) (before, after string, found bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case separator:
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

// unescape takes "\" away before the characters in special; elsewhere it is itself.
func unescape(text, special string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text
	}
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) && strings.IndexByte(special, text[i+1]) >= 0 {
			i++
		}
		plain = append(plain, text[i])
	}
	return string(plain)
}
