package broker

import (
	"bytes"
	"math"
	"strconv"
	"unsafe"
)

// parseNumber reads what C's strtod reads at the start of text, with a comma
// accepted for the point and without leading blanks. n is the number of bytes
// read, 0 when there is no number.
func parseNumber(text []byte) (x float64, n int) {
	i := 0
	negative := false
	if i < len(text) && (text[i] == '+' || text[i] == '-') {
		negative = text[i] == '-'
		i++
	}
	if n := word(text[i:]); n > 0 {
		x = math.Inf(1)
		if text[i]|0x20 == 'n' {
			x = math.NaN()
		}
		if negative {
			x = -x
		}
		return x, i + n
	}
	if hex := text[i:]; len(hex) > 2 && hex[0] == '0' && hex[1]|0x20 == 'x' {
		if end, exponent := digits(hex[2:], hexadecimal, 'p'); end > 0 {
			return convert(text[:i+2+end], !exponent), i + 2 + end
		}
	}
	end, _ := digits(text[i:], decimal, 'e')
	if end == 0 {
		return 0, 0
	}
	if x, ok := short(text[i : i+end]); ok {
		if negative {
			x = -x
		}
		return x, i + end
	}
	return convert(text[:i+end], false), i + end
}

// word returns the length of inf, infinity, nan or nan(characters).
func word(b []byte) int {
	switch {
	case len(b) < 3:
		return 0
	case len(b) >= 8 && bytes.EqualFold(b[:8], infinity):
		return 8
	case bytes.EqualFold(b[:3], infinity[:3]):
		return 3
	case !bytes.EqualFold(b[:3], nan):
		return 0
	}
	if len(b) > 3 && b[3] == '(' {
		for i := 4; i < len(b); i++ {
			switch c := b[i]; {
			case c == ')':
				return i + 1
			case c != '_' && !decimal(c) && (c|0x20 < 'a' || c|0x20 > 'z'):
				return 3
			}
		}
	}
	return 3
}

var infinity, nan = []byte("infinity"), []byte("nan")

func decimal(c byte) bool { return c >= '0' && c <= '9' }

func hexadecimal(c byte) bool { return decimal(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

// digits returns the length of digits with at most one point or comma and an
// exponent after the letter mark; 0 when there is no digit.
func digits(b []byte, digit func(byte) bool, mark byte) (end int, exponent bool) {
	count, point := 0, false
	for ; end < len(b); end++ {
		if digit(b[end]) {
			count++
		} else if (b[end] == '.' || b[end] == ',') && !point {
			point = true
		} else {
			break
		}
	}
	if count == 0 {
		return 0, false
	}
	if end < len(b) && b[end]|0x20 == mark {
		i := end + 1
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		for ; i < len(b) && decimal(b[i]); i++ {
			end, exponent = i+1, true
		}
	}
	return end, exponent
}

// short converts digits with an optional point exactly when they are few enough
// for that: whole numbers below 2^53 divided by a power of ten up to 10^22.
func short(b []byte) (float64, bool) {
	if len(b) > 16 {
		return 0, false
	}
	mantissa, scale := uint64(0), -1
	for _, c := range b {
		switch {
		case decimal(c):
			mantissa = mantissa*10 + uint64(c-'0')
			if scale >= 0 {
				scale++
			}
		case c == '.' || c == ',':
			scale = 0
		default:
			return 0, false
		}
	}
	if mantissa >= 1<<53 {
		return 0, false
	}
	if scale <= 0 {
		return float64(mantissa), true
	}
	return float64(mantissa) / powers[scale], true
}

var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16}

// convert converts a number that was found to be one. power adds the exponent
// that Go wants after hexadecimal digits. Numbers beyond the range are infinite
// or 0, as in C.
func convert(b []byte, power bool) float64 {
	if bytes.IndexByte(b, ',') >= 0 || power {
		b = bytes.Replace(b, []byte(","), []byte("."), 1)
		if power {
			b = append(b, "p0"...)
		}
	}
	x, _ := strconv.ParseFloat(unsafe.String(&b[0], len(b)), 64)
	return x
}
