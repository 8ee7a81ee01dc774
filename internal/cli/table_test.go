package cli

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/timeseries"
)

func TestNumber(t *testing.T) {
	f := func(v float64, want string) {
		t.Helper()
		if got := number(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
	f(math.NaN(), "-")
	f(0, "0")
	f(math.Copysign(0, -1), "0")
	f(-12, "-12")
	f(123456789012, "123456789012")
	f(0.1+0.2, "0.3")
	f(1.0/3, "0.333333")
	f(2.0/3*100, "66.6667")
	f(-1234.5678, "-1234.57")
	f(1234567.89, "1234568")
	f(999999.96, "1000000")
	f(0.00012345678, "0.000123457")
	f(1e-7, "1e-07")
	f(1.5e300, "1.5e+300")
	f(math.Inf(1), "+Inf")
}

func TestWord(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := word(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	f("name=api.requests", "name=api.requests")
	f("a b", "'a b'")
	f("it's", `'it'\''s'`)
	f("größe", "'größe'")
	f("$(rm -rf /)", "'$(rm -rf /)'")
	f("a\x1b[2Jb'\\", `$'a\x1b[2Jb\'\\'`)
	f("bad\xff", `$'bad\xff'`)
	f("\u202eevil", `$'\xe2\x80\xaeevil'`) // turns the direction of writing
	f("line\nline", `$'line\x0aline'`)
}

func TestSparkline(t *testing.T) {
	f := func(values []float64, width int, want string) {
		t.Helper()
		if got := sparkline(values, width); got != want {
			t.Errorf("%v: %q, want %q", values, got, want)
		}
	}
	nan := math.NaN()
	f(nil, 10, "")
	f([]float64{0, 1, 2, 3, 4, 5, 6, 7}, 10, "▁▂▃▄▅▆▇█")
	f([]float64{nan, 0, nan, 7}, 10, " ▁ █")
	f([]float64{0, 0}, 10, "▁▁")
	f([]float64{5, 5}, 10, "██")
	f([]float64{nan, nan}, 10, "  ")
	f([]float64{-7, 0}, 10, "▁█")
	f([]float64{0, 0, 7, 7, nan, nan, 3, nan}, 4, "▁█ ▄")
}

// On a terminal there are sparklines, and no line is longer than it is wide.
func TestTerminal(t *testing.T) {
	r := &timeseries.Result{Schema: &timeseries.Schema{Name: "statsd:timer"}, Start: t0, End: t0 + 300, Step: 10, Count: 30}
	for _, label := range strings.Fields("count count_90 lower mean mean_90 median std sum sum_90 sum_squares upper upper_90") {
		data := make([]float64, r.Count)
		for i := range data {
			data[i] = float64(1000 * i)
		}
		st := timeseries.NewStatistics(data, r.Step, false, timeseries.Gauge)
		r.Series = append(r.Series, timeseries.Series{Label: label, Tags: timeseries.Tags{"name": "db"}, Data: data, Statistics: &st})
	}
	for _, width := range []int{70, 80, 132, 300} {
		text := string(resultTable(r, nil, width, time.UTC))
		if n := strings.Count(text, "█"); n < 12 {
			t.Errorf("width %d: %d sparklines:\n%s", width, n, text)
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("width %d: a line of %d characters: %s", width, n, line)
			}
		}
		for _, label := range []string{"count ", "upper_90"} {
			if !strings.Contains(text, label) {
				t.Errorf("width %d: %q is missing", width, label)
			}
		}
	}
	if text := string(resultTable(r, nil, 0, time.UTC)); strings.Contains(text, "█") {
		t.Errorf("sparklines where there is no terminal:\n%s", text)
	}

	top := &timeseries.TopResult{Result: timeseries.Result{Schema: &timeseries.Schema{Name: "a:b"}, Start: t0, End: t0 + 30, Step: 10, Count: 3}}
	for i, name := range []string{"one", "two"} {
		tags := timeseries.Tags{"name": name}
		top.Items = append(top.Items, timeseries.TopItem{Tags: tags, Value: float64(30 - i), Partials: map[string]float64{"x": 20, "y": float64(10 - i)}})
		for _, label := range []string{"x", "y"} {
			top.Series = append(top.Series, timeseries.Series{Label: label, Tags: tags, Data: []float64{0, math.NaN(), 3.5}})
		}
	}
	want := `a:b, 2023-11-14 22:14:00 to 22:14:30 UTC, the largest 2

  name  VALUE   x   y  TREND
  one      30  20  10  ▁ █
  two      29  20   9  ▁ █
`
	if diff := cmp.Diff(want, string(topTable(top, nil, 80, time.UTC))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTerminalWidth(t *testing.T) {
	if n := terminalWidth(new(bytes.Buffer)); n != 0 {
		t.Errorf("a buffer is %d wide", n)
	}
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	t.Setenv("COLUMNS", "100")
	if n := terminalWidth(file); n != 0 {
		t.Errorf("a file is %d wide", n)
	}
}

func TestSpan(t *testing.T) {
	f := func(start, end int64, want string) {
		t.Helper()
		if got := span(start, end, time.UTC); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(t0, t0+60, "2023-11-14 22:14:00 to 22:15:00 UTC")
	f(t0, t0+86400, "2023-11-14 22:14:00 to 2023-11-15 22:14:00 UTC")
}
