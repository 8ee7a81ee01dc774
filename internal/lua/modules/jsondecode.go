package modules

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/weirhq/weir/internal/lua"
)

// maxNesting is how deep a JSON text may be nested: as deep as a table can be
// that is handed to Lua.
const maxNesting = 95

// jsonDecoder reads a JSON text into Lua values (5.3.3).
type jsonDecoder struct {
	text string
	at   int
}

type jsonError struct {
	at   int
	what string
}

// DecodeJSON returns the value of a text: objects and arrays as tables, null as nil. When it is not JSON the
// message is what scripts get.
func DecodeJSON(text string) (v lua.Value, message string) {
	d := &jsonDecoder{text: text}
	v, err := d.value(0)
	if d.blank(); err == nil && d.at < len(text) {
		err = d.unexpected("syntax error while parsing value", "expected end of input")
	}
	if err == nil {
		return v, ""
	}
	before := text[:min(err.at, len(text))]
	line := strings.Count(before, "\n") + 1
	column := len(before) - strings.LastIndexByte(before, '\n')
	return nil, fmt.Sprintf("[json.exception.parse_error.101] parse error at line %d, column %d: %s", line, column, err.what)
}

func (d *jsonDecoder) blank() {
	for d.at < len(d.text) && strings.IndexByte(" \t\r\n", d.text[d.at]) >= 0 {
		d.at++
	}
}

// unexpected is the error that something else is needed at the current place.
func (d *jsonDecoder) unexpected(while, expected string) *jsonError {
	found := "end of input"
	if d.at < len(d.text) {
		r, size := utf8.DecodeRuneInString(d.text[d.at:])
		found = "'" + d.text[d.at:d.at+size] + "'"
		if r < ' ' {
			found = fmt.Sprintf("'<U+%04X>'", r)
		}
	}
	return &jsonError{d.at, while + " - unexpected " + found + "; " + expected}
}

func (d *jsonDecoder) value(depth int) (lua.Value, *jsonError) {
	if depth > maxNesting {
		return nil, &jsonError{d.at, fmt.Sprintf("nested deeper than %d levels", maxNesting)}
	}
	d.blank()
	rest := d.text[d.at:]
	switch {
	case rest == "":
	case rest[0] == '{':
		return d.object(depth)
	case rest[0] == '[':
		return d.array(depth)
	case rest[0] == '"':
		return d.string()
	case rest[0] == '-' || rest[0] >= '0' && rest[0] <= '9':
		return d.number()
	case strings.HasPrefix(rest, "true"):
		d.at += 4
		return true, nil
	case strings.HasPrefix(rest, "false"):
		d.at += 5
		return false, nil
	case strings.HasPrefix(rest, "null"):
		d.at += 4
		return nil, nil
	}
	return nil, d.unexpected("syntax error while parsing value", "expected '[', '{', or a literal")
}

func (d *jsonDecoder) object(depth int) (lua.Value, *jsonError) {
	t := &lua.Table{}
	known := map[string]int{}
	d.at++
	if d.blank(); d.take('}') {
		return t, nil
	}
	for {
		if d.blank(); d.at >= len(d.text) || d.text[d.at] != '"' {
			return nil, d.unexpected("syntax error while parsing object key", "expected string literal")
		}
		key, err := d.string()
		if err != nil {
			return nil, err
		}
		if d.blank(); !d.take(':') {
			return nil, d.unexpected("syntax error while parsing object separator", "expected ':'")
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		name := key.(string)
		if i, twice := known[name]; twice {
			t.Hash[i].Value = v // the last one wins
		} else {
			known[name] = len(t.Hash)
			t.Set(name, v)
		}
		if d.blank(); d.take('}') {
			return t, nil
		}
		if !d.take(',') {
			return nil, d.unexpected("syntax error while parsing object", "expected '}'")
		}
	}
}

func (d *jsonDecoder) array(depth int) (lua.Value, *jsonError) {
	t := &lua.Table{}
	d.at++
	if d.blank(); d.take(']') {
		return t, nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		t.Array = append(t.Array, v)
		if d.blank(); d.take(']') {
			return t, nil
		}
		if !d.take(',') {
			return nil, d.unexpected("syntax error while parsing array", "expected ']'")
		}
	}
}

func (d *jsonDecoder) take(c byte) bool {
	if d.at < len(d.text) && d.text[d.at] == c {
		d.at++
		return true
	}
	return false
}

func (d *jsonDecoder) number() (lua.Value, *jsonError) {
	start := d.at
	digits := func() bool {
		from := d.at
		for d.at < len(d.text) && d.text[d.at] >= '0' && d.text[d.at] <= '9' {
			d.at++
		}
		return d.at > from
	}
	d.take('-')
	zero := d.at
	if !digits() || d.text[zero] == '0' && d.at > zero+1 {
		return nil, d.unexpected("syntax error while parsing value - invalid number", "expected digit")
	}
	if d.take('.') && !digits() {
		return nil, d.unexpected("syntax error while parsing value - invalid number", "expected digit after '.'")
	}
	if d.take('e') || d.take('E') {
		if !d.take('+') {
			d.take('-')
		}
		if !digits() {
			return nil, d.unexpected("syntax error while parsing value - invalid number", "expected '+', '-', or digit after exponent")
		}
	}
	text := d.text[start:d.at]
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	f, _ := strconv.ParseFloat(text, 64) // the syntax is right; too large is an infinity
	return f, nil
}

func (d *jsonDecoder) string() (lua.Value, *jsonError) {
	d.at++
	start := d.at
	for d.at < len(d.text) { // without escapes it is a part of the text
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			return d.text[start : d.at-1], nil
		case c == '\\':
			return d.escaped([]byte(d.text[start:d.at]))
		case c < ' ':
			return nil, d.unexpected("syntax error while parsing value - invalid string", "control characters must be escaped")
		}
		d.at++
	}
	return nil, d.unexpected("syntax error while parsing value - invalid string", "missing closing quote")
}

var jsonEscapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (d *jsonDecoder) escaped(b []byte) (lua.Value, *jsonError) {
	for d.at < len(d.text) {
		c := d.text[d.at]
		switch {
		case c == '"':
			d.at++
			return string(b), nil
		case c < ' ':
			return nil, d.unexpected("syntax error while parsing value - invalid string", "control characters must be escaped")
		case c != '\\':
			b = append(b, c)
			d.at++
			continue
		}
		d.at++
		if d.at < len(d.text) && d.text[d.at] == 'u' {
			r, ok := d.unicode()
			if !ok {
				return nil, d.unexpected("syntax error while parsing value - invalid string", `'\u' must be followed by 4 hex digits`)
			}
			b = utf8.AppendRune(b, r)
			continue
		}
		plain := byte(0)
		if d.at < len(d.text) {
			plain = jsonEscapes[d.text[d.at]]
		}
		if plain == 0 {
			return nil, d.unexpected("syntax error while parsing value - invalid string", "forbidden character after backslash")
		}
		b = append(b, plain)
		d.at++
	}
	return nil, d.unexpected("syntax error while parsing value - invalid string", "missing closing quote")
}

// unicode reads uXXXX, and the second half of a pair.
func (d *jsonDecoder) unicode() (rune, bool) {
	first, ok := d.hex()
	if !ok || !utf16.IsSurrogate(first) {
		return first, ok
	}
	if strings.HasPrefix(d.text[d.at:], `\u`) {
		before := d.at
		d.at++
		if second, ok := d.hex(); ok {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				return r, true
			}
		}
		d.at = before
	}
	return utf8.RuneError, true
}

func (d *jsonDecoder) hex() (rune, bool) {
	if len(d.text)-d.at < 5 {
		return 0, false
	}
	n, err := strconv.ParseUint(d.text[d.at+1:d.at+5], 16, 32)
	if err != nil {
		return 0, false
	}
	d.at += 5
	return rune(n), true
}
