package statsd

import (
	"bytes"
	"unicode/utf8"
)

// keep marks the bytes a sanitised key may hold.
var keep = func() (set [256]bool) {
	for c := range 256 {
		b := byte(c)
		set[c] = isDigit(b) || b|0x20 >= 'a' && b|0x20 <= 'z' || bytes.IndexByte([]byte("_-.;="), b) >= 0
	}
	return set
}()

// AppendSanitized appends name to dst with runs of white space as one "_", "/" as
// "-" and everything outside A-Za-z0-9_-.;= deleted (specification section 1.3).
// Backends need it when keyNameSanitize is off.
func AppendSanitized(dst, name []byte) []byte {
	start := len(dst)
	return sanitizeInPlace(append(dst, name...), start)
}

func sanitizeInPlace(key []byte, start int) []byte {
	i := start
	for i < len(key) && keep[key[i]] {
		i++
	}
	out := i
	for i < len(key) {
		c := key[i]
		if keep[c] {
			key[out] = c
			out++
			i++
			continue
		}
		n := spaceLen(key[i:])
		switch {
		case n > 0:
			for i < len(key) {
				n = spaceLen(key[i:])
				if n == 0 {
					break
				}
				i += n
			}
			key[out] = '_'
			out++
			continue
		case c == '/':
			key[out] = '-'
			out++
		}
		i++
	}
	return key[:out]
}

// appendText appends text as Node decodes the bytes of a datagram: UTF-8, with
// U+FFFD for every longest prefix of a character that is cut short and for
// every other byte that cannot be part of one.
func appendText(dst, text []byte) []byte {
	if utf8.Valid(text) {
		return append(dst, text...)
	}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 {
			n = brokenLen(text)
		}
		dst = utf8.AppendRune(dst, r)
		text = text[n:]
	}
	return dst
}

// brokenLen returns how many bytes of text, which does not begin with a valid
// character, one U+FFFD stands for.
func brokenLen(text []byte) int {
	for n := 1; n <= min(len(text), utf8.UTFMax); n++ {
		// FullRune is false exactly while the bytes could go on to be a character.
		if utf8.FullRune(text[:n]) {
			return max(n-1, 1)
		}
	}
	return min(len(text), utf8.UTFMax)
}
