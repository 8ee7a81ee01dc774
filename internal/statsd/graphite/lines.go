// Package graphite is StatsD's Graphite backend: names and lines of a flush
// (StatsD specification sections 6.1 and 6.2).
package graphite

import (
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

// AppendLines appends one "name value timestamp\n" per number of f's counters,
// timers, gauges and sets, in that order.
func (n Namespace) AppendLines(dst []byte, f *backend.Flush) []byte {
	for _, c := range f.Counters {
		if n.Legacy {
			dst = n.line(dst, f.Timestamp, c.Rate, c.Name, "stats", "", "")
			if n.FlushCounts {
				dst = n.line(dst, f.Timestamp, c.Value, c.Name, "stats_counts", "", "")
			}
			continue
		}
		dst = n.line(dst, f.Timestamp, c.Rate, c.Name, n.GlobalPrefix, n.PrefixCounter, ".rate")
		if n.FlushCounts {
			dst = n.line(dst, f.Timestamp, c.Value, c.Name, n.GlobalPrefix, n.PrefixCounter, ".count")
		}
	}
	timers, gauges, sets, global := n.PrefixTimer, n.PrefixGauge, n.PrefixSet, n.GlobalPrefix
	if n.Legacy {
		timers, gauges, sets, global = "timers", "gauges", "sets", "stats"
	}
	for _, t := range f.Timers {
		for _, field := range t.Fields {
			dst = n.line(dst, f.Timestamp, field.Value, t.Name, global, timers, "."+field.Name)
		}
		for _, bin := range t.Histogram {
			dst = n.line(dst, f.Timestamp, bin.Value, t.Name, global, timers, ".histogram."+bin.Name)
		}
	}
	for _, g := range f.Gauges {
		dst = n.line(dst, f.Timestamp, g.Value, g.Name, global, gauges, "")
	}
	for _, s := range f.Sets {
		dst = n.line(dst, f.Timestamp, float64(len(s.Members)), s.Name, global, sets, ".count")
	}
	return dst
}

// line appends prefix.kind.base+tail.suffix;tags value timestamp.
func (n Namespace) line(dst []byte, timestamp int64, value float64, key, prefix, kind, tail string) []byte {
	base, tags, tagged := strings.Cut(key, ";")
	for _, element := range [...]string{prefix, kind} {
		if element != "" {
			dst = append(append(dst, element...), '.')
		}
	}
	dst = append(append(dst, base...), tail...)
	if n.GlobalSuffix != "" {
		dst = append(append(dst, '.'), n.GlobalSuffix...)
	}
	if tagged {
		dst = append(append(dst, ';'), tags...)
	}
	dst = statsd.AppendNumber(append(dst, ' '), value)
	return append(strconv.AppendInt(append(dst, ' '), timestamp, 10), '\n')
}
