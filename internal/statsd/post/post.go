// Package post is the StatsD backend that sends flushes to an HTTP server, as documents of JSON:
//
//	{"timestamp":1700000010,"interval":10,"part":1,
//	 "counters":[{"name":"hits","tags":{"dc":"lyon"},"value":3,"rate":0.3}],
//	 "gauges":[{"name":"load","value":0.5}],
//	 "timers":[{"name":"t","fields":{"count":2,"mean":15},"histogram":{"bin_50":2}}],
//	 "sets":[{"name":"who","count":2}],
//	 "last":true}
//
// A large flush comes in several of them, numbered by part. What is not a finite number is null.
package post

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/statsd/outbox"
	"github.com/weirhq/weir/internal/statsd/tags"
)

// Config says where flushes go.
type Config struct {
	Access  delivery.Access   // URL is where documents are sent
	Headers map[string]string // of requests

	MaxQueue int64 // bytes on disk
}

// partBytes is the length from which a document is ended and another one begun.
const partBytes = 200 << 10

// Backend sends flushes to an HTTP server.
type Backend struct {
	*outbox.Outbox[[]byte]
	url      string
	headers  map[string]string
	client   *delivery.Client
	interval float64

	tags    []tags.Tag
	part    int
	members string // of the document: the list that is open, "" when none is
	some    bool   // in it
	header  []byte
}

var _ backend.Stopper = (*Backend)(nil)

// New returns a Backend that does nothing before Init.
func New(config Config, box outbox.Config) *Backend {
	config.Access.Scheme = "Bearer"
	b := &Backend{url: config.Access.URL, client: delivery.NewClient(config.Access), headers: map[string]string{"Content-Type": "application/json"}}
	for name, value := range config.Headers {
		b.headers[http.CanonicalHeaderKey(name)] = value
	}
	b.Outbox = outbox.New("http", "documents", 1, box, outbox.Lines(b.send))
	return b
}

// Init implements [backend.Backend].
func (b *Backend) Init(ctx context.Context, env backend.Environment) error {
	b.interval = env.Interval
	return b.Outbox.Init(ctx, env)
}

// send sends documents, of which there is one.
func (b *Backend) send(ctx context.Context, documents [][]byte) error {
	for _, d := range documents {
		if err := b.client.Ask(ctx, delivery.Request{Method: http.MethodPost, Path: b.url, Header: b.headers, Body: d}); err != nil {
			return err
		}
	}
	return nil
}

// Flush implements [backend.Backend]. An error means that some of it is not in the queue.
func (b *Backend) Flush(_ context.Context, f *backend.Flush) error {
	b.Begin(f)
	b.header = append(b.header[:0], `{"timestamp":`...)
	b.header = strconv.AppendInt(b.header, f.Timestamp, 10)
	b.header = appendNumber(append(b.header, `,"interval":`...), b.interval)
	b.part = 0
	b.document()
	for i := range f.Counters {
		c := &f.Counters[i]
		b.metric("counters", c.Name)
		b.number("value", c.Value)
		b.number("rate", c.Rate)
		b.ended()
	}
	for i := range f.Gauges {
		g := &f.Gauges[i]
		b.metric("gauges", g.Name)
		b.number("value", g.Value)
		b.ended()
	}
	for i := range f.Timers {
		t := &f.Timers[i]
		b.metric("timers", t.Name)
		b.object("fields", t.Fields)
		if t.Histogram != nil {
			b.object("histogram", t.Histogram)
		}
		b.ended()
	}
	for i := range f.Sets {
		s := &f.Sets[i]
		b.metric("sets", s.Name)
		b.number("count", float64(len(s.Members)))
		b.ended()
	}
	b.close(true)
	return b.End()
}

// document begins a document.
func (b *Backend) document() {
	b.part++
	b.Record = append(append(b.Record, b.header...), `,"part":`...)
	b.Record = strconv.AppendInt(b.Record, int64(b.part), 10)
	b.members = ""
}

// close ends a document.
func (b *Backend) close(last bool) {
	if b.members != "" {
		b.Record = append(b.Record, ']')
	}
	b.Record = strconv.AppendBool(append(b.Record, `,"last":`...), last)
	b.Record = append(b.Record, "}\n"...)
	b.Item("a document")
	b.Put() // a record for each, whatever its length
}

// metric begins a metric in the list of its kind.
func (b *Backend) metric(list, key string) {
	if b.members != list {
		if b.members != "" {
			b.Record = append(b.Record, ']')
		}
		b.Record = append(append(append(b.Record, `,"`...), list...), `":[`...)
		b.members, b.some = list, false
	}
	if b.some {
		b.Record = append(b.Record, ',')
	}
	b.some = true
	name := key
	b.tags = b.tags[:0]
	if strings.IndexByte(key, ';') >= 0 {
		name, b.tags = tags.Split(b.tags, key)
	}
	b.Record = appendText(append(b.Record, `{"name":`...), name)
	for i, t := range b.tags {
		if i == 0 {
			b.Record = append(b.Record, `,"tags":{`...)
		} else {
			b.Record = append(b.Record, ',')
		}
		b.Record = appendText(append(appendText(b.Record, t.Name), ':'), t.Value)
	}
	if len(b.tags) > 0 {
		b.Record = append(b.Record, '}')
	}
}

// ended ends a metric, and its document when that is long enough.
func (b *Backend) ended() {
	b.Record = append(b.Record, '}')
	if len(b.Record) >= partBytes {
		b.close(false)
		b.document()
	}
}

func (b *Backend) number(name string, v float64) {
	b.Record = append(append(append(b.Record, `,"`...), name...), `":`...)
	b.Record = appendNumber(b.Record, v)
}

func (b *Backend) object(name string, fields []backend.Field) {
	b.Record = append(append(append(b.Record, `,"`...), name...), `":{`...)
	for i, f := range fields {
		if i > 0 {
			b.Record = append(b.Record, ',')
		}
		b.Record = appendNumber(append(appendText(b.Record, f.Name), ':'), f.Value)
	}
	b.Record = append(b.Record, '}')
}

func appendNumber(dst []byte, v float64) []byte {
	if !outbox.Finite(v) {
		return append(dst, "null"...)
	}
	if n := int64(v); float64(n) == v && n < 1<<53 && n > -1<<53 {
		return strconv.AppendInt(dst, n, 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// appendText appends s as JSON has it. What is not UTF-8 becomes U+FFFD.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			text, err := json.Marshal(s)
			if err != nil {
				panic("BUG: a text is no JSON: " + err.Error())
			}
			return append(dst, text...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}
