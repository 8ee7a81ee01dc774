// Package inspect prints values as Node's util.inspect does with its defaults.
// StatsD's management interface and its console backend show objects this way
// (StatsD specification section 5.3).
package inspect

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
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

// maxArray is how many items of an array are shown.
const maxArray = 100

// Printer holds what differs between the callers.
type Printer struct {
	Depth  int                  // containers deeper than this show as [Object] or [Array]
	Number func(float64) string // String(v) of JavaScript
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
			return "-0"
		}
		return s.Number(v)
	case string:
		return quote(v)
	case Object:
		if len(v) == 0 {
			return "{}"
		}
		if level > s.Depth {
			return "[Object]"
		}
		s.current = level
		entries := make([]string, len(v))
		s.indent += 2
		for i, e := range v {
			name := e.Name
			if !isIdentifier(name) {
				name = quote(name)
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
			return "[Array]"
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

// join puts the entries on one line where they are short and not nested deeply.
func (s *state) join(entries []string, open, shut string, level int, grouped bool) string {
	if !grouped && s.current-level < 3 {
		length := len(entries) + (len(entries) + s.indent + 1 + 10)
		newline := false
		for _, e := range entries {
			length += utf8.RuneCountInString(e)
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
		length := utf8.RuneCountInString(e)
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
		widths[i%columns] = max(widths[i%columns], utf8.RuneCountInString(e)+separator)
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
			pad := strings.Repeat(" ", max(space-utf8.RuneCountInString(cell), 0))
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
