package drivers

import (
	"slices"

	"github.com/weirhq/weir/timeseries"
)

// Flat is how the tags of one schema are named in a store that has no packed
// tag: what is packed becomes tags of their own, so that one can ask for them
// there. Where that could not be undone, the packed tag stays one text under its own name. It is
// used by one goroutine.
type Flat struct {
	schema *timeseries.Schema
	packed int // number of the packed tag, -1 without one
	text   []byte
}

// FlatTag is a tag in such a store. None has an empty value: a tag that is not there is empty.
type FlatTag struct{ Name, Value string }

// NewFlat returns the Flat of a schema.
func NewFlat(schema *timeseries.Schema) *Flat {
	f := &Flat{schema: schema, packed: -1}
	if schema.Packed != "" {
		f.packed = slices.Index(schema.Tags, schema.Packed)
	}
	return f
}

// Append appends the tags of a series to dst, those of the schema first.
func (f *Flat) Append(dst []FlatTag, values []string) []FlatTag {
	for i, value := range values {
		if value != "" && (i != f.packed || !f.unpacks(value)) {
			dst = append(dst, FlatTag{f.schema.Tags[i], value})
		}
	}
	if f.packed >= 0 && f.unpacks(values[f.packed]) {
		for name, value := range timeseries.UnpackTags(values[f.packed]) {
			dst = append(dst, FlatTag{name, value})
		}
	}
	return dst
}

// unpacks reports whether the same text would come back from the tags in it.
func (f *Flat) unpacks(packed string) bool {
	last := ""
	f.text = f.text[:0]
	for name, value := range timeseries.UnpackTags(packed) {
		if name <= last || value == "" || !plainName(name) || f.takes(name) {
			return false
		}
		last = name
		f.text = timeseries.AppendPacked(f.text, name, value)
	}
	return string(f.text) == packed
}

// takes reports whether a name means something else in the schema or in a store.
func (f *Flat) takes(name string) bool {
	return name == "time" || name[0] == '_' || slices.Contains(f.schema.Tags, name) || slices.Contains(f.schema.Metrics, name)
}

// plainName reports whether a name needs no care anywhere.
func plainName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' && c != '/' {
			return false
		}
	}
	return name != ""
}

// Values returns the tag values of a series in the order of the schema, from
// those of the store by name.
func (f *Flat) Values(tags map[string]string) []string {
	values := make([]string, len(f.schema.Tags))
	for i, name := range f.schema.Tags {
		values[i] = tags[name]
	}
	if f.packed < 0 || values[f.packed] != "" {
		return values
	}
	var names []string
	for name, value := range tags {
		if value != "" && plainName(name) && !f.takes(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	f.text = f.text[:0]
	for _, name := range names {
		f.text = timeseries.AppendPacked(f.text, name, tags[name])
	}
	values[f.packed] = string(f.text)
	return values
}
