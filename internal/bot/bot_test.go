package bot

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/collector"
)

func TestPaths(t *testing.T) {
	for name, want := range map[string]string{"192.0.2.1": "192%2e0%2e2%2e1", "a:b": "a%3ab", "ä b/c": "--b-c", "": "-", "A_z-0": "A_z-0"} {
		if got := Segment(name); got != want {
			t.Errorf("%q is %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{strings.Repeat(".", 1000), strings.Repeat("é", 1000)} {
		if got := Segment(name); len(got) > maxSegment || collector.CheckPath(got) != nil {
			t.Errorf("%s has %d bytes", got, len(got))
		}
	}
	if got := Prefix(&collector.JobConfig{EntityID: 311, Name: "x"}); got != "entity.311" {
		t.Error(got)
	}
	if got := Prefix(&collector.JobConfig{Name: "x.y"}); got != "target.x%2ey" {
		t.Error(got)
	}
}

func FuzzSegment(f *testing.F) {
	f.Add("192.0.2.1")
	f.Fuzz(func(t *testing.T, name string) {
		if err := collector.CheckPath(Segment(name)); err != nil {
			t.Error(err)
		}
	})
}

func TestNumber(t *testing.T) {
	var d struct{ N Number }
	for text, want := range map[string]Number{`{"N":1.5}`: 1.5, `{"N":" 2 "}`: 2, `{"N":null}`: 0} {
		d.N = 0
		if err := Details([]byte(text), &d); err != nil || d.N != want {
			t.Errorf("%s is %v, %v", text, d.N, err)
		}
	}
	for _, text := range []string{`{"N":"x"}`, `{"N":[]}`, `{`, `5`} {
		if Details([]byte(text), &d) == nil {
			t.Errorf("%s is good", text)
		}
	}
}
