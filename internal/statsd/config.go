package statsd

import (
	"io/fs"
	"time"
)

// Config is everything a StatsD server is told (specification section 4.1). The
// YAML file of weir run and the JavaScript file of weir statsd both end here.
type Config struct {
	Listen        []Listen
	Management    string        // "host:port" of the management console; "" for none
	FlushInterval time.Duration // at least a millisecond
	Percentiles   []float64     // negative ones look at the top
	Histograms    []Histogram
	TimerMetrics  []string // calculatedTimerMetrics: cleaned names of the timer fields to keep; empty keeps all

	DeleteCounters, DeleteTimers, DeleteSets, DeleteGauges bool // after a flush in which nothing arrived

	GaugeTTL     int    // flushes a gauge outlives its last value under DeleteGauges, at least 1
	Prefix       string // of the internal metrics
	Sanitize     bool   // keyNameSanitize
	KeyFlush     KeyFlush
	DumpMessages bool // log every line
	Debug        bool // log more
	Healthy      bool // first answer of the management command health

	Dialect      Dialect
	ContainerTag bool      // DogStatsD: the id of a container becomes the tag container_id; otherwise it is dropped
	TagRules     []TagRule // the first that fits counts
	TTL          TTL

	// MaxNames bounds how many names are held at once over all kinds; values of
	// further names are dropped, counted and one of them is named in the log. 0 means no bound.
	MaxNames int

	// MaxTagSets bounds how many sets of tags one metric has at once, for each kind; values of further ones are added
	// up under the metric's name with the tag overflow=true, counted, and the metric is named in the log. 0 means no bound.
	MaxTagSets int

	// Readers is how many goroutines receive on each UDP address and how many
	// parts the aggregation has; 0 means one per core. With 1, flushes keep the
	// order in which names first arrived; more can only come close to it.
	Readers int
}

// Listen is one socket lines arrive on (specification section 1.6).
type Listen struct {
	Network string      // "udp", "udp4", "udp6", "tcp", "unix" (stream) or "unixgram"
	Address string      // "host:port", or the path of the socket
	Mode    fs.FileMode // permissions of a unix socket; 0 leaves them alone
	// MaxNames bounds how many of the names that are held were first sent here; values of further ones are added up in the
	// metrics "overflow;source=<the URL, sanitised>", counted, and the address is named in the log. 0 means no bound.
	MaxNames int
	Lengths  bool // streams: packets with their length before them, four bytes, little endian; otherwise lines
}

// TTL is how long metrics are flushed after their last value, in whole seconds; 0 is for ever. DeleteCounters and the
// others go before it.
type TTL struct{ Counters, Timers, Gauges, Sets time.Duration }

// ListenError is the error of a Start that could not bind an address.
type ListenError struct {
	Index int // in Config.Listen
	Err   error
}

func (e *ListenError) Error() string { return e.Err.Error() }
func (e *ListenError) Unwrap() error { return e.Err }

// KeyFlush lists the busiest keys every Interval (keyFlush).
type KeyFlush struct {
	Interval time.Duration // 0 turns it off
	Percent  float64       // of the keys, 100 by default
	Path     string        // appended to; "" is standard output
}

// DefaultConfig is what the reference daemon does with an empty configuration,
// with a bound on names that keeps a runaway client from taking all memory.
func DefaultConfig() Config {
	return Config{
		Listen:        []Listen{{Network: "udp", Address: ":8125"}},
		Management:    ":8126",
		FlushInterval: 10 * time.Second,
		Percentiles:   []float64{90},
		GaugeTTL:      1,
		Prefix:        "statsd",
		Sanitize:      true,
		KeyFlush:      KeyFlush{Percent: 100},
		Healthy:       true,
		MaxNames:      1_000_000,
	}
}
