// Package inspect prints values as Node's util.inspect does with its defaults.
// StatsD's management interface and its console backend show objects this way
// (StatsD specification section 5.3).
package inspect

import (
	"fmt"
	"math"
	"strings"
)

// Object is a JavaScript object: named values in order.
type Object []Entry

// Entry is one property of an Object. Value is a float64, a string, an Object
// or an Array.
type Entry struct {
	Name  string
	Value any
}

// Array is a JavaScript array of the same kinds of value.
type Array []any

// What is shown of long values.
const (
	maxArray  = 100   // items of an array
	maxString = 10000 // UTF-16 units of a string
)

// The colours util.inspect uses, as ANSI codes that switch them on and off.
type color struct{ on, off string }

var (
	green  = color{"\x1b[32m", "\x1b[39m"} // strings
	yellow = color{"\x1b[33m", "\x1b[39m"} // numbers
	cyan   = color{"\x1b[36m", "\x1b[39m"} // [Object], [Array]
)

// Printer holds what differs between the callers.
type Printer struct {
	Depth  int                  // containers deeper than this show as [Object] or [Array]
	Number func(float64) string // String(v) of JavaScript
	Colors bool                 // mark numbers, strings and what is left out with ANSI colours
}

// Sprint returns v as util.inspect prints it. It panics on a kind of value it does not know.
func (p Printer) Sprint(v any) string {
	s := state{Printer: p}
	return s.format(v, 0)
}

type state struct {
	Printer
	indent, current int
}

func (s *state) format(v any, level int) string {
	switch v := v.(type) {
	case float64:
		if v == 0 && math.Signbit(v) {
			return s.paint(yellow, "-0")
		}
		return s.paint(yellow, s.Number(v))
	case string:
		shown, more := truncate(v)
		return s.paint(green, quote(shown)) + more
	case Object:
		if len(v) == 0 {
			return "{}"
		}
		if level > s.Depth {
			return s.paint(cyan, "[Object]")
		}
		s.current = level
		entries := make([]string, len(v))
		s.indent += 2
		for i, e := range v {
			name := e.Name
			if !isIdentifier(name) {
				name = s.paint(green, quote(name))
			}
			entries[i] = name + ": " + s.format(e.Value, level+1)
		}
		s.indent -= 2
		return s.join(entries, "{", "}", level, false)
	case Array:
		if len(v) == 0 {
			return "[]"
		}
		if level > s.Depth {
			return s.paint(cyan, "[Array]")
		}
		s.current = level
		shown := min(len(v), maxArray)
		entries := make([]string, shown, shown+1)
		numeric := true
		s.indent += 2
		for i, item := range v[:shown] {
			_, number := item.(float64)
			numeric = numeric && number
			entries[i] = s.format(item, level+1)
		}
		s.indent -= 2
		more := len(v) - shown
		switch {
		case more == 1:
			entries = append(entries, "... 1 more item")
		case more > 1:
			entries = append(entries, fmt.Sprintf("... %d more items", more))
		}
		before := len(entries)
		if before > 6 {
			entries = s.group(entries, shown, numeric)
		}
		return s.join(entries, "[", "]", level, len(entries) != before)
	}
	panic(fmt.Sprintf("BUG: inspect of %T", v))
}

func (s *state) paint(c color, text string) string {
	if !s.Colors {
		return text
	}
	return c.on + text + c.off
}

// length is how long text is on the screen, in UTF-16 units as Node counts
// them; colours take no room.
func (s *state) length(text string) int {
	n := utf16Length(text)
	if s.Colors {
		n -= strings.Count(text, "\x1b[") * len("\x1b[39m")
	}
	return n
}

func utf16Length(text string) int {
	n := 0
	for _, r := range text {
		if n++; r > 0xFFFF {
			n++
		}
	}
	return n
}

// truncate cuts a string that is too long to show and says how much is missing.
func truncate(text string) (shown, more string) {
	if len(text) <= maxString {
		return text, ""
	}
	total, n := utf16Length(text), 0
	for i, r := range text {
		if r > 0xFFFF {
			n++
		}
		if n++; n > maxString {
			rest := total - maxString
			if rest == 1 {
				return text[:i], "... 1 more character"
			}
			return text[:i], fmt.Sprintf("... %d more characters", rest)
		}
	}
	return text, ""
}

// join puts the entries on one line where they are short and not nested deeply.
func (s *state) join(entries []string, open, shut string, level int, grouped bool) string {
	if !grouped && s.current-level < 3 {
		length := len(entries) + (len(entries) + s.indent + 1 + 10)
		newline := false
		for _, e := range entries {
			length += s.length(e)
			newline = newline || strings.Contains(e, "\n")
		}
		if length <= 80 && !newline {
			return open + " " + strings.Join(entries, ", ") + " " + shut
		}
	}
	gap := "\n" + strings.Repeat(" ", s.indent)
	return open + gap + "  " + strings.Join(entries, ","+gap+"  ") + gap + shut
}

// group sets the first n entries in columns.
func (s *state) group(entries []string, n int, numeric bool) []string {
	const separator = 2
	longest, total := 0, n*separator
	for _, e := range entries[:n] {
		length := s.length(e)
		longest, total = max(longest, length), total+length
	}
	width := longest + separator
	if 3*width+s.indent >= 80 || (float64(total)/float64(width) <= 5 && longest > 6) {
		return entries
	}
	bias := math.Max(math.Sqrt(float64(width)-float64(total)/float64(len(entries))), 0)
	bias = math.Max(float64(width)-3-bias, 1)
	columns := min(int(math.Floor(math.Sqrt(2.5*bias*float64(n))/bias+0.5)), (80-s.indent)/width, 12, 15)
	if columns <= 1 {
		return entries
	}
	widths := make([]int, columns)
	for i, e := range entries[:n] {
		widths[i%columns] = max(widths[i%columns], s.length(e)+separator)
	}
	var rows []string
	for start := 0; start < n; start += columns {
		end := min(start+columns, n)
		var row strings.Builder
		for i := start; i < end; i++ {
			cell, space := entries[i], widths[i-start]
			if i < end-1 {
				cell += ", "
			} else {
				space -= separator
			}
			pad := strings.Repeat(" ", max(space-s.length(cell), 0))
			switch {
			case numeric:
				row.WriteString(pad + cell)
			case i < end-1:
				row.WriteString(cell + pad)
			default:
				row.WriteString(cell)
			}
		}
		rows = append(rows, row.String())
	}
	return append(rows, entries[n:]...)
}

func isIdentifier(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// quote puts text between the quotes that need the least escaping.
func quote(text string) string {
	q := byte('\'')
	if strings.Contains(text, "'") {
		if !strings.Contains(text, `"`) {
			q = '"'
		} else if !strings.Contains(text, "`") && !strings.Contains(text, "${") {
			q = '`'
		}
	}
	out := []byte{q}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == 0xC2 && i+1 < len(text) && text[i+1] >= 0x80 && text[i+1] <= 0x9F { // U+0080 to U+009F in UTF-8
			i++
			out = fmt.Appendf(out, `\x%02X`, text[i])
			continue
		}
		if j := strings.IndexByte("\n\t\r\b\f", c); j >= 0 {
			out = append(out, '\\', "ntrbf"[j])
		} else if c == '\\' || c == q && q == '\'' {
			out = append(out, '\\', c)
		} else if c < 0x20 || c == 0x7F {
			out = fmt.Appendf(out, `\x%02X`, c)
		} else {
			out = append(out, c)
		}
	}
	return string(append(out, q))
}
