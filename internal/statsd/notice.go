package statsd

import (
	"bytes"
	"strconv"
)

// Notice is an event or a service check of DogStatsD.
type Notice struct {
	Check  bool   // a service check; otherwise an event
	Title  string // of a check its name
	Text   string // of a check its message
	Status int    // of a check: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN
	Time   int64  // Unix seconds; 0 when the sender does not say
	Host   string
	Tags   string // as sent, separated by commas

	// Of an event:
	Key      string // what events are grouped by
	Priority string // "normal" or "low"
	Source   string
	Type     string // "error", "warning", "info" or "success"
}

// notice delivers the notice of a line.
func (p *Parser) notice(line []byte, parse func([]byte) (Notice, bool), text []byte) {
	if p.OnLine != nil {
		p.OnLine(line)
	}
	n, ok := parse(text)
	if !ok {
		p.bad(line, line)
		return
	}
	p.OnNotice(n)
}

// parseEvent reads what follows "_e{": "tl,xl}:title|text|d:ts|h:host|...", where tl and xl are lengths in bytes.
func parseEvent(text []byte) (Notice, bool) {
	n := Notice{Priority: "normal", Type: "info"}
	lengths, rest, ok := bytes.Cut(text, []byte("}:"))
	first, second, both := bytes.Cut(lengths, []byte{','})
	title, titleErr := strconv.ParseUint(string(first), 10, 31)
	body, bodyErr := strconv.ParseUint(string(second), 10, 31)
	if !ok || !both || titleErr != nil || bodyErr != nil || title == 0 || uint64(len(rest)) < title+1+body || rest[title] != '|' {
		return n, false
	}
	n.Title = unescape(rest[:title])
	rest = rest[title+1:]
	n.Text = unescape(rest[:body])
	rest = rest[body:]
	if len(rest) > 0 && rest[0] != '|' {
		return n, false
	}
	for len(rest) > 0 {
		section := rest[1:]
		rest = nil
		if i := bytes.IndexByte(section, '|'); i >= 0 {
			section, rest = section[:i], section[i:]
		}
		if !n.section(section) {
			return n, false
		}
	}
	return n, true
}

// parseCheck reads what follows "_sc|": "name|status|d:ts|h:host|#tags|m:message".
func parseCheck(text []byte) (Notice, bool) {
	n := Notice{Check: true}
	name, rest, ok := bytes.Cut(text, []byte{'|'})
	status, rest, more := bytes.Cut(rest, []byte{'|'})
	if !ok || len(name) == 0 || len(status) != 1 || status[0] < '0' || status[0] > '3' {
		return n, false
	}
	n.Title, n.Status = unescape(name), int(status[0]-'0')
	for more {
		if message, last := bytes.CutPrefix(rest, []byte("m:")); last { // it may hold "|"
			n.Text = unescape(bytes.ReplaceAll(withoutOrigin(message), []byte(`m\:`), []byte("m:")))
			return n, true
		}
		var section []byte
		section, rest, more = bytes.Cut(rest, []byte{'|'})
		if !n.section(section) {
			return n, false
		}
	}
	return n, true
}

// withoutOrigin returns a message without the sections that clients add behind it all the same, where they come from.
func withoutOrigin(message []byte) []byte {
	for {
		i := bytes.LastIndexByte(message, '|')
		last := message[i+1:]
		if i < 0 || !bytes.HasPrefix(last, []byte("c:")) && !bytes.HasPrefix(last, []byte("e:")) && !bytes.HasPrefix(last, []byte("card:")) {
			return message
		}
		message = message[:i]
	}
}

// section reads a section of a notice and reports whether it is valid. A priority or a type that does not exist is no
// reason to lose an event: the usual one stays.
func (n *Notice) section(section []byte) bool {
	if tags, ok := bytes.CutPrefix(section, []byte{'#'}); ok {
		n.Tags = string(appendText(nil, tags))
		return true
	}
	name, value, _ := bytes.Cut(section, []byte{':'})
	text := unescape(value)
	switch string(name) {
	case "d":
		var ok bool
		n.Time, ok = parseSeconds(value)
		return ok
	case "h":
		n.Host = text
	case "k":
		n.Key = text
	case "s":
		n.Source = text
	case "p":
		if text == "low" {
			n.Priority = text
		}
	case "t":
		if text == "error" || text == "warning" || text == "success" {
			n.Type = text
		}
	}
	return true // c:, e:, card: and what may come yet
}

// unescape returns text with its line breaks, which are written "\n".
func unescape(text []byte) string {
	return string(appendText(nil, bytes.ReplaceAll(text, []byte(`\n`), []byte{'\n'})))
}
