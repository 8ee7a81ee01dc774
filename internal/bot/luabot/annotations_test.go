package luabot

import (
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
)

// Editors know each global of the contract, and no other.
func TestAnnotations(t *testing.T) {
	text, err := os.ReadFile("../../../examples/collectors/annotations/collector.lua")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newScript(Setup{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := s.vm.Load("@collector.lua", text); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Collect(maps.Keys(s.globals())), "jobs", "perform_job")
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^(?:function (\w+)\(|(\w+) = )`).FindAllSubmatch(text, -1) {
		got = append(got, string(m[1])+string(m[2]))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("the contract has %q, its annotations have %q", want, got)
	}
}
