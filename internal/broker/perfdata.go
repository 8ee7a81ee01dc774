package broker

import (
	"bytes"
	"hash/maphash"
	"math"
	"math/bits"
	"unicode/utf8"
)

// ValueType is the kind of a metric, as the prefix of its label says: a[x], c[x],
// d[x], g[x].
type ValueType uint8

// The numbers are those of the events.
const (
	Gauge    ValueType = 0
	Counter  ValueType = 1
	Derive   ValueType = 2
	Absolute ValueType = 3
)

// Limits of labels and units in bytes (5.3.4); longer ones are cut.
const (
	maxLabel = 255
	maxUnit  = 32
)

// Range is a warning or critical range; both ends are NaN when there is none.
type Range struct {
	Low, High float64
	Inside    bool // began with @: an alert is raised inside the range
}

// Metric is one item of performance data. Label and Unit alias the text.
type Metric struct {
	Label             []byte
	Unit              []byte
	Type              ValueType
	Value             float64
	Warning, Critical Range
	Min, Max          float64 // NaN when missing

	// The metrics of one text are also a hash table of their labels, so that a
	// label that comes twice is found in constant time without more memory:
	// head is a bucket's first metric and next the one after this, both counted
	// from 1.
	hash       uint64
	head, next int32
}

var labelSeed = maphash.MakeSeed()

// ParsePerfdata appends the metrics of a text to dst (5.3.4). Items that cannot be
// read are skipped, as are labels that came before in the same text. The time is
// linear in the text, and nothing is allocated when dst has room.
func ParsePerfdata(dst []Metric, text []byte) []Metric {
	first := len(dst)
	for {
		text = skipBlanks(text)
		if len(text) == 0 {
			return dst
		}
		var m Metric
		rest, ok := m.parse(text)
		if ok {
			m.hash = maphash.Bytes(labelSeed, m.Label)
			dst = insert(dst, first, &m)
		}
		text = skipItem(rest)
	}
}

// insert appends m unless a metric from first on has its label. The number of
// buckets is the largest power of two not above the number of metrics.
func insert(dst []Metric, first int, m *Metric) []Metric {
	table := dst[first:]
	n := len(table)
	if n > 0 {
		buckets := uint64(1) << (63 - bits.LeadingZeros(uint(n)))
		for i := table[m.hash&(buckets-1)].head; i != 0; i = table[i-1].next {
			if table[i-1].hash == m.hash && bytes.Equal(table[i-1].Label, m.Label) {
				return dst
			}
		}
	}
	dst = append(dst, *m)
	table = dst[first:]
	n++
	if n&(n-1) == 0 { // twice as many buckets: deal all metrics out again
		for i := range table {
			table[i].head = 0
		}
		for i := range table {
			link(table, i, uint64(n))
		}
	} else {
		link(table, n-1, uint64(1)<<(63-bits.LeadingZeros(uint(n))))
	}
	return dst
}

func link(table []Metric, i int, buckets uint64) {
	bucket := &table[table[i].hash&(buckets-1)]
	table[i].next = bucket.head
	bucket.head = int32(i + 1)
}

// parse reads one item from the start of text, which is not blank, and returns
// what follows the part that was read.
func (m *Metric) parse(text []byte) (rest []byte, ok bool) {
	end, quoted := 0, false
	for ; end < len(text); end++ {
		switch c := text[end]; {
		case c == '\'':
			quoted = !quoted
		case !quoted && (c == '=' || blank(c)):
			goto found
		}
	}
found:
	m.Label, m.Type = cleanLabel(text[:end])
	rest = text[end:]
	if len(rest) == 0 || rest[0] != '=' || len(m.Label) == 0 {
		return rest, false
	}
	rest = rest[1:]
	value, n := parseNumber(rest)
	if n == 0 {
		return rest, false
	}
	m.Value = value
	rest = rest[n:]
	end = 0
	for end < len(rest) && rest[end] != ';' && !blank(rest[end]) {
		end++
	}
	m.Unit = cut(rest[:end], maxUnit)
	rest = rest[end:]
	var field []byte
	field, rest = nextField(rest)
	m.Warning = parseRange(field)
	field, rest = nextField(rest)
	m.Critical = parseRange(field)
	field, rest = nextField(rest)
	m.Min = parseLimit(field)
	field, rest = nextField(rest)
	m.Max = parseLimit(field)
	return rest, true
}

// nextField takes one ";field" from the start of text.
func nextField(text []byte) (field, rest []byte) {
	if len(text) == 0 || text[0] != ';' {
		return nil, text
	}
	end := 1
	for end < len(text) && text[end] != ';' && !blank(text[end]) {
		end++
	}
	return text[1:end], text[end:]
}

// cleanLabel removes quotes, blanks and the prefix for the type.
func cleanLabel(label []byte) ([]byte, ValueType) {
	label = bytes.TrimPrefix(label, quote)
	label = bytes.TrimSuffix(label, quote)
	label = trimBlanks(label)
	t := Gauge
	if n := len(label); n >= 3 && label[1] == '[' && label[n-1] == ']' {
		prefix := true
		switch label[0] {
		case 'a':
			t = Absolute
		case 'c':
			t = Counter
		case 'd':
			t = Derive
		case 'g':
		default:
			prefix = false
		}
		if prefix {
			label = label[2 : n-1]
		}
	}
	return cut(label, maxLabel), t
}

var quote = []byte("'")

// cut shortens text to a number of bytes, never inside a UTF-8 sequence.
func cut(text []byte, size int) []byte {
	if len(text) <= size {
		return text[:len(text):len(text)]
	}
	for n := size; n > size-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			return text[:n:n]
		}
	}
	return text[:size:size] // not UTF-8
}

// parseRange reads a threshold: "[@][low]:[high]" or "high". A missing low end is
// 0, ~ is minus infinity, and a missing high end is plus infinity.
func parseRange(text []byte) Range {
	r := Range{Low: math.NaN(), High: math.NaN()}
	if len(text) > 0 && text[0] == '@' {
		r.Inside = true
		text = text[1:]
	}
	if len(text) == 0 {
		return r
	}
	low, n := parseNumber(text)
	switch {
	case text[0] == '~':
		low, n = math.Inf(-1), 1
	case n == 0:
		low = 0
	}
	text = text[n:]
	if len(text) == 0 || text[0] != ':' {
		if n > 0 && !math.IsNaN(low) && low != math.Inf(-1) {
			r.Low, r.High = 0, low
		}
		return r
	}
	high, n := parseNumber(text[1:])
	if n == 0 {
		high = math.Inf(1)
	}
	r.Low, r.High = low, high
	return r
}

// parseLimit reads a minimum or maximum.
func parseLimit(text []byte) float64 {
	if x, n := parseNumber(text); n > 0 {
		return x
	}
	return math.NaN()
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func skipBlanks(text []byte) []byte {
	for len(text) > 0 && blank(text[0]) {
		text = text[1:]
	}
	return text
}

func trimBlanks(text []byte) []byte {
	text = skipBlanks(text)
	for len(text) > 0 && blank(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	return text
}

// skipItem returns text from the next blank on.
func skipItem(text []byte) []byte {
	for len(text) > 0 && !blank(text[0]) {
		text = text[1:]
	}
	return text
}

// Name returns the part of the label after its first #, or the whole label.
func (m *Metric) Name() []byte {
	if i := bytes.IndexByte(m.Label, '#'); i >= 0 {
		return m.Label[i+1:]
	}
	return m.Label
}

// Instance returns the part of the label before the first # up to the first ~,
// empty when there is no #.
func (m *Metric) Instance() []byte {
	instance, _, _ := bytes.Cut(m.scope(), tilde)
	return instance
}

// AppendSubinstances appends the pieces after the instance: those between the
// first ~ and the first #, separated by ~.
func (m *Metric) AppendSubinstances(dst [][]byte) [][]byte {
	_, rest, more := bytes.Cut(m.scope(), tilde)
	return appendPieces(dst, rest, tilde, more)
}

// scope is the part of the label before its first #.
func (m *Metric) scope() []byte {
	if i := bytes.IndexByte(m.Label, '#'); i > 0 {
		return m.Label[:i]
	}
	return nil
}

// AppendFields appends the pieces of the name between dots.
func (m *Metric) AppendFields(dst [][]byte) [][]byte {
	return appendPieces(dst, m.Name(), dot, true)
}

func appendPieces(dst [][]byte, text, separator []byte, more bool) [][]byte {
	for more {
		var piece []byte
		piece, text, more = bytes.Cut(text, separator)
		dst = append(dst, piece)
	}
	return dst
}

// NameUnit returns the part of the whole label after its last dot, or the whole
// label.
func (m *Metric) NameUnit() []byte { return m.Label[bytes.LastIndexByte(m.Label, '.')+1:] }

var tilde, dot = []byte("~"), []byte(".")
