package prometheus

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirhq/weir/timeseries"
)

// A series of Weir is one combination of tags of a schema with several metrics;
// a series of Prometheus is a set of labels with one value. Schema "host:ndpi" with
// the metric bytes_sent is host_ndpi_bytes_sent{schema="host:ndpi"}, and its tags
// are labels; those inside the packed tag have labels of their own.
//
// What Prometheus sent is stored in a schema "prometheus:NAME" for every name,
// and is seen again as NAME with exactly the labels it had.

// Names of labels that Weir gives itself.
const (
	nameLabel   = model.MetricNameLabel
	schemaLabel = "schema"

	// renamed stands before the name of a tag whose label is there already.
	renamed = "exported_"
)

// foreign is the prefix of schemas that hold what came from Prometheus.
const foreign = "prometheus:"

// SchemaOf is the name of the schema that holds what Prometheus sent under
// metricName. ":", "%" and spaces, which may stand in one but not in the other,
// are written as in a URL.
func SchemaOf(metricName string) string {
	return foreign + escaper.Replace(metricName)
}

var (
	escaper   = strings.NewReplacer("%", "%25", ":", "%3A", " ", "%20")
	unescaper = strings.NewReplacer("%25", "%", "%3A", ":", "%20", " ")
)

// nameOf is the inverse of SchemaOf; false when a schema is not one of those.
func nameOf(schema string) (metricName string, ok bool) {
	escaped, ok := strings.CutPrefix(schema, foreign)
	return unescaper.Replace(escaped), ok
}

// MetricName is the name under which Prometheus sees a metric of a schema.
func MetricName(schema *timeseries.Schema, metric string) string {
	if name, ok := nameOf(schema.Name); ok {
		return name
	}
	return legal(schema.Name + "_" + metric)
}

// Labels are those under which Prometheus sees a metric of the series that has
// tags, in the order of the schema. A tag without a value has no label.
//
// Names are made legal: "_" takes the place of what cannot stand in a name. Where
// that, or a tag called "schema", makes a name that the series has already, the
// later tag gets "exported_" before its name. Values are made valid UTF-8.
func Labels(schema *timeseries.Schema, tags []string, metric string) labels.Labels {
	n := newNaming(schema)
	return n.labels(tags, MetricName(schema, metric))
}

// naming is how the tags of one schema become labels. It is used by one goroutine.
type naming struct {
	schema  *timeseries.Schema
	foreign bool
	packed  int      // number of the packed tag, -1 without one
	names   []string // of the label of each tag, "" for the packed one
	taken   []string // names of labels that a key inside the packed tag cannot have

	builder labels.ScratchBuilder
	used    []string
}

func newNaming(schema *timeseries.Schema) *naming {
	n := &naming{schema: schema, packed: -1, taken: []string{nameLabel}}
	_, n.foreign = nameOf(schema.Name)
	if !n.foreign {
		n.taken = append(n.taken, schemaLabel)
	}
	for i, tag := range schema.Tags {
		name := ""
		if schema.Packed != "" && tag == schema.Packed {
			n.packed = i
		} else {
			name = n.free(n.taken, tag)
			n.taken = append(n.taken, name)
		}
		n.names = append(n.names, name)
	}
	return n
}

// free is the name of the label of a tag or key beside those in taken.
func (n *naming) free(taken []string, name string) string {
	if !n.foreign || name == "" {
		name = legal(name)
	}
	for slices.Contains(taken, name) {
		name = renamed + name
	}
	return name
}

// labels are those of a series; metricName may be "" for a caller who sets it later.
func (n *naming) labels(tags []string, metricName string) labels.Labels {
	n.builder.Reset()
	for name, value := range n.pairs(tags) {
		n.builder.Add(name, value)
	}
	if metricName != "" {
		n.builder.Add(nameLabel, metricName)
	}
	n.builder.Sort()
	return n.builder.Labels()
}

// pairs yields the labels of a series in no order, without that of its name.
func (n *naming) pairs(tags []string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		if !n.foreign && !yield(schemaLabel, n.schema.Name) {
			return
		}
		for i, value := range tags {
			if i == n.packed || value == "" {
				continue
			}
			if !yield(n.names[i], valid(value)) {
				return
			}
		}
		if n.packed < 0 {
			return
		}
		n.used = append(n.used[:0], n.taken...)
		seen := 0 // keys so far; of a key that is there twice the first counts
		for key, value := range timeseries.UnpackTags(tags[n.packed]) {
			if seen > 0 && repeated(tags[n.packed], key, seen) {
				seen++
				continue
			}
			seen++
			name := n.free(n.used, key)
			n.used = append(n.used, name)
			if value != "" && !yield(name, valid(value)) {
				return
			}
		}
	}
}

// repeated reports whether key is one of the first n keys of a packed tag.
func repeated(packed, key string, n int) bool {
	for earlier := range timeseries.UnpackTags(packed) {
		if n == 0 {
			return false
		}
		if earlier == key {
			return true
		}
		n--
	}
	return false
}

// value is the value of one label of a series, "" when it has none.
func (n *naming) value(tags []string, label string) string {
	for name, value := range n.pairs(tags) {
		if name == label {
			return value
		}
	}
	return ""
}

// legal turns name into one that every version of Prometheus takes for a metric
// or a label: letters, digits and "_", no digit first.
func legal(name string) string {
	plain := name != "" && (name[0] < '0' || name[0] > '9')
	for i := 0; i < len(name) && plain; i++ {
		plain = allowed(rune(name[i]))
	}
	if plain {
		return name
	}
	var b strings.Builder
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		b.WriteByte('_')
	}
	for _, c := range name {
		if allowed(c) {
			b.WriteRune(c)
		} else {
			b.WriteByte('_')
		}
	}
	return b.String()
}

func allowed(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// valid is value as a label can hold it.
func valid(value string) string {
	if utf8.ValidString(value) {
		return value
	}
	return strings.ToValidUTF8(value, string(utf8.RuneError))
}

// describe is what /api/v1/metadata says about a metric.
func describe(schema *timeseries.Schema, metric string) (kind, help string) {
	if name, ok := nameOf(schema.Name); ok {
		return "unknown", name + ", received from Prometheus"
	}
	kind = "gauge"
	if schema.Type == timeseries.Counter {
		kind = "counter"
	}
	return kind, metric + " of " + schema.Name + ", every " + strconv.FormatInt(schema.Step, 10) + " s"
}
