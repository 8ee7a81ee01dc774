package statsd

import (
	"bytes"
	"math"
)

// Dialect is which lines a server understands.
type Dialect uint8

// The dialects.
const (
	Strict    Dialect = iota // lines as the reference daemon reads them
	DogStatsD                // and what DogStatsD's clients send (specification section 1.7)
)

// String returns the dialect as configurations have it.
func (d Dialect) String() string { return [...]string{"statsd", "dogstatsd"}[d] }

// sections are the parts of a line of DogStatsD behind its type, which may come in any order.
type sections struct {
	weight    float64 // 1/rate
	tags      []byte  // without "#", separated by commas
	container []byte  // id, as sent
	time      int64   // Unix seconds, 0 when the line has none
}

var (
	eventMark = []byte("_e{")
	checkMark = []byte("_sc|")
)

// dogLine parses any line of the dialect DogStatsD.
func (p *Parser) dogLine(line []byte) {
	text := bytes.TrimSuffix(line, []byte{'\r'})
	switch {
	case bytes.HasPrefix(text, eventMark):
		p.notice(line, parseEvent, text[len(eventMark):])
		return
	case bytes.HasPrefix(text, checkMark):
		p.notice(line, parseCheck, text[len(checkMark):])
		return
	}
	name, rest, _ := bytes.Cut(text, []byte{':'})
	values, after, hasType := bytes.Cut(rest, []byte{'|'})
	typ, after, more := bytes.Cut(after, []byte{'|'})
	if bytes.IndexByte(typ, ':') >= 0 {
		p.several(name, rest, line)
		return
	}
	s := sections{weight: 1}
	valid := hasType
	p.tags = p.tags[:0]
	for more && valid {
		var section []byte
		section, after, more = bytes.Cut(after, []byte{'|'})
		if len(section) > 0 && section[0] == '@' && bytes.IndexByte(section, ':') >= 0 {
			p.several(name, rest, line)
			return
		}
		valid = p.section(&s, section)
	}
	valid = p.dogKey(name, s.tags, s.container) && valid
	p.watch(line)
	if !valid {
		p.bad(rest, line)
		return
	}
	p.packed(values, typ, &s, line)
}

// section reads one section and reports whether it is valid. Of those that begin with "name:" unknown
// ones are ignored, because the protocol grows by them.
func (p *Parser) section(s *sections, section []byte) bool {
	if len(section) == 0 {
		return true
	}
	switch section[0] {
	case '@':
		rate, ok := parseRate(section)
		s.weight = 1 / rate
		return ok && rate > 0
	case '#':
		switch {
		case len(section) == 1:
			return true
		case s.tags == nil:
			s.tags = section[1:]
			return true
		case len(p.tags) == 0: // a second section: together they need memory of their own
			p.tags = append(p.tags, s.tags...)
		}
		p.tags = append(append(p.tags, ','), section[1:]...)
		s.tags = p.tags
		return true
	case 'T':
		t, ok := parseSeconds(section[1:])
		s.time = t
		return ok
	}
	if id, ok := bytes.CutPrefix(section, []byte("c:")); ok {
		s.container = id
		return true
	}
	i := bytes.IndexByte(section, ':')
	return i > 0 && isLetters(section[:i])
}

func isLetters(b []byte) bool {
	for _, c := range b {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	return true
}

// maxSeconds is the largest timestamp that is accepted: the year 9999.
const maxSeconds = 253402300799

// parseSeconds reads Unix seconds, digits only and above 0.
func parseSeconds(text []byte) (seconds int64, ok bool) {
	for _, c := range text {
		if !isDigit(c) || seconds > maxSeconds {
			return 0, false
		}
		seconds = seconds*10 + int64(c-'0')
	}
	return seconds, seconds > 0 && seconds <= maxSeconds
}

// packed delivers the values of a line, which share type, rate and tags (protocol 1.1).
func (p *Parser) packed(values, typ []byte, s *sections, line []byte) {
	// A Value apart: plainLine sets only the fields it knows of its own.
	v := &p.dogValue
	*v = Value{Key: p.key, Weight: s.weight}
	switch string(typ) {
	case "c":
	case "g":
		v.Kind = Gauge
	case "ms", "h":
		v.Kind = Timer
	case "d":
		v.Kind, v.Sketch = Timer, true
	case "s":
		if len(values) == 0 {
			p.bad(values, line)
			return
		}
		p.member = appendText(p.member[:0], values) // sets are not packed: a member may hold ":"
		v.Kind, v.Member = Set, p.member
		p.OnValue(v)
		return
	default:
		p.bad(typ, line)
		return
	}
	deliver := p.OnValue
	if s.time != 0 && p.OnTimed != nil && v.Kind != Timer {
		v.Time, deliver = s.time, p.OnTimed
	}
	for more := true; more; {
		var text []byte
		text, values, more = bytes.Cut(values, []byte{':'})
		v.Number = ParseNumber(text)
		if len(text) == 0 || math.IsNaN(v.Number) || string(typ) == "ms" && v.Number < 0 {
			p.bad(text, line)
			continue
		}
		if v.Kind == Counter {
			v.Number *= s.weight
		}
		deliver(v)
	}
}

// several parses a line of values each of which has a type of its own, as StatsD has them. Tags come last.
func (p *Parser) several(name, bits, line []byte) {
	bits, tags, _ := bytes.Cut(bits, tagMark)
	tags, _, _ = bytes.Cut(tags, []byte{'|'})
	valid := p.dogKey(name, tags, nil)
	p.watch(line)
	if !valid {
		p.bad(bits, line)
		return
	}
	for more := true; more; {
		var bit []byte
		bit, bits, more = bytes.Cut(bits, []byte{':'})
		text, rest, _ := bytes.Cut(bit, []byte{'|'})
		typ, rate, hasRate := bytes.Cut(rest, []byte{'|'})
		s := sections{weight: 1}
		if hasRate && !p.section(&s, rate) || string(typ) == "" {
			p.bad(bit, line)
			continue
		}
		p.packed(text, typ, &s, line)
	}
}

// dogKey makes p.key of a name and tags. The name may carry tags in the style of Librato (name#k=v,k=v), InfluxDB
// (name,k=v) or SignalFx (name[k=v]); it reports false for two styles in one line. "name;k=v" is what the others become.
func (p *Parser) dogKey(name, tags, container []byte) bool {
	valid, after := true, []byte(nil)
	if plainName(name) && plainTags(tags) && (len(container) == 0 || !p.ContainerTag) {
		p.key = appendPlain(append(p.key[:0], name...), tags)
		return true
	}
	if i := bytes.IndexAny(name, "#,["); i >= 0 {
		valid = tags == nil
		mark, inner := name[i], name[i+1:]
		name = name[:i]
		if mark == '[' {
			var closed bool
			inner, after, closed = bytes.Cut(inner, []byte{']'})
			valid = valid && closed && !bytes.ContainsAny(after, "#,[]")
		}
		valid = valid && !bytes.ContainsAny(inner, "#[]")
		tags = inner
	}
	p.key = p.key[:0]
	for _, part := range [...][]byte{name, after} {
		start := len(p.key)
		p.key = appendText(p.key, part)
		if p.Sanitize {
			p.key = sanitizeInPlace(p.key, start)
		}
	}
	if len(tags) > 0 {
		p.appendTags(tags)
	}
	if p.ContainerTag && len(container) > 0 {
		start := len(p.key)
		p.key = appendText(append(p.key, ";container_id="...), container)
		if p.Sanitize {
			p.key = sanitizeInPlace(p.key, start)
		}
	}
	return valid
}

// plainName reports whether a name has no tags of other styles and needs no sanitising.
func plainName(name []byte) bool {
	for _, c := range name {
		if !keep[c] {
			return false
		}
	}
	return true
}

// plainTags reports whether tags need nothing but other separators.
func plainTags(tags []byte) bool {
	colon := false
	for _, c := range tags {
		switch {
		case c == ',':
			colon = false
		case c == ':' && !colon:
			colon = true
		case !keep[c] || c == ';':
			return false
		}
	}
	return true
}

// appendPlain appends plain tags to a key as appendTags would.
func appendPlain(key, tags []byte) []byte {
	if len(tags) == 0 {
		return key
	}
	start := len(key) + 1
	key = append(append(key, ';'), tags...)
	for i, c := range key[start:] {
		switch c {
		case ',':
			key[start+i] = ';'
		case ':':
			key[start+i] = '='
		}
	}
	return key
}
