// Package graphite is StatsD's Graphite backend: every flush goes to a Graphite
// server, as text lines or pickled (StatsD specification sections 6.1 and 6.2).
package graphite

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
)

// Namespace decides the names of a flush's metrics.
type Namespace struct {
	Legacy        bool   // the names of StatsD before prefixes could be set; the five below are ignored
	GlobalPrefix  string // "stats"; "" drops an element, here and below
	PrefixCounter string // "counters"
	PrefixTimer   string // "timers"
	PrefixGauge   string // "gauges"
	PrefixSet     string // "sets"
	GlobalSuffix  string // appended to every name with a dot, "" for none
	FlushCounts   bool   // send counts besides rates
}

// DefaultNamespace is what a StatsD configuration without options means.
func DefaultNamespace() Namespace {
	return Namespace{Legacy: true, GlobalPrefix: "stats", PrefixCounter: "counters", PrefixTimer: "timers",
		PrefixGauge: "gauges", PrefixSet: "sets", FlushCounts: true}
}

// message builds what one flush sends: "name value timestamp\n" per number, or
// the same as one pickled list of (name, (timestamp, value)).
type message struct {
	Namespace
	pickled  bool
	sanitize bool // the server did not, so names are sanitised here, up to their tags
	text     []byte
	base     []byte // scratch
}

// begin empties the message.
func (m *message) begin() {
	m.text = m.text[:0]
	if m.pickled {
		m.text = append(m.text, "\x00\x00\x00\x00(l"...) // the length is set by end
	}
}

// end completes the message; more can be added after truncating it again.
func (m *message) end() {
	if m.pickled {
		m.text = append(m.text, '.')
		binary.BigEndian.PutUint32(m.text, uint32(len(m.text)-4))
	}
}

// metrics adds f's counters, timers, gauges and sets, in that order.
func (m *message) metrics(f *backend.Flush) {
	counters, timers, gauges, sets, global := m.PrefixCounter, m.PrefixTimer, m.PrefixGauge, m.PrefixSet, m.GlobalPrefix
	counts, rate, count := counters, ".rate", ".count"
	if m.Legacy {
		counters, counts, timers, gauges, sets, global = "stats", "stats_counts", "timers", "gauges", "sets", "stats"
		rate, count = "", ""
	}
	for i := range f.Counters {
		c := &f.Counters[i]
		prefix := global
		if m.Legacy {
			prefix = ""
		}
		m.add(prefix, counters, c.Name, rate, "", c.Rate, f.Timestamp)
		if m.FlushCounts {
			m.add(prefix, counts, c.Name, count, "", c.Value, f.Timestamp)
		}
	}
	for i := range f.Timers {
		t := &f.Timers[i]
		for _, field := range t.Fields {
			m.add(global, timers, t.Name, ".", field.Name, field.Value, f.Timestamp)
		}
		for _, bin := range t.Histogram {
			m.add(global, timers, t.Name, ".histogram.", bin.Name, bin.Value, f.Timestamp)
		}
	}
	for i := range f.Gauges {
		m.add(global, gauges, f.Gauges[i].Name, "", "", f.Gauges[i].Value, f.Timestamp)
	}
	for i := range f.Sets {
		m.add(global, sets, f.Sets[i].Name, ".count", "", float64(len(f.Sets[i].Members)), f.Timestamp)
	}
}

// add adds prefix.kind.base+tail+field.suffix;tags for key "base;tags".
func (m *message) add(prefix, kind, key, tail, field string, value float64, timestamp int64) {
	base, tags := key, ""
	if i := strings.IndexByte(key, ';'); i >= 0 {
		base, tags = key[:i], key[i:]
	}
	start := m.open()
	if prefix != "" {
		m.text = append(append(m.text, prefix...), '.')
	}
	if kind != "" {
		m.text = append(append(m.text, kind...), '.')
	}
	if m.sanitize {
		m.base = append(m.base[:0], base...)
		m.text = statsd.AppendSanitized(m.text, m.base)
	} else {
		m.text = append(m.text, base...)
	}
	m.text = append(append(m.text, tail...), field...)
	if m.GlobalSuffix != "" {
		m.text = append(append(m.text, '.'), m.GlobalSuffix...)
	}
	m.text = append(m.text, tags...)
	m.close(start, value, timestamp)
}

// own adds a figure of the daemon itself: global.prefix.name.suffix, where
// global is "" for the one name that never had it.
func (m *message) own(global, prefix, name string, value float64, timestamp int64) {
	start := m.open()
	if global != "" {
		m.text = append(append(m.text, global...), '.')
	}
	m.text = append(append(append(m.text, prefix...), '.'), name...)
	if m.GlobalSuffix != "" {
		m.text = append(append(m.text, '.'), m.GlobalSuffix...)
	}
	m.close(start, value, timestamp)
}

// global is the first element of the names of the daemon's own figures.
func (m *message) global() string {
	if m.Legacy {
		return "stats"
	}
	return m.GlobalPrefix
}

// open begins a metric and returns where its name begins.
func (m *message) open() (start int) {
	if m.pickled {
		m.text = append(m.text, "(S'"...)
	}
	return len(m.text)
}

// close ends a metric whose name begins at start.
func (m *message) close(start int, value float64, timestamp int64) {
	if !m.pickled {
		m.text = statsd.AppendNumber(append(m.text, ' '), value)
		m.text = append(strconv.AppendInt(append(m.text, ' '), timestamp, 10), '\n')
		return
	}
	m.escape(start)
	m.text = strconv.AppendInt(append(m.text, "'\n(L"...), timestamp, 10)
	m.text = statsd.AppendNumber(append(m.text, "L\nS'"...), value)
	m.text = append(m.text, "'\ntta"...)
}

// escape doubles the backslashes of a name: a reader of pickles takes them as
// escapes, and fails on the whole message when the last one has nothing to
// escape. Only tags can hold them, and only when names are not sanitised.
func (m *message) escape(start int) {
	for i := start; i < len(m.text); i++ {
		if m.text[i] == '\\' {
			m.text = append(m.text, 0)
			copy(m.text[i+1:], m.text[i:])
			i++
		}
	}
}
