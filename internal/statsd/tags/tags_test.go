package tags

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	for key, want := range map[string]struct {
		Name string
		Tags []Tag
	}{
		"a.b":               {"a.b", nil},
		"":                  {"", nil},
		"a;":                {"a", nil},
		"a;b=2;a=1":         {"a", []Tag{{"a", "1"}, {"b", "2"}}},
		"a;b=1;b=2":         {"a", []Tag{{"b", "2"}}},
		"a;solo;empty=;=x;": {"a", []Tag{{"empty", "true"}, {"solo", "true"}}},
		"a;k=v=w":           {"a", []Tag{{"k", "v=w"}}},
	} {
		name, tags := Split(nil, key)
		if diff := cmp.Diff(want, struct {
			Name string
			Tags []Tag
		}{name, tags}); diff != "" {
			t.Errorf("%q: %s", key, diff)
		}
	}
}
