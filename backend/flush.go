// Package backend is the StatsD backend contract in Go: what a flush holds.
//
// A flush is one snapshot of every metric at the end of an interval. All
// backends are handed the same snapshot, so it must not be changed. The order
// of every slice is the order in which the names first arrived.
package backend

// Flush is what was aggregated in one interval (the StatsD metrics hash).
type Flush struct {
	Timestamp int64 // Unix seconds of the flush
	Counters  []Counter
	Timers    []Timer
	Gauges    []Gauge
	Sets      []Set

	Timed []Timed // values that came with a timestamp, not aggregated; only backends that are TimestampTakers look at them

	Processing  float64   // whole milliseconds spent on computing it (statsd_metrics.processing_time)
	Percentiles []float64 // pctThreshold
}

// Count is the number of metrics in the flush: numStats.
func (f *Flush) Count() int { return len(f.Counters) + len(f.Timers) + len(f.Gauges) + len(f.Sets) }

// Counter is a sum over the interval.
type Counter struct {
	Name  string
	Value float64
	Rate  float64 // Value per second
}

// Gauge is the last value known.
type Gauge struct {
	Name  string
	Value float64
}

// Timer is every value of the interval and the statistics over them.
type Timer struct {
	Name      string
	Values    []float64 // ascending; empty when nothing arrived
	Count     float64   // values received, corrected for the sample rate
	Fields    []Field   // timer_data without its histogram
	Histogram []Field   // timer_data's histogram; nil when no bins apply
}

// Set is the distinct members of the interval.
type Set struct {
	Name    string
	Members []string
}

// Timed is a value that its sender aggregated, for a time of its own (DogStatsD).
type Timed struct {
	Name      string
	Counter   bool  // a sum; otherwise a gauge
	Timestamp int64 // Unix seconds
	Value     float64
}

// Field is a named number of a timer, such as mean_90.
type Field struct {
	Name  string
	Value float64
}
