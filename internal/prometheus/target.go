package prometheus

import (
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirhq/weir/timeseries"
)

// target is what matchers ask of one schema.
type target struct {
	schema  *timeseries.Schema
	naming  *naming
	metrics []int    // numbers of the metrics that the matchers allow
	names   []string // that each of these has in Prometheus
	tags    timeseries.Tags
	checks  []check // what tags do not say
}

// check is a matcher that is asked about every series.
type check struct {
	*labels.Matcher
	tag int // number of the tag whose value it is asked about, -1 for a key inside the packed one
}

// newTarget returns nil when the schema has nothing that matchers could allow.
func newTarget(schema *timeseries.Schema, matchers []*labels.Matcher) *target {
	t := &target{schema: schema}
	for i, metric := range schema.Metrics {
		if name := MetricName(schema, metric); allows(matchers, nameLabel, name) {
			t.metrics, t.names = append(t.metrics, i), append(t.names, name)
		}
	}
	if len(t.metrics) == 0 {
		return nil
	}
	t.naming = newNaming(schema)
	if !t.naming.foreign && !allows(matchers, schemaLabel, schema.Name) {
		return nil
	}
	for _, m := range matchers {
		if m.Name == nameLabel || m.Name == schemaLabel && !t.naming.foreign {
			continue
		}
		if !t.ask(m) {
			return nil
		}
	}
	return t
}

// allows reports whether all matchers of one label allow a value.
func allows(matchers []*labels.Matcher, label, value string) bool {
	for _, m := range matchers {
		if m.Name == label && !m.Matches(value) {
			return false
		}
	}
	return true
}

// ask adds the matcher of a tag or of a key inside the packed one: to the filter that
// the store has an index for where that means the same, and otherwise to the checks.
// It returns false when no series can match.
func (t *target) ask(m *labels.Matcher) bool {
	n := t.naming
	for i, label := range n.names {
		if label != m.Name || i == n.packed {
			continue
		}
		if !exact(m) {
			t.checks = append(t.checks, check{m, i})
			return true
		}
		return t.filter(t.schema.Tags[i], m.Value)
	}
	switch {
	case n.packed < 0 || !n.foreign && legal(m.Name) != m.Name: // there is no such label
		return m.Matches("")
	case exact(m) && n.plain(m.Name):
		return t.filter(m.Name, m.Value)
	}
	t.checks = append(t.checks, check{m, -1})
	return true
}

// exact reports whether m allows one value that is there, and stored as it is written.
func exact(m *labels.Matcher) bool {
	return m.Type == labels.MatchEqual && m.Value != "" && !strings.ContainsRune(m.Value, utf8.RuneError)
}

// filter wants a value of a tag; false when another one is wanted already.
func (t *target) filter(tag, value string) bool {
	if wanted, ok := t.tags[tag]; ok && wanted != value {
		return false
	}
	if t.tags == nil {
		t.tags = make(timeseries.Tags)
	}
	t.tags[tag] = value
	return true
}

// plain reports whether only a key of the same name inside the packed tag can be
// the label, and the name is not that of a tag.
func (n *naming) plain(label string) bool {
	for _, tag := range n.schema.Tags {
		if tag == label {
			return false
		}
	}
	if n.foreign {
		return !strings.HasPrefix(label, renamed) && label != legal("")
	}
	return !strings.Contains(label, "_") // which may stand for another character
}

// match is the checks as a timeseries.SampleQuery has them; nil without any.
func (t *target) match() func(tags []string) bool {
	if len(t.checks) == 0 {
		return nil
	}
	return t.passes
}

func (t *target) passes(tags []string) bool {
	for _, c := range t.checks {
		value := ""
		if c.tag >= 0 {
			value = valid(tags[c.tag])
		} else {
			value = t.naming.value(tags, c.Name)
		}
		if !c.Matches(value) {
			return false
		}
	}
	return true
}
