package writes

import (
	"math"
	"strconv"
	"testing"
)

func FuzzParseNumber(f *testing.F) {
	for _, seed := range []string{"1", "-1.5", "+.5", "5.", "1e3", "1e", "1e+", "1e-400", "1e400", "123456789012345678901234567890", "0.1e22", "9007199254740993", "-0", "1.7976931348623157e308", "4.9e-324x", ".", "-", "NaN", "0x1p3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, size := ParseNumber([]byte(text))
		if size == 0 {
			return
		}
		want, err := strconv.ParseFloat(text[:size], 64)
		if err != nil || math.Float64bits(value) != math.Float64bits(want) {
			t.Errorf("%q is %v, want %v (%v)", text[:size], value, want, err)
		}
		whole, ok := ParseInteger([]byte(text))
		if wanted, err := strconv.ParseInt(text, 10, 64); ok != (err == nil) && text[0] != '+' || ok && whole != wanted {
			t.Errorf("%q is the integer %d %v, want %d %v", text, whole, ok, wanted, err)
		}
	})
}
