package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/weirhq/weir/timeseries"
)

// A record of points is readable without anything else:
//
//	version                        1 byte
//	per point: 0 definition        where a schema comes first: it gets the next number, from 0
//	           1 + schema number   uvarint
//	           time                varint, minus that of the point before
//	           per tag: 0 when it is that of the point of this schema before, else 1 + length, bytes
//	           per metric: value (see appendValue)
const pointsVersion = 1

// PointWriter makes records of points. The zero value is ready.
type PointWriter struct {
	data    []byte
	schemas []writtenSchema
	last    int // schema of the point before
	time    int64
	points  int
	scratch []byte
}

type writtenSchema struct {
	schema *timeseries.Schema
	tags   []string // of its last point; they are the caller's, and valid until Reset
}

// Reset begins a new record. What the record before returned is overwritten.
func (w *PointWriter) Reset() {
	clear(w.schemas)
	*w = PointWriter{data: append(w.data[:0], pointsVersion), schemas: w.schemas[:0], scratch: w.scratch}
}

// Record is what was added since Reset. It is valid until the next Reset or Add.
func (w *PointWriter) Record() []byte { return w.data }

// Points is how many points were added since Reset.
func (w *PointWriter) Points() int { return w.points }

// Add adds a point that is valid (see timeseries.Point.Validate). Its tags must not
// change before Reset.
func (w *PointWriter) Add(p *timeseries.Point) {
	if len(w.data) == 0 {
		w.data = append(w.data, pointsVersion)
	}
	n := w.number(p.Schema)
	w.data = binary.AppendUvarint(w.data, uint64(n)+1)
	w.data = binary.AppendVarint(w.data, p.Time-w.time)
	w.time = p.Time
	s := &w.schemas[n]
	for i, tag := range p.Tags {
		if s.tags != nil && s.tags[i] == tag {
			w.data = append(w.data, 0)
			continue
		}
		w.data = binary.AppendUvarint(w.data, uint64(len(tag))+1)
		w.data = append(w.data, tag...)
	}
	s.tags = p.Tags
	for _, v := range p.Values {
		w.data = appendValue(w.data, v)
	}
	w.points++
}

// number is that of a schema in the record, which is defined if it is new there.
func (w *PointWriter) number(s *timeseries.Schema) int {
	if w.last < len(w.schemas) && w.schemas[w.last].schema == s {
		return w.last
	}
	for i := range w.schemas {
		if w.schemas[i].schema == s {
			w.last = i
			return i
		}
	}
	w.scratch = appendSchema(w.scratch[:0], s)
	w.data = append(w.data, 0)
	w.data = binary.AppendUvarint(w.data, uint64(len(w.scratch)))
	w.data = append(w.data, w.scratch...)
	w.last = len(w.schemas)
	w.schemas = append(w.schemas, writtenSchema{schema: s})
	return w.last
}

func appendSchema(dst []byte, s *timeseries.Schema) []byte {
	dst = appendText(dst, s.Name)
	dst = binary.AppendUvarint(dst, uint64(s.Step))
	dst = binary.AppendUvarint(dst, uint64(s.Heartbeat))
	dst = append(dst, byte(s.Type), byte(s.Aggregation))
	dst = appendText(dst, s.Packed)
	for _, list := range [][]string{s.Tags, s.Metrics} {
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		for _, name := range list {
			dst = appendText(dst, name)
		}
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// The low two bits of a value say what it is.
const (
	valueWhole = iota // a whole number, zigzag, above them
	valueBits         // 8 bytes follow
	valueNaN
)

func appendValue(dst []byte, v float64) []byte {
	n := int64(v)
	switch {
	case math.Float64bits(float64(n)) == math.Float64bits(v) && n < 1<<53 && n > -1<<53:
		return binary.AppendUvarint(dst, (uint64(n)<<1^uint64(n>>63))<<2) // valueWhole is 0
	case v != v:
		return append(dst, valueNaN)
	default:
		return binary.LittleEndian.AppendUint64(append(dst, valueBits), math.Float64bits(v))
	}
}

// PointReader reads records of points. It keeps the schemas it met, so that
// points with the same definition have the same Schema. The zero value is ready.
type PointReader struct {
	schemas map[string]*timeseries.Schema // by definition
}

// maxSchemas is how many schemas a reader keeps before it begins anew.
const maxSchemas = 10_000

var errPoints = errors.New("corrupt record of points")

// Append appends the points of a record to dst. After an error dst is as it was.
// The points refer to record no more.
func (r *PointReader) Append(dst []timeseries.Point, record []byte) (_ []timeseries.Point, err error) {
	d := decoder{data: record}
	points := dst
	if d.byte() != pointsVersion {
		return dst, fmt.Errorf("%w: version", errPoints)
	}
	var schemas []writtenSchema
	var at int64
	var values []float64
	for len(d.data) > 0 {
		n := d.uvarint()
		if n == 0 {
			s, err := r.schema(d.text(timeseries.MaxMetrics * 4 * timeseries.MaxNameLength))
			if err != nil {
				return dst, err
			}
			schemas = append(schemas, writtenSchema{schema: s})
			continue
		}
		if n > uint64(len(schemas)) {
			return dst, fmt.Errorf("%w: schema", errPoints)
		}
		s := &schemas[n-1]
		at += d.varint()
		p := timeseries.Point{Schema: s.schema, Time: at}
		var same bool
		if p.Tags, same = d.tags(len(s.schema.Tags), s.tags); !same {
			s.tags = p.Tags
		}
		width := len(s.schema.Metrics)
		if cap(values)-len(values) < width {
			values = make([]float64, 0, max(width, min(4096, len(d.data)+width)))
		}
		start := len(values)
		for range width {
			values = append(values, d.value())
		}
		p.Values = values[start:len(values):len(values)]
		if d.bad {
			return dst, fmt.Errorf("%w: point", errPoints)
		}
		if err := p.Validate(); err != nil {
			return dst, fmt.Errorf("%w: %w", errPoints, err)
		}
		points = append(points, p)
	}
	return points, nil
}

// schema reads a definition.
func (r *PointReader) schema(definition string) (*timeseries.Schema, error) {
	if s := r.schemas[definition]; s != nil {
		return s, nil
	}
	d := decoder{data: []byte(definition)}
	s := &timeseries.Schema{Name: d.text(timeseries.MaxNameLength), Step: int64(d.uvarint()), Heartbeat: int64(d.uvarint())}
	s.Type, s.Aggregation = timeseries.MetricsType(d.byte()), timeseries.Aggregation(d.byte())
	s.Packed = d.text(timeseries.MaxNameLength)
	s.Tags = d.texts(timeseries.MaxTags)
	s.Metrics = d.texts(timeseries.MaxMetrics)
	if d.bad || len(d.data) > 0 || s.Type > timeseries.Derivative || s.Aggregation > timeseries.Last {
		return nil, fmt.Errorf("%w: schema", errPoints)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", errPoints, err)
	}
	if len(r.schemas) >= maxSchemas || r.schemas == nil {
		r.schemas = make(map[string]*timeseries.Schema)
	}
	r.schemas[definition] = s
	return s, nil
}

var allSame [timeseries.MaxTags]byte // how the tags of a series are written that come again

// decoder reads off the front of data. After a mistake bad is set and what it returns is zero.
type decoder struct {
	data []byte
	bad  bool
}

func (d *decoder) fail() { d.bad, d.data = true, nil }

func (d *decoder) byte() byte {
	if len(d.data) == 0 {
		d.fail()
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	x, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[n:]
	return x
}

func (d *decoder) varint() int64 {
	x := d.uvarint()
	return int64(x>>1) ^ -int64(x&1)
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.data)) {
		d.fail()
		return nil
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) text(longest int) string {
	n := d.uvarint()
	if n > uint64(longest) {
		d.fail()
		return ""
	}
	return string(d.bytes(n))
}

func (d *decoder) texts(most uint64) []string {
	n := d.uvarint()
	if n > most || n > uint64(len(d.data)) {
		d.fail()
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = d.text(timeseries.MaxNameLength)
	}
	return list
}

// tags reads n tag values; last are those of the point before, nil when there is none.
func (d *decoder) tags(n int, last []string) (tags []string, same bool) {
	if last != nil && len(d.data) >= n && bytes.Equal(d.data[:n], allSame[:n]) {
		d.data = d.data[n:]
		return last, true
	}
	tags = make([]string, n)
	for i := range tags {
		switch x := d.uvarint(); {
		case x == 0 && (d.bad || last == nil):
			d.fail()
		case x == 0:
			tags[i] = last[i]
		default:
			tags[i] = string(d.bytes(x - 1))
		}
	}
	return tags, false
}

func (d *decoder) value() float64 {
	switch x := d.uvarint(); x & 3 {
	case valueWhole:
		x >>= 2
		return float64(int64(x>>1) ^ -int64(x&1))
	case valueNaN:
		return math.NaN()
	default:
		b := d.bytes(8)
		if d.bad {
			return 0
		}
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
}
