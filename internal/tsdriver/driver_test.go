package tsdriver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
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

// running is a driver with a process.
type running struct {
	*Driver
	t        testing.TB
	registry *telemetry.Registry
	dir      string
}

// start starts a driver in a directory that may have been used before.
func start(t testing.TB, dir, source string, edit func(*Config)) *running {
	t.Helper()
	path := filepath.Join(dir, "driver.lua")
	write(t, path, source)
	cfg := Config{Setup: Setup{Name: "test", Script: path, Directory: filepath.Join(dir, "data")}, Budget: script.Budget{Hard: 10 * time.Second, RestartMin: 10 * time.Millisecond, RestartMax: 20 * time.Millisecond}}
	if edit != nil {
		edit(&cfg)
	}
	r := &running{t: t, registry: telemetry.NewRegistry(), dir: dir}
	r.Driver = New(cfg, script.NewRegistry(telemetry.NewRegistry()), r.registry, slog.New(slog.DiscardHandler))
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// stop ends the driver, and its books must balance.
func (r *running) stop() telemetry.Account {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		r.t.Error(err)
	}
	account := r.ledger.Snapshot()
	if !account.Balanced() {
		r.t.Errorf("the books do not balance: %+v", account)
	}
	return account
}

// append appends n points of a host, from a time on.
func (r *running) append(host string, from, n int) {
	r.t.Helper()
	var points []timeseries.Point
	for i := range n {
		points = append(points, point2(host, int64(300*(from+i)), float64(from+i), 0))
	}
	if err := r.Append(context.Background(), points); err != nil {
		r.t.Fatal(err)
	}
}

// settled waits until no point is under way.
func (r *running) settled() {
	r.t.Helper()
	r.until("points are under way", func() bool { return r.held.Load() == 0 })
}

func (r *running) until(problem string, done func() bool) {
	r.t.Helper()
	for late := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(late) {
			r.t.Fatalf("%s after %v: %+v, %v", problem, patience, r.ledger.Snapshot(), r.Failure())
		}
	}
}

// writing is a driver that writes "host value" to a file for each point, where hooks of a test may be.
const writing = `
local d = {}
function d:new(o) self.file = io.open(ntop.getDirs().workingdir .. "/points", "a") self.file:setvbuf("no") return self end
function d:append(schema, ts, tags, metrics)
  HOOK
  self.file:write(tags.host .. " " .. metrics.bytes_sent .. "\n")
  return true
end
function d:query(schema, a, b, tags, o)
  return { start = a, step = o.max_num_points, count = 3, series = { { label = "bytes_sent", data = { 1, 0/0, o.fill_value } } } }
end
function d:listSeries(schema, filter, wildcards, a, b) return { { ifid = 1, host = "h" }, { ifid = "1", host = wildcards[1] or "none" } } end
function d:topk(schema, tags, a, b, o, top_tags)
  return { topk = { { tags = { host = "x" }, value = 5, partials = { bytes_sent = 5 } } }, additional_series = { total = {} } }
end
function d:getLatestTimestamp(ifid) return 1000 + ifid end
function d:delete(prefix, tags) return prefix == "host" end
return d`

func hooked(hook string) string { return strings.ReplaceAll(writing, "HOOK", hook) }

// points are the lines that the driver wrote.
func (r *running) points() string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, "data", "points"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func lines(host string, from, n int) (text string) {
	for i := range n {
		text += fmt.Sprintf("%s %d\n", host, from+i)
	}
	return text
}

// Every method of a driver goes to the script's process and comes back.
func TestDriver(t *testing.T) {
	r := start(t, t.TempDir(), hooked(""), nil)
	ctx := t.Context()
	r.append("a", 1, 3000)
	r.settled()
	if diff := cmp.Diff(lines("a", 1, 3000), r.points()); diff != "" {
		t.Error(diff)
	}
	q := timeseries.Query{Schema: traffic, Tags: timeseries.Tags{"ifid": "1", "host": "a"}, Start: 600, End: 900, Options: timeseries.DefaultOptions()}
	q.MaxPoints = 77
	got, err := r.Query(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if got.Start != 600 || got.Step != 77 || got.Count != 3 || got.Series[0].Data[0] != 1 || !math.IsNaN(got.Series[0].Data[2]) || got.Statistics == nil || got.Series[0].Statistics.Average != 1 {
		t.Errorf("%+v", got)
	}
	if total, err := r.Total(ctx, q); err != nil || total["bytes_sent"] != 80*0+77*1 {
		t.Error(total, err)
	}
	q.Tags = timeseries.Tags{"ifid": "1"}
	if top, err := r.TopK(ctx, q); err != nil || len(top.Items) != 1 || top.Items[0].Value != 5 || top.Items[0].Tags["ifid"] != "1" {
		t.Error(top, err)
	}
	var all []timeseries.Tags
	for tags, err := range r.List(ctx, timeseries.ListQuery{Schema: traffic, Tags: timeseries.Tags{"ifid": "1", "other": "x"}}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, tags)
	}
	if diff := cmp.Diff([]timeseries.Tags{{"ifid": "1", "host": "h"}, {"ifid": "1", "host": "host"}}, all); diff != "" {
		t.Error(diff)
	}
	if at, err := r.LatestTimestamp(ctx); err != nil || at != 1001 {
		t.Error(at, err)
	}
	if err := errors.Join(r.Delete(ctx, "host", nil), r.Setup(ctx), r.Export(ctx), r.DeleteOld(ctx, 5)); err != nil {
		t.Error(err)
	}
	if err := r.Delete(ctx, "other", nil); err == nil {
		t.Error("a false of delete is no error")
	}
	q.Tags = timeseries.Tags{"nothing": "1"}
	if _, err := r.Query(ctx, q); !errors.Is(err, timeseries.ErrUnknownTag) {
		t.Error(err)
	}
	if account := r.stop(); account.Passed != 3000 {
		t.Errorf("%+v", account)
	}
}

// A point that ends the script's process is set aside, all others are taken, in order.
func TestPointThatKills(t *testing.T) {
	for what, hook := range map[string]string{
		"exit": `if tags.host == "bad" then os.exit(3) end`,
		"ffi":  `if tags.host == "bad" then require("ffi").cast("int *", 8)[0] = 1 end`,
		"hang": `if tags.host == "bad" then ("a"):rep(1000000):find((".-"):rep(60) .. "b") end`,
	} {
		t.Run(what, func(t *testing.T) {
			r := start(t, t.TempDir(), hooked(hook), func(c *Config) {
				if what == "hang" {
					c.Budget.Hard = 500 * time.Millisecond
				}
			})
			points := []timeseries.Point{point2("a", 300, 1, 0), point2("bad", 300, 2, 0), point2("a", 600, 3, 0)}
			if err := r.Append(t.Context(), points); err != nil {
				t.Fatal(err)
			}
			r.settled()
			account := r.stop()
			if account.Passed != 2 || account.Discarded["quarantined"] != 1 {
				t.Errorf("%+v", account)
			}
			text, err := os.ReadFile(filepath.Join(r.dir, "data", "quarantine.jsonl"))
			if err != nil || len(text) == 0 {
				t.Error(err)
			}
		})
	}
}

// What waits when the daemon ends is written by the next one, and a script that raises or refuses is counted.
func TestQueueOutlivesTheDaemon(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "error('not yet')", nil)
	r.append("a", 1, 2500)
	account := r.stop()
	if account.Passed != 0 || account.Received != 2500 {
		t.Errorf("%+v", account)
	}
	r = start(t, dir, hooked(`if tonumber(metrics.bytes_sent) % 10 == 0 then error("no tens") elseif metrics.bytes_sent == 1 then return false end`), nil)
	r.append("b", 2, 3)
	r.settled()
	account = r.stop()
	if account.Received != 2503 || account.Passed != 2252 || account.Discarded["failed"] != 250 || account.Discarded["refused"] != 1 {
		t.Errorf("%+v", account)
	}
}

// A full queue refuses, with an error and a count.
func TestQueueFull(t *testing.T) {
	r := start(t, t.TempDir(), "error('never')", func(c *Config) { c.QueueBytes = 20_000 })
	var points []timeseries.Point
	for i := range 20_000 {
		points = append(points, point2(fmt.Sprint(i), int64(i), 1.5, 2.5))
	}
	err := r.Append(t.Context(), points)
	var some *timeseries.AppendError
	if !errors.Is(err, timeseries.ErrFull) || !errors.As(err, &some) {
		t.Fatal(err)
	}
	if _, err := r.LatestTimestamp(t.Context()); err == nil {
		t.Error("a script that cannot load answers")
	}
	account := r.stop()
	if account.Discarded["queue_full"] != int64(some.Refused) || account.Received != 20_000 {
		t.Errorf("%+v", account)
	}
}

// A changed script takes over without a loss, one that cannot be used does not.
func TestReload(t *testing.T) {
	r := start(t, t.TempDir(), hooked(""), nil)
	r.append("a", 1, 1)
	r.settled()
	path := filepath.Join(r.dir, "driver.lua")
	write(t, path, "return nil + 1")
	if err := r.Reload(t.Context(), r.cfg); err == nil {
		t.Error("a broken script took over")
	}
	r.append("b", 1, 1)
	r.settled()
	write(t, path, hooked(`tags.host = "new-" .. tags.host`))
	if err := r.Reload(t.Context(), r.cfg); err != nil {
		t.Fatal(err)
	}
	r.append("c", 1, 1)
	r.settled()
	r.stop()
	if got := r.points(); got != "a 1\nb 1\nnew-c 1\n" {
		t.Error(got)
	}
}

// A changed file is noticed.
func TestWatch(t *testing.T) {
	r := start(t, t.TempDir(), hooked(""), nil)
	ctx, cancel := context.WithCancel(t.Context())
	r.feeding.Go(func() { r.watch(ctx, time.Millisecond) })
	r.until("no process", func() bool { return r.supervisor.Stats().PID != 0 })
	write(t, filepath.Join(r.dir, "driver.lua"), hooked(`tags.host = "new-" .. tags.host`))
	r.until("the changed script does not run", func() bool { return r.supervisor.Stats().Reloads > 0 })
	r.append("a", 1, 1)
	r.settled()
	cancel()
	r.stop()
	if got := r.points(); got != "new-a 1\n" {
		t.Error(got)
	}
}

// A process that is killed between two batches is replaced, and nothing is lost.
func TestKilledProcess(t *testing.T) {
	r := start(t, t.TempDir(), hooked(""), nil)
	for i := range 5 {
		r.append("a", i+1, 1)
		r.settled()
		before := r.supervisor.Stats()
		process, err := os.FindProcess(before.PID)
		if err == nil {
			err = process.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
		r.until("no new process", func() bool { return r.supervisor.Stats().Restarts > before.Restarts })
	}
	r.append("b", 1, 1)
	r.settled()
	r.stop()
	if got := r.points(); got != lines("a", 1, 5)+"b 1\n" {
		t.Error(got)
	}
}

// A question that takes too long ends with its deadline, and the script goes on.
func TestQuestionDeadline(t *testing.T) {
	r := start(t, t.TempDir(), `
		local d = {}
		function d:new() return self end
		function d:append() return true end
		function d:query() jit.off(true) while true do end end
		return d`, func(c *Config) { c.Query = 200 * time.Millisecond })
	r.append("a", 1, 1)
	r.settled()
	q := timeseries.Query{Schema: traffic, Tags: timeseries.Tags{"ifid": "1", "host": "a"}, Start: 600, End: 900, Options: timeseries.DefaultOptions()}
	if _, err := r.Query(t.Context(), q); err == nil {
		t.Error("an endless query is answered")
	}
	r.append("a", 2, 1)
	r.settled()
	r.stop()
}
