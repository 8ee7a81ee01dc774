package timeseries

import (
	"fmt"
	"slices"
	"strings"
)

// Aggregation says how the samples of a gauge become one value of a longer slot.
type Aggregation uint8

// The four aggregations of the timeseries contract. Counters and derivatives always use Mean.
const (
	Mean Aggregation = iota
	Max
	Min
	Last
)

// Limits of what a schema and a point may hold.
const (
	MaxTags       = 64      // tags of a schema
	MaxMetrics    = 256     // metrics of a schema
	MaxTagValue   = 1024    // bytes of one tag value
	MaxNameLength = 255     // bytes of the name of a schema, a tag or a metric
	MaxStep       = 1 << 30 // seconds of a step or heartbeat, about 34 years
)

// Schema is the definition of a kind of series: "prefix:rest", the seconds
// between its raw points, and the names of its tags and metrics in the order
// in which points carry them. A Schema is not changed once it is in use.
type Schema struct {
	Name        string
	Step        int64 // seconds between raw points, at least 1
	Tags        []string
	Metrics     []string
	Type        MetricsType
	Aggregation Aggregation // of gauges

	// Heartbeat is the longest time in seconds between two samples of a counter
	// that still count as continuous; 0 means two steps.
	Heartbeat int64

	// Packed names the tag whose value is itself a list "key=value;key=value"
	// (StatsD's own tags are kept so); see AppendPacked. Queries filter and group on the keys
	// inside it as if they were tags. Empty when there is none.
	Packed string
}

// Prefix is the part of the name before the colon: what Delete addresses.
func (s *Schema) Prefix() string {
	prefix, _, _ := strings.Cut(s.Name, ":")
	return prefix
}

// Continuous is the longest gap in seconds within which a counter has a rate.
func (s *Schema) Continuous() int64 {
	if s.Heartbeat > 0 {
		return s.Heartbeat
	}
	return 2 * s.Step
}

// Validate reports the first thing that is wrong with the definition.
func (s *Schema) Validate() error {
	prefix, rest, ok := strings.Cut(s.Name, ":")
	if !ok || prefix == "" || rest == "" || strings.ContainsAny(rest, ": ") || strings.ContainsAny(prefix, " ") || len(s.Name) > MaxNameLength {
		return fmt.Errorf("cannot use schema %q: its name must be prefix:rest with one colon, no spaces and at most %d bytes", s.Name, MaxNameLength)
	}
	if s.Step < 1 || s.Step > MaxStep {
		return fmt.Errorf("cannot use schema %q: step %d must be 1 to %d seconds", s.Name, s.Step, MaxStep)
	}
	if s.Heartbeat < 0 || s.Heartbeat > MaxStep {
		return fmt.Errorf("cannot use schema %q: heartbeat %d must be 0 (two steps) to %d seconds", s.Name, s.Heartbeat, MaxStep)
	}
	if len(s.Metrics) == 0 || len(s.Metrics) > MaxMetrics || len(s.Tags) > MaxTags {
		return fmt.Errorf("cannot use schema %q: %d tags and %d metrics, want at most %d tags and 1 to %d metrics", s.Name, len(s.Tags), len(s.Metrics), MaxTags, MaxMetrics)
	}
	seen := make(map[string]bool)
	for _, name := range slices.Concat(s.Tags, s.Metrics) {
		if name == "" || len(name) > MaxNameLength || seen[name] {
			return fmt.Errorf("cannot use schema %q: tag or metric %q is empty, too long or there twice", s.Name, name)
		}
		seen[name] = true
	}
	if s.Packed != "" && !slices.Contains(s.Tags, s.Packed) {
		return fmt.Errorf("cannot use schema %q: its packed tag %q is not one of its tags", s.Name, s.Packed)
	}
	return nil
}
