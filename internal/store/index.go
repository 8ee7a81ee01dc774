package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// condition asks that a tag, or a key inside the packed tag, has a value.
type condition struct {
	tag   int    // number of the tag, -1 for a key inside the packed tag
	key   string // inside the packed tag
	value string
}

// conditions turns a filter into conditions. Names that the schema does not know
// end up in unknown; a schema with a packed tag knows every name.
func (sc *schema) conditions(filter timeseries.Tags) (conditions []condition, unknown []string) {
	for name, value := range filter {
		c, ok := sc.field(name)
		if !ok {
			unknown = append(unknown, name)
			continue
		}
		c.value = value
		conditions = append(conditions, c)
	}
	slices.SortFunc(conditions, func(a, b condition) int { return b.tag - a.tag })
	slices.Sort(unknown)
	return conditions, unknown
}

// field finds what a name stands for.
func (sc *schema) field(name string) (condition, bool) {
	if i := slices.Index(sc.Tags, name); i >= 0 {
		return condition{tag: i}, true
	}
	return condition{tag: -1, key: name}, sc.Packed != ""
}

// valueOf is what the tags of a series hold for a field; "" when a packed tag lacks the key.
func (sc *schema) valueOf(c condition, tags []string) string {
	if c.tag >= 0 {
		return tags[c.tag]
	}
	value, _ := timeseries.PackedValue(tags[slices.Index(sc.Tags, sc.Packed)], c.key)
	return value
}

// exact reports whether the conditions name a single series, and its tags.
func (sc *schema) exact(conditions []condition) ([]string, bool) {
	if len(conditions) != len(sc.Tags) {
		return nil, false
	}
	tags := make([]string, len(sc.Tags))
	for _, c := range conditions {
		if c.tag < 0 {
			return nil, false
		}
		tags[c.tag] = c.value
	}
	return tags, true
}

// indexSeries hands every index key of s to write: to put it there or to delete it.
func (d *database) indexSeries(s *series, tags []string, write func(key []byte)) {
	sc := s.schema
	var key []byte
	put := func(c condition) {
		key = indexPrefix(key[:0], sc.ID, c)
		key = binary.BigEndian.AppendUint64(key, s.id)
		write(key)
	}
	for i, value := range tags {
		put(condition{tag: i, value: value})
		if sc.Packed == "" || sc.Tags[i] != sc.Packed {
			continue
		}
		var seen []string
		for name, v := range timeseries.UnpackTags(value) {
			if !slices.Contains(seen, name) { // the first of several counts, as in PackedValue
				seen = append(seen, name)
				put(condition{tag: -1, key: name, value: v})
			}
		}
	}
}

// describe writes tags for an error.
func describe(names, values []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s=%.60q", name, values[i])
	}
	b.WriteByte('}')
	return b.String()
}
