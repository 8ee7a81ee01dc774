package drivers

import (
	"testing"
	"unicode/utf8"
)

func FuzzEscape(f *testing.F) {
	f.Add("plain")
	f.Add("\x01\xff\xc3")
	f.Add(string(EscapedByte('x')) + "é\U0010FFFF")
	f.Fuzz(func(t *testing.T, value string) {
		escaped := escape(value)
		if !utf8.ValidString(escaped) || unescape(escaped) != value {
			t.Errorf("%q became %q and %q", value, escaped, unescape(escaped))
		}
	})
}
