package cli

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// documented serves what docs/queries.md says it asks: a minute of StatsD.
func documented(t *testing.T) *httptest.Server {
	t.Helper()
	counter := &timeseries.Schema{Name: "statsd:counter", Step: 10, Type: timeseries.Derivative, Tags: []string{"name", "tags"}, Packed: "tags", Metrics: []string{"rate"}}
	gauge := &timeseries.Schema{Name: "statsd:gauge", Step: 10, Type: timeseries.Gauge, Tags: []string{"name", "tags"}, Packed: "tags", Metrics: []string{"value"}}
	start := time.Date(2025, 1, 31, 12, 0, 0, 0, time.UTC).Unix()
	d := new(memory.Driver)
	for i := range int64(6) {
		points := []timeseries.Point{
			{Schema: counter, Tags: []string{"api.requests", "env=prod;region=eu"}, Values: []float64{[]float64{12, 12.5, 14, 14, 13, 12}[i]}},
			{Schema: counter, Tags: []string{"api.requests", "env=prod;region=us"}, Values: []float64{[]float64{7, 7, 7.5, 8, 8, 7.5}[i]}},
			{Schema: counter, Tags: []string{"logins", "region=eu"}, Values: []float64{0.5}},
		}
		if i != 3 {
			points = append(points, timeseries.Point{Schema: gauge, Tags: []string{"cellar.temperature", ""}, Values: []float64{[]float64{-1, -1.5, -2, 0, -2, -1.5}[i]}})
		}
		for n := range points {
			points[n].Time = start + 10*(i+1)
		}
		if err := d.Append(context.Background(), points); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(api.New(api.Dependencies{Driver: d, Catalog: d, Registry: telemetry.NewRegistry(), Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	t.Setenv("WEIR_URL", server.URL)
	inZone(t, time.UTC)
	return server
}

// Every console block of docs/queries.md is what a reader gets: the lines after
// a "$ weir ..." or "$ curl ..." are its output.
func TestDocument(t *testing.T) {
	server := documented(t)
	text, err := os.ReadFile("../../docs/queries.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, block := range strings.Split(string(text), "```console\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for _, step := range strings.Split("\n"+block, "\n$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			for strings.HasSuffix(command, `\`) { // goes on in the next line
				var next string
				next, want, _ = strings.Cut(want, "\n")
				command = strings.TrimSuffix(command, `\`) + next
			}
			if want != "" && !strings.HasSuffix(want, "\n") {
				want += "\n"
			}
			checked++
			switch {
			case strings.HasPrefix(command, "weir "):
				code, out, errs := run(arguments(t, command)[1:]...)
				if diff := cmp.Diff(want, out+errs); diff != "" || code == exitUsage {
					t.Errorf("%s: code %d (-documented +got):\n%s", command, code, diff)
				}
			case strings.HasPrefix(command, "curl "):
				words := arguments(t, command)
				checkCurl(t, strings.Replace(words[len(words)-1], "http://127.0.0.1:8088", server.URL, 1), want)
			default:
				t.Errorf("what is %q?", command)
			}
		}
	}
	if checked < 8 {
		t.Errorf("%d commands were found", checked)
	}
}

// arguments splits a command as a shell does.
func arguments(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `printf '%s\0' `+command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// checkCurl compares an answer as JSON: the documentation breaks lines where it reads best.
func checkCurl(t *testing.T, url, want string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var documented, got any
	if err := json.Unmarshal([]byte(want), &documented); err != nil {
		t.Errorf("%s: %v in %s", url, err, want)
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Errorf("%s: %v in %s", url, err, body)
	}
	if diff := cmp.Diff(documented, got); diff != "" {
		t.Errorf("%s (-documented +got):\n%s\n%s", url, diff, body)
	}
}
