// Package influxdb is the StatsD backend for InfluxDB, 1.x and 2.x (specification section
// 10). A metric is a measurement with its tags and one line a flush:
//
//	counter   value, rate    the count of the interval, and that per second
//	gauge     value
//	set       value          distinct members
//	timer     count, mean, upper_90 and so on, as StatsD calls them; bins of histograms under their names
//
// A tag says which of these it is, as other StatsD servers that write to InfluxDB do it.
package influxdb

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/drivers/influxdb"
	"github.com/weirhq/weir/internal/statsd/outbox"
	"github.com/weirhq/weir/internal/statsd/tags"
)

// Config says where metrics go and how they are called.
type Config struct {
	Server  influxdb.Config
	Prefix  string            // of measurements
	TypeTag string            // name of the tag that says "counter", "gauge", "timer" or "set"; "" for none
	Tags    map[string]string // of every metric that has none of this name

	MaxQueue int64 // bytes on disk
}

// Default is what is not given: as Telegraf has it.
func Default() Config {
	return Config{Server: influxdb.Config{Database: "statsd"}, TypeTag: "metric_type"}
}

// Backend writes flushes to InfluxDB.
type Backend struct {
	*outbox.Outbox[[]byte]
	config Config
	server *influxdb.Server
	ready  atomic.Bool // the database is there

	always [kinds][]tags.Tag // by name
	own    []tags.Tag        // of a metric
	tags   []tags.Tag        // these and always
	line   []byte            // measurement and tags
}

var _ backend.Stopper = (*Backend)(nil)

// kind is a kind of StatsD metric.
type kind int

const (
	counter kind = iota
	gauge
	timer
	set
	kinds
)

// New returns a Backend that does nothing before Init.
func New(config Config, box outbox.Config) *Backend {
	b := &Backend{config: config, server: influxdb.New(config.Server)}
	for k, name := range [kinds]string{"counter", "gauge", "timer", "set"} {
		all := maps.Clone(config.Tags)
		if all == nil {
			all = make(map[string]string)
		}
		if config.TypeTag != "" {
			all[config.TypeTag] = name
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			b.always[k] = append(b.always[k], tags.Tag{Name: storable(name), Value: storable(all[name])})
		}
	}
	b.Outbox = outbox.New("influxdb", "metrics", 0, box, outbox.Lines(b.send))
	return b
}

// send writes lines, after the database was made.
func (b *Backend) send(ctx context.Context, lines [][]byte) error {
	if !b.ready.Load() {
		if err := b.server.Setup(ctx); err != nil {
			return err
		}
		b.ready.Store(true)
	}
	return b.server.Write(ctx, append(bytes.Join(lines, []byte{'\n'}), '\n'), len(lines), "ms")
}

// Flush implements [backend.Backend]. An error means that some of it is not in the queue.
func (b *Backend) Flush(_ context.Context, f *backend.Flush) error {
	b.Begin(f)
	for i := range f.Counters {
		c := &f.Counters[i]
		at := b.begin(counter, c.Name)
		sep := b.field(' ', "value", c.Value)
		b.end(b.field(sep, "rate", c.Rate), c.Name, at)
	}
	for i := range f.Gauges {
		g := &f.Gauges[i]
		at := b.begin(gauge, g.Name)
		b.end(b.field(' ', "value", g.Value), g.Name, at)
	}
	for i := range f.Timers {
		t := &f.Timers[i]
		at := b.begin(timer, t.Name)
		sep := byte(' ')
		for _, field := range t.Fields {
			sep = b.field(sep, field.Name, field.Value)
		}
		for _, bin := range t.Histogram {
			sep = b.field(sep, bin.Name, bin.Value)
		}
		b.end(sep, t.Name, at)
	}
	for i := range f.Sets {
		s := &f.Sets[i]
		at := b.begin(set, s.Name)
		b.end(b.field(' ', "value", float64(len(s.Members))), s.Name, at)
	}
	for i := range f.Timed {
		v := &f.Timed[i]
		if v.Counter {
			b.begin(counter, v.Name)
		} else {
			b.begin(gauge, v.Name)
		}
		b.end(b.field(' ', "value", v.Value), v.Name, v.Timestamp*1000)
	}
	return b.End()
}

// TakesTimestamps implements [backend.TimestampTaker].
func (*Backend) TakesTimestamps() {}

// begin appends measurement and tags. It returns the time of the metric.
func (b *Backend) begin(k kind, key string) int64 {
	plain := tags.Plain(key)
	name, all := key, b.always[k]
	if strings.IndexByte(key, ';') >= 0 {
		name, b.own = tags.Split(b.own[:0], key)
		b.tags = append(b.tags[:0], all...)
		for _, t := range b.own {
			b.tags = tags.Set(b.tags, 0, t)
		}
		plain = plain && len(b.tags) == len(all)+len(b.own)
		all = b.tags
	}
	if b.config.Prefix != "" {
		name = b.config.Prefix + name
	}
	stored := storable(name)
	if stored == "" || stored[0] == '#' { // a line that begins with it is a comment
		stored = "_" + strings.TrimPrefix(stored, "#")
	}
	plain = plain && stored == name
	b.line = influxdb.AppendMeasurement(b.line[:0], stored)
	for _, t := range all {
		name, value := storable(t.Name), storable(t.Value)
		plain = plain && name == t.Name && value == t.Value
		b.line = influxdb.AppendKey(append(b.line, ','), name)
		b.line = influxdb.AppendKey(append(b.line, '='), value)
	}
	b.Record = append(b.Record, b.line...)
	if plain {
		return b.Time()
	}
	return b.Apart(string(b.line))
}

// storable is s as line protocol can hold it. A "\" at the end would escape what comes after it.
func storable(s string) string {
	s = outbox.Printable(s)
	if rest, ends := strings.CutSuffix(s, `\`); ends {
		return rest + "_"
	}
	return s
}

// field appends a field after sep, unless it has no value that InfluxDB takes. It returns what stands before the next one.
func (b *Backend) field(sep byte, name string, v float64) byte {
	if !outbox.Finite(v) {
		return sep
	}
	b.Record = influxdb.AppendKey(append(b.Record, sep), name)
	b.Record = influxdb.AppendNumber(append(b.Record, '='), v)
	return ','
}

// end ends a line, which has no field when sep is a blank.
func (b *Backend) end(sep byte, name string, at int64) {
	if sep == ' ' {
		b.Infinite(name)
		return
	}
	b.Record = append(b.Record, ' ')
	b.Record = strconv.AppendInt(b.Record, at, 10)
	b.Record = append(b.Record, '\n')
	b.Item(name)
}
