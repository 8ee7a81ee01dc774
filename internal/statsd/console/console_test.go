package console

import (
	"bytes"
	"strings"
	"testing"

	"github.com/weirhq/weir/backend"
)

func TestConsoleFlush(t *testing.T) {
	var out bytes.Buffer
	err := New(&out, []float64{90}).Flush(t.Context(), &backend.Flush{
		Timestamp: 1700000000,
		Counters:  []backend.Counter{{Name: "a", Value: 10, Rate: 1}},
		Timers: []backend.Timer{{Name: "t", Values: []float64{1, 2}, Count: 2,
			Fields: []backend.Field{{Name: "count", Value: 2}}, Histogram: []backend.Field{{Name: "bin_inf", Value: 2}}}},
		Sets: []backend.Set{{Name: "u", Members: []string{"x"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	heading, body, _ := strings.Cut(out.String(), "\n")
	if !strings.HasPrefix(heading, "Flushing stats at  ") || !strings.Contains(heading, " 2023 ") {
		t.Errorf("heading %q", heading)
	}
	want := `{
  counters: { a: 10 },
  timers: { t: [ 1, 2 ] },
  gauges: {},
  timer_data: { t: { count: 2, histogram: [Object] } },
  counter_rates: { a: 1 },
  sets: { u: [ 'x' ] },
  pctThreshold: [ 90 ]
}
`
	if body != want {
		t.Errorf("got\n%s\nwant\n%s", body, want)
	}
}
