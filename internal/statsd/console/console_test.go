package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
)

func flush() *backend.Flush {
	return &backend.Flush{
		Timestamp: 1700000000,
		Counters:  []backend.Counter{{Name: "a", Value: 10, Rate: 1}},
		Timers: []backend.Timer{{Name: "t.1", Values: []float64{1, 2}, Count: 2,
			Fields: []backend.Field{{Name: "count", Value: 2}}, Histogram: []backend.Field{{Name: "bin_inf", Value: 2}}}},
		Sets:        []backend.Set{{Name: "u", Members: []string{"x"}}},
		Percentiles: []float64{90},
	}
}

func TestFlush(t *testing.T) {
	f := func(c Config, want string) {
		t.Helper()
		var out bytes.Buffer
		if err := New(&out, c).Flush(t.Context(), flush()); err != nil {
			t.Fatal(err)
		}
		heading, body, _ := strings.Cut(out.String(), "\n")
		if want := "Flushing stats at  " + statsd.FormatDate(time.Unix(1700000000, 0)); heading != want {
			t.Errorf("got heading %q, want %q", heading, want)
		}
		if diff := cmp.Diff(want, body); diff != "" {
			t.Error(diff)
		}
	}
	f(Config{}, `{
  counters: { a: 10 },
  timers: { 't.1': [ 1, 2 ] },
  gauges: {},
  timer_data: { 't.1': { count: 2, histogram: [Object] } },
  counter_rates: { a: 1 },
  sets: { u: [ 'x' ] },
  pctThreshold: [ 90 ]
}
`)
	f(Config{Pretty: true}, strings.NewReplacer("<", "\x1b[33m", "«", "\x1b[32m", ">", "\x1b[39m").Replace(`{
  counters: { a: <10> },
  timers: { «'t.1'>: [ <1>, <2> ] },
  gauges: {},
  timer_data: { «'t.1'>: { count: <2>, histogram: { bin_inf: <2> } } },
  counter_rates: { a: <1> },
  sets: { u: [ «'x'> ] },
  pctThreshold: [ <90> ]
}
`))
}

func TestStatus(t *testing.T) {
	status := func(b *Backend) map[string]float64 {
		got := map[string]float64{}
		b.Status(func(stat string, value float64) { got[stat] = value })
		return got
	}
	b := New(&bytes.Buffer{}, Config{})
	if err := b.Init(t.Context(), backend.Environment{Startup: 1600000000}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{"lastFlush": 1600000000, "lastException": 1600000000}, status(b)); diff != "" {
		t.Error(diff)
	}
	if err := b.Flush(t.Context(), flush()); err != nil {
		t.Fatal(err)
	}
	if got := status(b)["lastFlush"]; got != 1700000000 {
		t.Errorf("lastFlush %v", got)
	}
	b = New(broken{}, Config{})
	if err := b.Flush(t.Context(), flush()); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the error of the writer", err)
	}
	if got := status(b)["lastException"]; got < 1700000000 {
		t.Errorf("lastException %v", got)
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

// TestDateTextMatchesNode compares with what Node prints in the same zone, in winter and in summer.
func TestDateTextMatchesNode(t *testing.T) {
	zones := []string{"UTC", "Europe/London", "Europe/Berlin", "Europe/Helsinki", "Europe/Moscow", "Africa/Nairobi",
		"America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/St_Johns", "Pacific/Honolulu",
		"Asia/Kolkata", "Asia/Kathmandu", "Asia/Shanghai", "Asia/Tokyo", "Asia/Seoul", "Asia/Jakarta",
		"Australia/Sydney", "Australia/Adelaide", "Pacific/Auckland", "Etc/GMT+5"}
	seconds := []int64{1768435200, 1784073599}
	const script = "const [zones, seconds] = JSON.parse(process.argv[1]);" +
		"for (const z of zones) { process.env.TZ = z; for (const s of seconds) console.log(`${new Date(s * 1000)}`); }"
	arguments, err := json.Marshal([]any{zones, seconds})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("node", "-e", script, string(arguments)).Output()
	if err != nil {
		t.Fatalf("cannot run node, which make test installs: %v", err)
	}
	var got []string
	for _, zone := range zones {
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range seconds {
			got = append(got, statsd.FormatDate(time.Unix(s, 0).In(location)))
		}
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(out)), "\n"), got); diff != "" {
		t.Error(diff)
	}
}

func TestDateTextUnnamedZone(t *testing.T) {
	f := func(offset int, want string) {
		t.Helper()
		if got := statsd.FormatDate(time.Unix(0, 0).In(time.FixedZone("", offset))); !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want the end %q", got, want)
		}
	}
	f(-3*3600, "GMT-0300 (GMT-03:00)")
	f(-(9*3600 + 1800), "GMT-0930 (GMT-09:30)")
	f(4*3600, "GMT+0400 (GMT+04:00)")
}
