// Package opentsdb is the StatsD backend for OpenTSDB over its HTTP API (specification
// section 10). Every number of a flush is a data point, with the metric's own tags:
//
//	counter   NAME.count, NAME.rate
//	gauge     NAME
//	set       NAME.count
//	timer     NAME.count, NAME.mean, NAME.upper_90 and so on, as StatsD calls them
package opentsdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/statsd/outbox"
	"github.com/weirhq/weir/internal/statsd/tags"
)

// Config says where metrics go and how they are called.
type Config struct {
	Access delivery.Access
	Prefix string            // of names
	Tags   map[string]string // of every metric that has none of this name; without any a metric gets "host"
	Batch  int               // data points in a request

	MaxQueue int64 // bytes on disk
}

// DefaultBatch is how many data points are sent at once. OpenTSDB with its defaults takes
// only requests that come in one piece, a few KiB.
const DefaultBatch = 20

// Backend writes flushes to OpenTSDB.
type Backend struct {
	*outbox.Outbox[[]byte]
	config Config
	client *delivery.Client

	host   []tags.Tag // of what has no tag otherwise, which OpenTSDB does not take
	always []tags.Tag // by name
	own    []tags.Tag // of a metric
	tags   []tags.Tag // these and always
	name   string
	plain  bool   // no other metric has name and tags
	tail   []byte // `,"tags":{...}}`
}

var _ backend.Stopper = (*Backend)(nil)

// New returns a Backend that does nothing before Init.
func New(config Config, box outbox.Config) *Backend {
	config.Access.Scheme = "Bearer"
	b := &Backend{config: config, client: delivery.NewClient(config.Access)}
	for _, name := range slices.Sorted(maps.Keys(config.Tags)) {
		b.always = append(b.always, tags.Tag{Name: acceptable(name), Value: acceptable(config.Tags[name])})
	}
	b.Outbox = outbox.New("opentsdb", "points", config.Batch, box, outbox.Lines(b.send))
	return b
}

// Init implements [backend.Backend].
func (b *Backend) Init(ctx context.Context, env backend.Environment) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	b.host = []tags.Tag{{Name: "host", Value: acceptable(host)}}
	return b.Outbox.Init(ctx, env)
}

// send writes points, each in a line of JSON.
func (b *Backend) send(ctx context.Context, points [][]byte) error {
	var body bytes.Buffer
	body.WriteByte('[')
	body.Write(bytes.Join(points, []byte{','}))
	body.WriteByte(']')
	err := b.client.Ask(ctx, delivery.Request{
		Method: http.MethodPost, Path: "/api/put", Query: url.Values{"details": {""}},
		Header: map[string]string{"Content-Type": "application/json"}, Body: body.Bytes(),
	})
	var rejected *delivery.Rejected
	if errors.As(err, &rejected) {
		var details struct {
			Failed int `json:"failed"`
			Errors []struct {
				Error string `json:"error"`
			} `json:"errors"`
		}
		if json.Unmarshal([]byte(rejected.Reason), &details) == nil && len(details.Errors) > 0 { // else it is something else, or too long
			rejected.All = details.Failed == len(points)
			rejected.Reason = details.Errors[0].Error
		}
	}
	return err
}

// Flush implements [backend.Backend]. An error means that some of it is not in the queue.
func (b *Backend) Flush(_ context.Context, f *backend.Flush) error {
	b.Begin(f)
	for i := range f.Counters {
		c := &f.Counters[i]
		b.metric(c.Name)
		b.point("count", c.Value)
		b.point("rate", c.Rate)
	}
	for i := range f.Gauges {
		g := &f.Gauges[i]
		b.metric(g.Name)
		b.point("", g.Value)
	}
	for i := range f.Timers {
		t := &f.Timers[i]
		b.metric(t.Name)
		for _, field := range t.Fields {
			b.point(field.Name, field.Value)
		}
		for _, bin := range t.Histogram {
			b.point(bin.Name, bin.Value)
		}
	}
	for i := range f.Sets {
		s := &f.Sets[i]
		b.metric(s.Name)
		b.point("count", float64(len(s.Members)))
	}
	return b.End()
}

// metric makes the name and the tags of a metric those of the points that follow.
func (b *Backend) metric(key string) {
	b.plain = tags.Plain(key)
	name, all := key, b.always
	if strings.IndexByte(key, ';') >= 0 {
		name, b.own = tags.Split(b.own[:0], key)
		b.tags = append(b.tags[:0], all...)
		for _, t := range b.own {
			n, v := acceptable(t.Name), acceptable(t.Value)
			b.plain = b.plain && n == t.Name && v == t.Value
			b.tags = tags.Set(b.tags, 0, tags.Tag{Name: n, Value: v})
		}
		b.plain = b.plain && len(b.tags) == len(all)+len(b.own)
		all = b.tags
	}
	if len(all) == 0 {
		all = b.host
	}
	if b.config.Prefix != "" {
		name = b.config.Prefix + name
	}
	b.name = acceptable(name)
	b.plain = b.plain && b.name == name
	b.tail = append(b.tail[:0], `,"tags":{`...)
	for i, t := range all {
		if i > 0 {
			b.tail = append(b.tail, ',')
		}
		b.tail = append(append(append(b.tail, '"'), t.Name...), `":"`...)
		b.tail = append(append(b.tail, t.Value...), '"')
	}
	b.tail = append(b.tail, "}}\n"...)
}

// point appends a data point.
func (b *Backend) point(field string, v float64) {
	if !outbox.Finite(v) {
		b.Infinite(b.name)
		return
	}
	start := len(b.Record)
	b.Record = append(append(b.Record, `{"metric":"`...), b.name...)
	if field != "" {
		b.Record = append(append(b.Record, '.'), field...)
	}
	at := b.Time()
	if !b.plain {
		at = b.Apart(string(b.Record[start:]) + string(b.tail))
	}
	b.Record = append(b.Record, `","timestamp":`...)
	if at%1000 == 0 {
		at /= 1000 // OpenTSDB keeps whole seconds in less space
	}
	b.Record = strconv.AppendInt(b.Record, at, 10)
	b.Record = append(b.Record, `,"value":`...)
	b.Record = appendNumber(b.Record, v)
	b.Record = append(b.Record, b.tail...)
	b.Item(b.name)
}

func appendNumber(dst []byte, v float64) []byte {
	if n := int64(v); float64(n) == v && n < 1<<53 && n > -1<<53 {
		return strconv.AppendInt(dst, n, 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// acceptable is s with what OpenTSDB does not take in names as "_".
func acceptable(s string) string {
	if s == "" {
		return "_"
	}
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || !plain(rune(c)) {
			return strings.Map(func(c rune) rune {
				if plain(c) || c >= utf8.RuneSelf && c != utf8.RuneError && unicode.IsLetter(c) {
					return c
				}
				return '_'
			}, s)
		}
	}
	return s
}

func plain(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '/'
}
