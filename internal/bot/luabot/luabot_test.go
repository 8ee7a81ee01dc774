package luabot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

// The test binary is the program of the scripts' processes, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == script.Command {
		host, err := script.NewHost(os.Args[2])
		if err == nil {
			err = script.Serve(host)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const patience = 20 * time.Second

// sink keeps what is sent, as "account path value".
type sink struct {
	mu     sync.Mutex
	values []string
	times  []time.Time
}

// SendResults implements collector.Sink.
func (s *sink) SendResults(_ context.Context, account int64, values []collector.Value) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		s.values = append(s.values, fmt.Sprintf("%d %s %g", account, v.Path, v.Value))
		s.times = append(s.times, v.Time)
	}
	return nil
}

func (s *sink) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.values)
	all := strings.Join(s.values, ", ")
	s.values = nil
	return all
}

func write(t *testing.T, path, text string) {
	t.Helper()
	beside := path + ".new" // a changed script appears at once
	if err := os.WriteFile(beside, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(beside, path); err != nil {
		t.Fatal(err)
	}
}

func config(t *testing.T, source string) Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mine.lua")
	write(t, path, source)
	return Config{
		Setup:    Setup{Name: "mine", Script: path, Account: 7, Interval: time.Minute, Call: 5 * time.Second, Memory: 64 << 20},
		Protocol: "mine", Budget: script.Budget{Hard: 2 * time.Second, RestartMin: 10 * time.Millisecond, RestartMax: 20 * time.Millisecond},
	}
}

// start starts a bot.
func start(t *testing.T, cfg Config) *Bot {
	t.Helper()
	b := New(cfg, script.NewRegistry(telemetry.NewRegistry()), slog.New(slog.DiscardHandler))
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

// refresh are the jobs of a refresh.
func refresh(t *testing.T, b *Bot, from collector.Source, to collector.Sink) (all []collector.Job, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for job, err := range b.Jobs(ctx, from, to) {
		if err != nil {
			return nil, err
		}
		all = append(all, job)
	}
	return all, nil
}

func do(t *testing.T, job collector.Job, affecting ...time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return job.Run(ctx, collector.Run{Affecting: affecting})
}

// TestCollector lets a script find its devices, and do their jobs.
func TestCollector(t *testing.T) {
	cfg := config(t, `
local calls = 0
function jobs()
  local all = {{id = "own", params = {name = options.name, list = {1, 2.5, true}}, start = 50}}
  for _, device in ipairs(fetch_job_configs()) do
    local intervals = {}
    for _, sensor in ipairs(device.sensors) do intervals[#intervals + 1] = sensor.interval end
    all[#all + 1] = {id = device.entity_id, intervals = intervals, params = {account = device.account_id, host = device.details.ipv4, key = device.credential_details.key}}
  end
  return all
end
function perform_job(affecting_intervals, params)
  calls = calls + 1
  if params.host then
    send_results({["net." .. params.key .. ".due"] = #affecting_intervals}, params.account)
    send_results({{p = "net.first", v = affecting_intervals[1], t = 1700000000.5}}, params.account)
  else
    send_results({[params.name] = calls, list = params.list[2]})
  end
end`)
	cfg.Setup.Options = map[string]any{"name": "count"}
	b := start(t, cfg)
	to := new(sink)
	from := bot.Fixed{{AccountID: 8, EntityID: 311, Name: "sw", Details: []byte(`{"ipv4":"192.0.2.1"}`), CredentialDetails: []byte(`{"key":"k"}`), Sensors: []collector.SensorConfig{
		{SensorID: 1, Interval: 30 * time.Second, Details: []byte("{}")}, {SensorID: 2, Interval: time.Minute, Details: []byte("{}")}, {SensorID: 3, Details: []byte("{}")},
	}}}
	all, err := refresh(t, b, from, to)
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	own, device := all[0], all[1]
	if own.ID != "own" || !slices.Equal(own.Intervals, []time.Duration{time.Minute}) || !own.Start.Equal(time.Unix(50, 0)) {
		t.Errorf("%+v", own)
	}
	if device.ID != "311" || !slices.Equal(device.Intervals, []time.Duration{30 * time.Second, time.Minute}) || !device.Start.IsZero() {
		t.Errorf("%+v", device)
	}
	for range 2 {
		if err := do(t, own, time.Minute); err != nil {
			t.Error(err)
		}
	}
	if got := to.take(); got != "7 count 1, 7 count 2, 7 list 2.5, 7 list 2.5" {
		t.Error(got)
	}
	to.times = nil
	if err := do(t, device, 30*time.Second, time.Minute); err != nil {
		t.Error(err)
	}
	if got := to.take(); got != "8 net.first 30, 8 net.k.due 2" || !slices.ContainsFunc(to.times, time.UnixMilli(1700000000500).Equal) || !slices.ContainsFunc(to.times, time.Time.IsZero) {
		t.Error(got, to.times)
	}
	again, err := refresh(t, b, from, to)
	if err != nil || fmt.Sprint(again[1].Data) != fmt.Sprint(device.Data) {
		t.Errorf("the same device is another job: %v %v", again, err)
	}
	from[0].CredentialDetails = []byte(`{"key":"other"}`)
	if again, err = refresh(t, b, from, to); err != nil || fmt.Sprint(again[1].Data) == fmt.Sprint(device.Data) || fmt.Sprint(again[0].Data) != fmt.Sprint(own.Data) {
		t.Errorf("another credential is the same job: %v %v", again, err)
	}
}

// TestErrors shows where in the script an error is, sends what came before it, and goes on.
func TestErrors(t *testing.T) {
	cfg := config(t, `
function jobs() return {{id = "x", params = {}}} end
function perform_job(_, params)
  send_results({before = 1})
  params.missing()
end`)
	to := new(sink)
	b := start(t, cfg)
	all, err := refresh(t, b, bot.Fixed{}, to)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	for range 2 {
		if err := do(t, all[0]); err == nil || !strings.Contains(err.Error(), "mine.lua:5: ") {
			t.Error(err)
		}
		if got := to.take(); got != "7 before 1" {
			t.Error(got)
		}
	}
	if s := b.supervisor.Stats(); s.Errors == 0 && s.LastError == nil {
		t.Errorf("%+v", s)
	}
}

// TestMistakes are what a script may do wrong, with what it is told.
func TestMistakes(t *testing.T) {
	const fine = "function jobs() return {{id = 'x'}} end\nfunction perform_job() "
	for source, want := range map[string]string{
		"function jobs() return 5 end function perform_job() end":                                             "jobs() must return a list of jobs",
		"function jobs() return {id = 'x'} end function perform_job() end":                                    "jobs() must return a list of jobs",
		"function jobs() return {5} end function perform_job() end":                                           "cannot use job 1 of jobs(): it must be a table, not 5",
		"function jobs() return {{}} end function perform_job() end":                                          "its id must be a string of 1 to 200 bytes, not nil",
		"function jobs() return {{id = 'x', intervals = 60}} end function perform_job() end":                  "such as {60}, not 60",
		"function jobs() return {{id = 'x', intervals = {0}}} end function perform_job() end":                 "the interval 0 of job \"x\" must be a number of seconds",
		"function jobs() return {{id = 'x', start = 'now'}} end function perform_job() end":                   "must be Unix time in seconds",
		"function jobs() return {{id = 'x', params = {f = print}}} end function perform_job() end":            "a function cannot be handed on",
		"function jobs() return {{id = 'x', params = {0/0}}} end function perform_job() end":                  "has no form outside of the script",
		"function jobs() return {{id = 'x', params = {1, a = 2}}} end function perform_job() end":             "must be a list, or have strings as keys",
		"function jobs() local t = {} t.t = t return {{id = 'x', params = t}} end function perform_job() end": "",
		"function jobs()\n\nerror('no luck') end function perform_job() end":                                  "mine.lua:3: no luck",
		"function jobs() send_results({a = 1}) end function perform_job() end":                                "send_results is for perform_job()",
		fine + "fetch_job_configs() end":                                                                      "fetch_job_configs is for jobs()",
		fine + "send_results(5) end":                                                                          "table expected, got number",
		fine + "send_results({5}) end":                                                                        "cannot send entry 1: it must be a table {p = path, v = value}, not 5",
		fine + "send_results({{v = 5}}) end":                                                                  "its path p must be a string, not nil",
		fine + "send_results({{p = 'a', v = 5, t = -1}}) end":                                                 "its time t must be Unix time in seconds",
		fine + "send_results({['a b'] = 1}) end":                                                              "a b",
		fine + "send_results({a = 'x'}) end":                                                                  "cannot send the value of \"a\": it must be a finite number, not \"x\"",
		fine + "send_results({a = 0/0}) end":                                                                  "it must be a finite number, not ",
		fine + "send_results({[true] = 1}) end":                                                               "its path must be a string",
		fine + "while true do print() end end":                                                                "took longer than 300ms", fine + "while true do end end": "killed: a call took longer than 2s in perform_job x at",
		fine + "string.rep('x', 1e9) end": "not enough memory",
	} {
		cfg := config(t, source)
		cfg.Setup.Call = 300 * time.Millisecond
		to := new(sink)
		b := start(t, cfg)
		all, err := refresh(t, b, bot.Fixed{}, to)
		if err == nil {
			for _, job := range all {
				err = errors.Join(err, do(t, job))
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) || to.take() != "" {
			t.Errorf("%s: %v", source, err)
		}
	}
}

// TestInspect loads a script without calling its functions.
func TestInspect(t *testing.T) {
	for source, want := range map[string]string{
		"function jobs() error('no') end function perform_job() error('no') end": "",
		"\nlocal x = = 1":              "mine.lua:2",
		"function jobs() end":          "no global function perform_job()",
		"jobs = 5 perform_job = print": "no global function jobs()",
		"require('not there')":         "mine.lua:1",
		"while true do end":            "mine.lua:1",
		"os.exit(3)":                   "os.exit",
	} {
		cfg := config(t, source)
		cfg.Setup.Call = 300 * time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := Inspect(ctx, cfg)
		cancel()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", source, err)
		}
	}
	cfg := config(t, "")
	cfg.Setup.Script += "x"
	if err := Inspect(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "cannot read the script") {
		t.Error(err)
	}
}

// TestEnd starts a script again that ends its process.
func TestEnd(t *testing.T) {
	b := start(t, config(t, "function jobs() return {{id = 'x'}} end\nfunction perform_job()\n  os.exit(0)\nend"))
	to := new(sink)
	for range 2 {
		var all []collector.Job
		for late := time.Now().Add(patience); len(all) == 0; time.Sleep(time.Millisecond) {
			var err error
			if all, err = refresh(t, b, bot.Fixed{}, to); err != nil && time.Now().After(late) {
				t.Fatal(err)
			}
		}
		if err := do(t, all[0]); err == nil || !strings.Contains(err.Error(), "mine.lua:3") {
			t.Error(err)
		}
	}
}

// buffer is a text that several goroutines write and read.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestReload takes a changed script, and keeps the one that runs when the new one cannot be used.
func TestReload(t *testing.T) {
	const source = "function jobs() return {{id = '%s'}} end function perform_job() end"
	cfg := config(t, fmt.Sprintf(source, "one"))
	b := start(t, cfg)
	log := new(buffer)
	b.log = slog.New(slog.NewTextHandler(log, nil))
	watching, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { b.watch(watching, 10*time.Millisecond) })
	defer done.Wait()
	defer stop()
	name := func() string {
		all, err := refresh(t, b, bot.Fixed{}, new(sink))
		if err != nil {
			return err.Error()
		}
		return all[0].ID
	}
	if got := name(); got != "one" {
		t.Fatal(got)
	}
	write(t, cfg.Setup.Script, "function jobs( -- broken")
	for late := time.Now().Add(patience); !strings.Contains(log.String(), "the one before goes on"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("nobody saw that the script has changed:", log.String())
		}
	}
	if got := name(); got != "one" {
		t.Fatal(got)
	}
	write(t, cfg.Setup.Script, fmt.Sprintf(source, "another"))
	for late := time.Now().Add(patience); name() != "another"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal(name())
		}
	}
}
