package drivers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/spool"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/drivertest"
	"github.com/weirhq/weir/timeseries/memory"
)

const childEnv = "WEIR_DRIVERS_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := work(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fake is a remote store in memory; send, when set, is asked before points are stored.
type fake struct {
	memory.Driver
	send func(points []timeseries.Point) error

	mu    sync.Mutex
	sent  []int // points of each request
	times []time.Time
}

func (f *fake) Send(ctx context.Context, points []timeseries.Point) error {
	f.mu.Lock()
	f.sent, f.times = append(f.sent, len(points)), append(f.times, time.Now())
	f.mu.Unlock()
	if f.send != nil {
		if err := f.send(points); err != nil {
			return err
		}
	}
	return f.Append(ctx, points)
}

func (f *fake) requests() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

// Samples leaves the filter out, as a remote may.
func (f *fake) Samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	return f.Driver.Samples(ctx, timeseries.SampleQuery{Schema: q.Schema, Metrics: q.Metrics, After: q.After, Through: q.Through})
}

func (f *fake) Before(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	return func(yield func(*timeseries.Samples, error) bool) {
		for s, err := range f.Driver.Samples(ctx, timeseries.SampleQuery{Schema: q.Schema, After: -1, Through: q.Through}) {
			if err != nil {
				yield(nil, err)
				return
			}
			last := &timeseries.Samples{Tags: s.Tags, Times: []int64{q.Through}}
			for _, values := range s.Values {
				i := len(values) - 1
				for i > 0 && values[i] != values[i] {
					i--
				}
				last.Values = append(last.Values, values[i:i+1])
			}
			if !yield(last, nil) {
				return
			}
		}
	}
}

func (f *fake) Series(ctx context.Context, schema *timeseries.Schema, _ timeseries.Tags, start, end int64) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for s, err := range f.Driver.Samples(ctx, timeseries.SampleQuery{Schema: schema, After: max(start, -1<<40) - 1, Through: end}) {
			if err != nil || !yield(s.Tags, nil) {
				return
			}
		}
	}
}

var gauge = &timeseries.Schema{Name: "test:gauge", Step: 1, Type: timeseries.Gauge, Tags: []string{"host"}, Metrics: []string{"value"}}

// some are points from one number to before another.
func some(from, to int) (points []timeseries.Point) {
	for i := from; i < to; i++ {
		points = append(points, timeseries.Point{Schema: gauge, Time: int64(i), Tags: []string{"a"}, Values: []float64{float64(i)}})
	}
	return points
}

// stored are the times of what f has.
func (f *fake) stored(t *testing.T) (times []int64) {
	t.Helper()
	for s, err := range f.Driver.Samples(t.Context(), timeseries.SampleQuery{Schema: gauge, After: -1, Through: 1 << 40}) {
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, s.Times...)
	}
	return times
}

func started(t *testing.T, dir string, max int64, f *fake) (*Driver, *telemetry.Ledger) {
	t.Helper()
	registry := telemetry.NewRegistry()
	d := New(Config{Name: "far", Dir: dir, MaxBytes: max}, f, registry, slog.New(slog.DiscardHandler))
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop(context.Background()) })
	return d, registry.Ledger("remote.far", "points")
}

func appendAll(t *testing.T, d *Driver, points []timeseries.Point) {
	t.Helper()
	if err := d.Append(t.Context(), points); err != nil {
		t.Fatal(err)
	}
}

func flush(t *testing.T, d *Driver) {
	t.Helper()
	if err := d.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// account compares a ledger at rest.
func account(t *testing.T, l *telemetry.Ledger, received, passed, buffered int64, reasons ...string) {
	t.Helper()
	a := l.Snapshot()
	got := []string{}
	for _, reason := range a.Reasons() {
		if a.Discarded[reason] > 0 {
			got = append(got, fmt.Sprintf("%s %d", reason, a.Discarded[reason]))
		}
	}
	if a.Received != received || a.Passed != passed || a.Buffered != buffered || !slices.Equal(got, append([]string{}, reasons...)) || !a.Balanced() {
		t.Errorf("got %+v, want received %d, passed %d, buffered %d, %q", a, received, passed, buffered, reasons)
	}
}

// delivered is a Driver whose points are in the store when Append returns.
type delivered struct{ *Driver }

func (d delivered) Append(ctx context.Context, points []timeseries.Point) error {
	return errors.Join(d.Driver.Append(ctx, points), d.Flush(ctx))
}

// The answers over samples are those of the contract.
func TestContract(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Driver {
		d, _ := started(t, t.TempDir(), 0, &fake{})
		return delivered{d}
	})
}

func TestDelivery(t *testing.T) {
	f := &fake{}
	d, ledger := started(t, t.TempDir(), 0, f)
	appendAll(t, d, some(0, 25_000))
	flush(t, d)
	if got := f.stored(t); len(got) != 25_000 {
		t.Errorf("%d points", len(got))
	}
	account(t, ledger, 25_000, 25_000, 0)
	if latest, err := d.LatestTimestamp(t.Context()); err != nil || latest < time.Now().Unix()-1 {
		t.Error(latest, err)
	}
	bad := some(1, 4)
	bad[1].Tags = []string{"a\nb"}
	var refused *timeseries.AppendError
	if err := d.Append(t.Context(), bad); !errors.As(err, &refused) || refused.Refused != 1 {
		t.Errorf("got %v", err)
	}
	flush(t, d)
	account(t, ledger, 25_003, 25_002, 0, "invalid 1")
}

// Bad points are found by halves, set aside with the reason, and the others delivered.
func TestRejected(t *testing.T) {
	bad := []int64{0, 7, 8, 999}
	f := &fake{send: func(points []timeseries.Point) error {
		for _, p := range points {
			if slices.Contains(bad, p.Time) {
				return &delivery.Rejected{Reason: fmt.Sprintf("a bad point among %d", len(points))}
			}
		}
		return nil
	}}
	dir := t.TempDir()
	d, ledger := started(t, dir, 0, f)
	appendAll(t, d, some(0, 1000))
	flush(t, d)
	if got := f.stored(t); len(got) != 996 {
		t.Errorf("%d points stored", len(got))
	}
	account(t, ledger, 1000, 996, 0, "rejected 4")
	if n := len(f.requests()); n > 80 {
		t.Errorf("%d requests", n)
	}
	var times []int64
	file, err := os.ReadFile(filepath.Join(dir, "rejected.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		var p struct {
			Reason, Schema string
			Time           int64
			Tags           map[string]string
			Values         map[string]float64
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		if p.Reason != "a bad point among 1" || p.Schema != "test:gauge" || p.Tags["host"] != "a" || p.Values["value"] != float64(p.Time) {
			t.Errorf("got %+v", p)
		}
		times = append(times, p.Time)
	}
	if !slices.Equal(times, bad) {
		t.Errorf("set aside: %v", times)
	}

	// When all are at fault nobody looks for them.
	f.send = func([]timeseries.Point) error { return &delivery.Rejected{Reason: "too old", All: true} }
	before := len(f.requests())
	appendAll(t, d, some(0, 1000))
	flush(t, d)
	account(t, ledger, 2000, 996, 0, "rejected 1004")
	if n := len(f.requests()) - before; n != 1 {
		t.Errorf("%d requests", n)
	}
}

// Failures are followed by longer and longer pauses, or by those the store asks for; nothing is lost.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := []error{errors.New("down"), errors.New("down"), errors.New("down"), &delivery.Later{After: 100 * time.Second, Err: errors.New("busy")}}
		f := &fake{}
		f.send = func([]timeseries.Point) error {
			if len(failures) == 0 {
				return nil
			}
			err := failures[0]
			failures = failures[1:]
			return err
		}
		d, ledger := started(t, t.TempDir(), 0, f)
		appendAll(t, d, some(0, 10))
		synctest.Wait()
		if d.Failure() == nil || d.Failure().Error() != "down" {
			t.Errorf("got %v", d.Failure())
		}
		account(t, ledger, 10, 0, 10)
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := d.Flush(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "down") {
			t.Errorf("got %v", err)
		}
		flush(t, d)
		account(t, ledger, 10, 10, 0)
		if d.Failure() != nil {
			t.Errorf("got %v", d.Failure())
		}
		var pauses []time.Duration
		for i := range f.times[1:] {
			pauses = append(pauses, f.times[i+1].Sub(f.times[i]))
		}
		for i, least := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 100 * time.Second} {
			most := 2 * least
			if least == 100*time.Second {
				most = least
			}
			if pauses[i] < least || pauses[i] > most {
				t.Errorf("pauses %v", pauses)
			}
		}
		d.Stop(t.Context())
	})
}

// hang never answers before its request is given up.
type hang struct{ fake }

func (h *hang) Send(ctx context.Context, _ []timeseries.Point) error {
	<-ctx.Done()
	return ctx.Err()
}

// A store that hangs holds up nobody, and its requests are given up.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := telemetry.NewRegistry()
		d := New(Config{Name: "far", Dir: t.TempDir()}, &hang{}, registry, slog.New(slog.DiscardHandler))
		if err := d.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for i := range 100 {
			appendAll(t, d, some(i, i+1))
		}
		if time.Since(begin) != 0 {
			t.Errorf("appending took %v", time.Since(begin))
		}
		time.Sleep(30 * time.Second) // the time of a request
		synctest.Wait()
		if !errors.Is(d.Failure(), context.DeadlineExceeded) {
			t.Errorf("got %v", d.Failure())
		}
		if err := d.Delete(t.Context(), "test", nil); err == nil || !strings.Contains(err.Error(), "would come back") {
			t.Errorf("got %v", err)
		}
		begin = time.Now()
		if err := d.Stop(t.Context()); err != nil || time.Since(begin) > delivery.StopPatience {
			t.Errorf("stopping took %v: %v", time.Since(begin), err)
		}
	})
}

// A full queue refuses points and says so (R20); what it took is delivered.
func TestFull(t *testing.T) {
	open := make(chan struct{})
	f := &fake{send: func([]timeseries.Point) error { <-open; return nil }}
	d, ledger := started(t, t.TempDir(), 1<<20, f)
	wide := slices.Clone(some(0, 1))
	wide[0].Tags = []string{strings.Repeat("x", 1000)}
	taken := int64(0)
	for range 2000 {
		switch err := d.Append(t.Context(), wide); {
		case err == nil:
			taken++
		case !errors.Is(err, timeseries.ErrFull):
			t.Fatal(err)
		}
		wide[0].Time++
	}
	if taken < 900 || taken > 1100 {
		t.Errorf("%d points taken", taken)
	}
	account(t, ledger, 2000, 0, taken, fmt.Sprintf("queue_full %d", 2000-taken))
	close(open)
	flush(t, d)
	account(t, ledger, 2000, taken, 0, fmt.Sprintf("queue_full %d", 2000-taken))
}

// What waits survives a restart, and so do the schemas.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := &fake{send: func([]timeseries.Point) error { return errors.New("down") }}
		d, _ := started(t, dir, 0, f)
		appendAll(t, d, some(0, 100))
		synctest.Wait() // it has failed
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Append(t.Context(), some(0, 1)); !errors.Is(err, spool.ErrClosed) {
			t.Errorf("got %v", err)
		}
		f = &fake{}
		d, ledger := started(t, dir, 0, f)
		appendAll(t, d, some(100, 110))
		flush(t, d)
		if got := f.stored(t); len(got) != 110 {
			t.Errorf("%d points", len(got))
		}
		account(t, ledger, 110, 110, 0)
		d.Stop(t.Context())
		d, _ = started(t, dir, 0, f)
		schemas, err := d.Schemas(t.Context())
		if err != nil || len(schemas) != 1 || schemas[0].Name != gauge.Name || schemas[0].Metrics[0] != "value" {
			t.Errorf("%v, %v", schemas, err)
		}
		d.Stop(t.Context())
	})
}

// Records that cannot be read are set aside and counted; those that are good go on.
func TestDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	s, err := spool.Open(dir, spool.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var w spool.PointWriter
	for _, p := range some(0, 3) {
		w.Add(&p)
	}
	if err := errors.Join(s.Append([]byte("\x01nonsense")), s.Append(w.Record()), s.Close()); err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	d, ledger := started(t, dir, 0, f)
	flush(t, d)
	account(t, ledger, 3, 3, 0)
	file, err := os.ReadFile(filepath.Join(dir, "rejected.jsonl"))
	if err != nil || !strings.Contains(string(file), `"record":"AW5vbnNlbnNl"`) {
		t.Errorf("%s, %v", file, err)
	}
}

// work is the process that is killed: it appends points, sends them to a file, and says so.
func work(dir string) error {
	out, err := os.OpenFile(filepath.Join(dir, "delivered"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	f := &fake{send: func(points []timeseries.Point) error {
		var text []byte
		for _, p := range points {
			text = fmt.Appendln(text, p.Time)
		}
		_, err := out.Write(text)
		return err
	}}
	d := New(Config{Name: "far", Dir: filepath.Join(dir, "queue")}, f, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	if err := d.Start(context.Background()); err != nil {
		return err
	}
	from, _ := strconv.Atoi(os.Getenv(childEnv + "_FROM"))
	for n := from; ; n += 10 {
		if err := d.Append(context.Background(), some(n, n+10)); err != nil {
			return err
		}
		fmt.Println(n + 10)
	}
}

// Kill -9 while points come and go: every one that Append took is delivered.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	taken := 0
	for round := range 5 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s_FROM=%d", childEnv, taken))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for left := 200 + 150*round; lines.Scan(); left-- {
			if taken, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(lines.Text())
			}
			if left == 0 {
				child.Process.Kill() // what it said by then is read on
			}
		}
		child.Wait()
	}
	f := &fake{}
	d, ledger := started(t, filepath.Join(dir, "queue"), 0, f)
	flush(t, d)
	left := ledger.Snapshot()
	if !left.Balanced() || left.Lost() != 0 {
		t.Errorf("%+v", left)
	}
	got := make(map[int]bool)
	file, err := os.Open(filepath.Join(dir, "delivered"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			got[n] = true
		}
	}
	for _, at := range f.stored(t) {
		got[int(at)] = true
	}
	for n := range taken {
		if !got[n] {
			t.Fatalf("point %d of %d is lost", n, taken)
		}
	}
	t.Logf("%d points, %d of them after the last restart", taken, left.Passed)
}

// What a source pays for a remote store: the points are on disk, whatever the store does.
func BenchmarkAppend(b *testing.B) {
	s := &timeseries.Schema{Name: "host:traffic", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"a", "b", "c"}}
	var points []timeseries.Point
	for i := range 1000 {
		points = append(points, timeseries.Point{Schema: s, Time: int64(i), Tags: []string{"1", fmt.Sprint("10.0.0.", i)}, Values: []float64{float64(i), 2, 3}})
	}
	q := newQueue(Config{Name: "far", Dir: b.TempDir(), MaxBytes: 8 << 30}, func(context.Context, []timeseries.Point) error { return nil }, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	if err := q.start(slog.New(slog.DiscardHandler)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := q.append(points); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*3000/b.Elapsed().Seconds(), "values/s")
	if err := q.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
}
