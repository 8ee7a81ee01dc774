package drivers

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weirhq/weir/timeseries"
)

// Remote stores keep text that is UTF-8, and tag values need not be. A byte b that
// is not part of a character is sent as the character EscapedByte(b), of those that Unicode leaves
// to private use, and so are the bytes of these characters themselves: every value comes back as it was.

// firstEscaped stands for the byte 0; it and the 255 after it are taken.
const firstEscaped = 0x10FF00

// EscapedByte is the character that stands for a byte that a store cannot keep.
func EscapedByte(b byte) rune { return firstEscaped + rune(b) }

func isEscaped(c rune) bool { return c >= firstEscaped }

// escape makes value UTF-8.
func escape(value string) string {
	if utf8.ValidString(value) && strings.IndexFunc(value, isEscaped) < 0 {
		return value
	}
	var b strings.Builder
	for len(value) > 0 {
		c, size := utf8.DecodeRuneInString(value)
		if c == utf8.RuneError && size == 1 || isEscaped(c) {
			for i := range size {
				b.WriteRune(EscapedByte(value[i]))
			}
		} else {
			b.WriteString(value[:size])
		}
		value = value[size:]
	}
	return b.String()
}

// unescape is the inverse of escape.
func unescape(value string) string {
	if strings.IndexFunc(value, isEscaped) < 0 {
		return value
	}
	var b strings.Builder
	for _, c := range value {
		if isEscaped(c) {
			b.WriteByte(byte(c - firstEscaped))
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

func escapeTags(tags timeseries.Tags) timeseries.Tags {
	escaped := make(timeseries.Tags, len(tags))
	for name, value := range tags {
		escaped[name] = escape(value)
	}
	return escaped
}

// convert returns values with f done to them, which are values themselves when that changes nothing.
func convert(values []string, f func(string) string) []string {
	for i, value := range values {
		if other := f(value); other != value {
			values = slices.Clone(values)
			for j := i; j < len(values); j++ {
				values[j] = f(values[j])
			}
			return values
		}
	}
	return values
}
