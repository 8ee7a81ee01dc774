package config

import (
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"":                             nil,
		" \t\n":                        nil,
		"/bin/a -w 5\t-c  10\n":        {"/bin/a", "-w", "5", "-c", "10"},
		`a 'b c' "d e" f' 'g`:          {"a", "b c", "d e", "f g"},
		`a '' ""`:                      {"a", "", ""},
		`a\ b \'c\' 'd\e' "f\g\"\\\$"`: {"a b", "'c'", `d\e`, `f\g"\$`},
		"a $HOME `b` *.c ; d | e & #f": {"a", "$HOME", "`b`", "*.c", ";", "d", "|", "e", "&", "#f"},
		`'it'\''s'`:                    {"it's"},
	} {
		if got, err := split(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	for _, text := range []string{`a 'b`, `a "b`, `a\`, `"a\`} {
		if got, err := split(text); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}
