package drivers

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weirhq/weir/timeseries"
)

var packedSchema = &timeseries.Schema{Name: "statsd:gauge", Step: 1, Tags: []string{"name", "tags"}, Metrics: []string{"value"}, Packed: "tags"}

// back is what a store gives for a series.
func back(f *Flat, values []string) ([]FlatTag, []string) {
	flat := f.Append(nil, values)
	tags := make(map[string]string)
	for _, t := range flat {
		tags[t.Name] = t.Value
	}
	return flat, f.Values(tags)
}

func TestFlat(t *testing.T) {
	f := NewFlat(packedSchema)
	for packed, want := range map[string]string{
		"":                   "[{name hits}]",
		"dc=x;host=a":        "[{name hits} {dc x} {host a}]",
		`dc=\=\;\\`:          `[{name hits} {dc =;\}]`,
		"host=a;dc=x":        "[{name hits} {tags host=a;dc=x}]", // in another order
		"dc=x;dc=y":          "[{name hits} {tags dc=x;dc=y}]",
		"dc":                 "[{name hits} {tags dc}]",
		"dc=":                "[{name hits} {tags dc=}]",
		"dc=a=b":             "[{name hits} {tags dc=a=b}]", // written without the backslash
		"name=x":             "[{name hits} {tags name=x}]",
		"tags=x":             "[{name hits} {tags tags=x}]",
		"value=x":            "[{name hits} {tags value=x}]",
		"time=x":             "[{name hits} {tags time=x}]",
		"a b=x":              "[{name hits} {tags a b=x}]",
		"_measurement=x;b=y": "[{name hits} {tags _measurement=x;b=y}]",
	} {
		values := []string{"hits", packed}
		flat, got := back(f, values)
		if fmt.Sprint(flat) != want || !slices.Equal(got, values) {
			t.Errorf("%q: got %v, %q, want %s", packed, flat, got, want)
		}
	}
}

func FuzzFlat(f *testing.F) {
	f.Add("dc=x;host=a")
	f.Add(`a\=b=\;;`)
	flat := NewFlat(packedSchema)
	f.Fuzz(func(t *testing.T, packed string) {
		if _, got := back(flat, []string{"hits", packed}); got[1] != packed || got[0] != "hits" {
			t.Errorf("%q came back as %q", packed, got)
		}
	})
}
