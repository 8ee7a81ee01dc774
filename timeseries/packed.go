package timeseries

import (
	"iter"
	"strings"
)

// Limits of a packed tag, which may be longer than others because it holds many.
const (
	MaxPacked      = 8192 // bytes of the whole text
	MaxPackedItems = 512
)

// A packed tag is a list "key=value;key=value" in which "\" stands before every
// "\", ";" and "=" of a key or value, so that any text comes back as it was.
// Reading is lenient: "\" before another character is itself, and "=" in a
// value needs none, because StatsD writes its tags as they come.

// AppendPacked appends an item to dst, the text of a packed tag so far. A series
// has one text only when its writer keeps to one order: sorted by key.
func AppendPacked(dst []byte, key, value string) []byte {
	if len(dst) > 0 {
		dst = append(dst, ';')
	}
	dst = appendEscaped(dst, key)
	dst = append(dst, '=')
	return appendEscaped(dst, value)
}

func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == ';' || s[i] == '=' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return dst
}

// PackedValue returns the value of key in packed, the text of a packed tag: the
// first one when there are several. A key without "=" has the value "".
func PackedValue(packed, key string) (value string, ok bool) {
	for len(packed) > 0 {
		var name string
		if name, value, packed = nextPacked(packed); name == key {
			return value, true
		}
	}
	return "", false
}

// UnpackTags yields the keys and values of packed, the text of a packed tag, in
// its order. A key that stands there twice comes twice; the first one counts.
func UnpackTags(packed string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for len(packed) > 0 {
			var name, value string
			if name, value, packed = nextPacked(packed); !yield(name, value) {
				return
			}
		}
	}
}

// nextPacked takes the first item off a text that is not empty.
func nextPacked(packed string) (name, value, rest string) {
	end := strings.IndexByte(packed, ';')
	item := packed
	if end >= 0 {
		item = packed[:end]
	}
	if strings.IndexByte(item, '\\') < 0 {
		name, value, _ = strings.Cut(item, "=")
		return name, value, packed[min(len(item)+1, len(packed)):]
	}
	return nextEscaped(packed)
}

// nextEscaped is nextPacked of an item that has a "\" in it.
func nextEscaped(packed string) (name, value, rest string) {
	text := make([]byte, 0, len(packed))
	equals := -1 // where the value begins in text
	i := 0
	for ; i < len(packed) && packed[i] != ';'; i++ {
		c := packed[i]
		switch {
		case c == '\\' && i+1 < len(packed) && (packed[i+1] == '\\' || packed[i+1] == ';' || packed[i+1] == '='):
			i++
			text = append(text, packed[i])
		case c == '=' && equals < 0:
			equals = len(text)
		default:
			text = append(text, c)
		}
	}
	rest = packed[min(i+1, len(packed)):]
	if equals < 0 {
		return string(text), "", rest
	}
	return string(text[:equals]), string(text[equals:]), rest
}
