package statsd

import (
	"math"
	"testing"
)

func TestParseNumber(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for text, want := range map[string]float64{
		// the two columns of specification section 1.5
		"0x1F": 31, "0o17": 15, "0b101": 5, "1e3": 1000, "1E2": 100, "+.5e-3": 0.0005, ".5": 0.5, "5.": 5,
		"00012": 12, " 12 ": 12, "\u00a05": 5, "Infinity": inf, "+Infinity": inf, "-Infinity": -inf, "1e1000": inf,
		"": 0, "   ": 0, "-0": 0, "1e400": inf, "-1e400": -inf, "12345678901234567890": 12345678901234567890,
		"0xFFFFFFFFFFFFFFFFFF": 4722366482869645213695, "0b" + repeat("1", 70): 1180591620717411303424,
		"-0x10": nan, "0x": nan, "1_000": nan, "1n": nan, "1e": nan, ".": nan, "+": nan, "+-1": nan, "0,5": nan,
		"5 5": nan, "infinity": nan, "inf": nan, "nan": nan, "NaN": nan, "\u0665": nan, "0x1p4": nan, "0b2": nan,
		"0o8": nan, "1.2.3": nan, "e5": nan, "1e+": nan, "0x1g": nan, "-": nan, "\x00": nan,
	} {
		got := ParseNumber([]byte(text))
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("ParseNumber(%q) = %v, want %v", text, got, want)
		}
	}
	if isNumber(nil) {
		t.Error("empty text counts as a number")
	}
}

func TestFormatNumber(t *testing.T) {
	tenth, fifth := 0.1, 0.2
	for _, c := range []struct {
		v    float64
		want string
	}{
		{tenth + fifth, "0.30000000000000004"}, {9007199254740993, "9007199254740992"}, {1 * (1 / 0.3), "3.3333333333333335"},
		{1e21, "1e+21"}, {1e20, "100000000000000000000"}, {1e-6, "0.000001"}, {1e-7, "1e-7"}, {1.5e-10, "1.5e-10"}, {-2.5e300, "-2.5e+300"},
		{0, "0"}, {math.Copysign(0, -1), "0"}, {math.NaN(), "NaN"}, {math.Inf(1), "Infinity"}, {math.Inf(-1), "-Infinity"}, {-3.25, "-3.25"},
	} {
		if got := FormatNumber(c.v); got != c.want {
			t.Errorf("FormatNumber(%g) = %q, want %q", c.v, got, c.want)
		}
	}
}

func repeat(s string, n int) string {
	out := ""
	for range n {
		out += s
	}
	return out
}
