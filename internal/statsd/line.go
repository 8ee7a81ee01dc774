package statsd

import (
	"bytes"
	"math"
	"strconv"
)

// Kind says what a value does to its key.
type Kind uint8

// The four kinds. Every type that is not "ms", "g" or "s" counts, as in the
// reference daemon.
const (
	Counter Kind = iota
	Timer
	Gauge
	Set
	kinds // how many there are
)

// String returns the name of the kind as the management console's commands have it.
func (k Kind) String() string { return [...]string{"counter", "timer", "gauge", "set"}[k] }

// Value is one valid value of a line. It is only valid during the call that
// delivers it.
type Value struct {
	Kind   Kind
	Signed bool    // Gauge: the text starts with + or -, so a value that exists is changed by Number
	Key    []byte  // after sanitising, tags included
	Member []byte  // Set: the text to insert, never empty
	Number float64 // Counter: already multiplied by 1/rate
	Weight float64 // Timer: 1/rate, what timer_counters grows by
	Sketch bool    // Timer: many values may be kept as a sketch
	Time   int64   // of OnTimed: Unix seconds
}

// Bad is one invalid value of a line: Fields as they were written, without "|".
// Both slices are only valid during the call that delivers it.
type Bad struct {
	Fields []byte // fields joined with ","
	Line   []byte
}

// Parser turns packets into values (specification sections 1.1 to 1.4). The
// zero value keeps keys as they come; it is not safe for concurrent use, and
// the buffers it reuses make parsing free of allocation.
type Parser struct {
	Sanitize bool              // keyNameSanitize
	OnValue  func(*Value)      // called per valid value
	OnBad    func(Bad)         // called per invalid value
	OnLine   func(line []byte) // if set, called per line before its values
	OnKey    func(key []byte)  // if set, called per line before its values, bad ones included
	Rules    *TagRules         // if set, what tags keys lose

	Dialect      Dialect
	ContainerTag bool         // DogStatsD: the id of the sender's container becomes a tag
	OnNotice     func(Notice) // DogStatsD: called per event and service check
	OnTimed      func(*Value) // DogStatsD: called per counter and gauge with a timestamp; without it OnValue is

	value, dogValue           Value // what OnValue is handed
	key, fields, member, tags []byte
}

// Packet parses every line of packet and returns how many lines it held,
// valid or not; empty lines do not count.
func (p *Parser) Packet(packet []byte) (lines int) {
	watched := p.OnLine != nil || p.OnKey != nil || p.Rules != nil
	for len(packet) > 0 {
		if !watched {
			if n := p.plainLine(packet); n > 0 {
				lines++
				packet = packet[n:]
				continue
			}
		}
		line := packet
		if i := bytes.IndexByte(packet, '\n'); i >= 0 {
			line, packet = packet[:i], packet[i+1:]
		} else {
			packet = nil
		}
		if len(line) > 0 {
			lines++
			if p.Dialect == DogStatsD {
				p.dogLine(line)
			} else {
				p.line(line)
			}
		}
	}
	return lines
}

var tagMark = []byte("|#")

// line parses any line.
func (p *Parser) line(line []byte) {
	metric, tags, _ := bytes.Cut(line, tagMark)
	if i := bytes.Index(tags, tagMark); i >= 0 {
		tags = tags[:i]
	}
	name, bits, hasBits := bytes.Cut(metric, []byte{':'})
	p.key = p.key[:0]
	if p.Sanitize {
		p.key = AppendSanitized(p.key, name)
	} else {
		p.key = appendText(p.key, name)
	}
	if len(tags) > 0 {
		p.appendTags(tags)
	}
	p.watch(line)
	if !hasBits {
		p.bad([]byte("1"), line) // the default value has no type: a line without ":" is always bad
		return
	}
	for {
		bit, rest, more := bytes.Cut(bits, []byte{':'})
		p.bit(bit, line)
		if !more {
			return
		}
		bits = rest
	}
}

// watch finishes p.key and shows line and key to those who asked.
func (p *Parser) watch(line []byte) {
	if p.Rules != nil {
		p.key = p.Rules.apply(p.key)
	}
	if p.OnLine != nil {
		p.OnLine(line)
	}
	if p.OnKey != nil {
		p.OnKey(p.key)
	}
}

// appendTags appends ";tag" for every comma-separated tag, in each of which
// the first ";" becomes "_" and the first ":" becomes "=".
func (p *Parser) appendTags(tags []byte) {
	for {
		tag, rest, more := bytes.Cut(tags, []byte{','})
		p.key = append(p.key, ';')
		start := len(p.key)
		p.key = appendText(p.key, tag)
		written := p.key[start:]
		if i := bytes.IndexByte(written, ';'); i >= 0 {
			written[i] = '_'
		}
		if i := bytes.IndexByte(written, ':'); i >= 0 {
			written[i] = '='
		}
		if p.Sanitize {
			p.key = sanitizeInPlace(p.key, start)
		}
		if !more {
			return
		}
		tags = rest
	}
}

func (p *Parser) bit(bit, line []byte) {
	text, rest, hasType := bytes.Cut(bit, []byte{'|'})
	if !hasType {
		p.bad(bit, line)
		return
	}
	typ, rest, hasRate := bytes.Cut(rest, []byte{'|'})
	weight := 1.0
	if hasRate {
		rateText, _, _ := bytes.Cut(rest, []byte{'|'})
		rate, ok := parseRate(rateText)
		if !ok {
			p.bad(bit, line)
			return
		}
		weight = 1 / rate
	}
	// Validity looks at the type as written, the effect at the trimmed one.
	v := &p.value
	*v = Value{Key: p.key, Weight: weight}
	if string(typ) != "s" {
		v.Number = ParseNumber(text)
		if len(text) == 0 || math.IsNaN(v.Number) || (string(typ) == "ms" && v.Number < 0) {
			p.bad(bit, line)
			return
		}
	}
	switch string(trimSpace(typ)) {
	case "ms":
		v.Kind = Timer
	case "g":
		v.Kind = Gauge
		v.Signed = text[0] == '+' || text[0] == '-'
	case "s":
		v.Kind = Set
		p.member = appendText(p.member[:0], text)
		if len(text) == 0 {
			p.member = append(p.member, '0')
		}
		v.Member = p.member
	default:
		v.Number *= weight
	}
	p.OnValue(v)
}

// parseRate returns the sample rate of a field such as "@0.1". A field is
// valid when the text after "@" is a number that does not begin with "-"; the
// rate is then the run of digits and dots right after "@". Where there is no
// such run the reference daemon dies; here the value is bad.
func parseRate(field []byte) (float64, bool) {
	if len(field) < 2 || field[0] != '@' || field[1] == '-' || !isNumber(field[1:]) {
		return 0, false
	}
	end := 1
	for end < len(field) && (isDigit(field[end]) || field[end] == '.') {
		end++
	}
	if end == 1 {
		return 0, false
	}
	rate, err := strconv.ParseFloat(string(field[1:end]), 64)
	return rate, err == nil
}

func (p *Parser) bad(bit, line []byte) {
	p.fields = append(p.fields[:0], bit...)
	for i, c := range p.fields {
		if c == '|' {
			p.fields[i] = ','
		}
	}
	p.OnBad(Bad{Fields: p.fields, Line: line})
}
