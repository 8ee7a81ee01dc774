package statsd

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ParseNumber converts text as JavaScript's Number(text) does. It returns NaN
// for text that is not a number; empty or blank text is 0. StatsD decides by
// this rule what a valid value is (specification section 1.5).
func ParseNumber(text []byte) float64 {
	text = trimSpace(text)
	if len(text) == 0 {
		return 0
	}
	if v, ok := parseShortInteger(text); ok {
		return v
	}
	if len(text) > 2 && text[0] == '0' {
		switch text[1] {
		case 'x', 'X':
			return parseRadix(text[2:], 16)
		case 'o', 'O':
			return parseRadix(text[2:], 8)
		case 'b', 'B':
			return parseRadix(text[2:], 2)
		}
	}
	switch string(text) {
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	if !isDecimal(text) {
		return math.NaN()
	}
	// ParseFloat reports 1e400 as out of range and returns ±Inf, as JavaScript does.
	v, _ := strconv.ParseFloat(string(text), 64)
	return v
}

// isNumber reports whether text is non-empty and a JavaScript number.
func isNumber(text []byte) bool {
	return len(text) > 0 && !math.IsNaN(ParseNumber(text))
}

// parseShortInteger is the fast path for nearly every value on the wire: an
// unsigned integer of at most 15 digits, which float64 holds exactly.
func parseShortInteger(text []byte) (float64, bool) {
	if len(text) > 15 {
		return 0, false
	}
	n := uint64(0)
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return float64(n), true
}

// isDecimal reports whether text is [sign]digits[.digits][e[sign]digits] with
// at least one digit in the mantissa. ParseFloat alone would also take "inf",
// "nan", hexadecimal floats and underscores.
func isDecimal(text []byte) bool {
	i := 0
	if text[0] == '+' || text[0] == '-' {
		i++
	}
	start, dots := i, 0
	for ; i < len(text) && (isDigit(text[i]) || text[i] == '.'); i++ {
		if text[i] == '.' {
			dots++
		}
	}
	if dots > 1 || i-start-dots == 0 {
		return false
	}
	if i == len(text) {
		return true
	}
	if text[i] != 'e' && text[i] != 'E' {
		return false
	}
	i++
	if i < len(text) && (text[i] == '+' || text[i] == '-') {
		i++
	}
	start = i
	for ; i < len(text) && isDigit(text[i]); i++ {
	}
	return i > start && i == len(text)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// parseRadix converts digits of base 2, 8 or 16 to the nearest float64.
func parseRadix(digits []byte, base int) float64 {
	for _, c := range digits {
		d := 99
		switch {
		case isDigit(c):
			d = int(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			d = int(c|0x20-'a') + 10
		}
		if d >= base {
			return math.NaN()
		}
	}
	if v, err := strconv.ParseUint(string(digits), base, 64); err == nil {
		return float64(v) // round to even, as JavaScript
	}
	if base == 16 {
		v, _ := strconv.ParseFloat("0x"+string(digits)+"p0", 64)
		return v
	}
	v := 0.0
	for _, c := range digits {
		v = v*float64(base) + float64(c-'0')
	}
	return v
}

// FormatNumber renders v as JavaScript's String(v) does (specification section 2.9).
func FormatNumber(v float64) string { return string(AppendNumber(nil, v)) }

// AppendNumber appends FormatNumber(v) to dst.
func AppendNumber(dst []byte, v float64) []byte {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	case a == 0:
		return append(dst, '0')
	case a >= 1e-6 && a < 1e21:
		return strconv.AppendFloat(dst, v, 'f', -1, 64)
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
	dst = append(dst, mantissa...)
	dst = append(dst, 'e', exponent[0])
	return append(dst, strings.TrimLeft(exponent[1:], "0")...)
}

// trimSpace removes JavaScript white space at both ends.
func trimSpace(text []byte) []byte {
	for len(text) > 0 {
		n := spaceLen(text)
		if n == 0 {
			break
		}
		text = text[n:]
	}
	for len(text) > 0 {
		r, n := utf8.DecodeLastRune(text)
		if !isSpace(r) {
			break
		}
		text = text[:len(text)-n]
	}
	return text
}

// spaceLen returns the length in bytes of the white space character text
// begins with, 0 when it begins with something else.
func spaceLen(text []byte) int {
	if text[0] < utf8.RuneSelf {
		if text[0] == ' ' || text[0]-'\t' <= '\r'-'\t' {
			return 1
		}
		return 0
	}
	r, n := utf8.DecodeRune(text)
	if isSpace(r) {
		return n
	}
	return 0
}

// isSpace is JavaScript's \s (specification section 1.3).
func isSpace(r rune) bool {
	switch {
	case r == ' ', r >= '\t' && r <= '\r', r == 0xA0, r == 0x1680, r >= 0x2000 && r <= 0x200A,
		r == 0x2028, r == 0x2029, r == 0x202F, r == 0x205F, r == 0x3000, r == 0xFEFF:
		return true
	}
	return false
}
