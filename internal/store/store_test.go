package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

var (
	nan = math.NaN()
	bg  = context.Background()
)

// epoch is a round time that tests count from: a multiple of every span and step they use.
const epoch = 1_728_000_000

// clock is the time of a test store.
type clock struct {
	mu sync.Mutex
	t  int64
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return time.Unix(c.t, 0) }
func (c *clock) set(t int64)    { c.mu.Lock(); defer c.mu.Unlock(); c.t = t }

// testStore is a store in a directory in memory that can be stopped and started again.
type testStore struct {
	*Store
	t     failer
	files vfs.FS
	clock *clock
	reg   *telemetry.Registry
	log   *bytes.Buffer
	setup func(*Store)
}

// newTestStore starts a store; setup may change it before.
func newTestStore(t testing.TB, setup func(*Store)) *testStore {
	t.Helper()
	s := startTestStore(t, setup)
	t.Cleanup(func() { s.close() })
	return s
}

// failer is what tests and random tests have in common.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Error(...any)
	Errorf(string, ...any)
}

// startTestStore starts a store that the caller closes.
func startTestStore(t failer, setup func(*Store)) *testStore {
	t.Helper()
	s := &testStore{t: t, files: vfs.NewCrashableMem(), clock: &clock{t: epoch + 20*day}, setup: setup}
	s.open()
	return s
}

func (s *testStore) open() {
	s.t.Helper()
	s.reg = telemetry.NewRegistry()
	s.log = new(bytes.Buffer)
	s.Store = New(Config{Path: "data"}, s.reg, slog.New(slog.NewTextHandler(&lockedWriter{w: s.log}, nil)))
	s.fs = s.files
	s.Store.now = s.clock.now
	s.limits.memtable = 1 << 20
	if s.setup != nil {
		s.setup(s.Store)
	}
	if err := s.Start(bg); err != nil {
		s.t.Fatal(err)
	}
}

func (s *testStore) close() {
	s.t.Helper()
	if err := s.Stop(bg); err != nil {
		s.t.Error(err)
	}
}

// restart stops the store and opens another one on the same files.
func (s *testStore) restart() {
	s.t.Helper()
	s.close()
	s.open()
}

// checkpoint moves all points from memory into blocks.
func (s *testStore) checkpoint() {
	s.t.Helper()
	if err := s.current.Load().checkpoint(); err != nil {
		s.t.Fatal(err)
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (s *testStore) append(points ...timeseries.Point) {
	s.t.Helper()
	if err := s.Append(bg, points); err != nil {
		s.t.Fatal(err)
	}
}

// feed appends values of a series with one metric: seconds after epoch, value, ...
func (s *testStore) feed(schema *timeseries.Schema, tags []string, timesAndValues ...float64) {
	s.t.Helper()
	var points []timeseries.Point
	for i := 0; i < len(timesAndValues); i += 2 {
		points = append(points, timeseries.Point{Schema: schema, Time: epoch + int64(timesAndValues[i]), Tags: tags, Values: timesAndValues[i+1 : i+2]})
	}
	s.append(points...)
}

func query(schema *timeseries.Schema, tags timeseries.Tags, start, end int64) timeseries.Query {
	q := timeseries.Query{Schema: schema, Tags: tags, Start: epoch + start, End: epoch + end, Options: timeseries.DefaultOptions()}
	q.MinValue = math.Inf(-1)
	return q
}

// data is what the only series of a query holds.
func (s *testStore) data(q timeseries.Query) []float64 {
	s.t.Helper()
	r, err := s.Query(bg, q)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(r.Series) != 1 {
		s.t.Fatalf("%d series, want 1", len(r.Series))
	}
	return r.Series[0].Data
}

// list is the tags of all series listed, sorted.
func (s *testStore) list(q timeseries.ListQuery) ([]string, error) {
	var all []string
	for tags, err := range s.List(bg, q) {
		if err != nil {
			return all, err
		}
		all = append(all, text(tags))
	}
	slices.Sort(all)
	return all, nil
}

func text(tags timeseries.Tags) string {
	var parts []string
	for name, value := range tags {
		parts = append(parts, name+"="+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// wantData compares numbers, NaN being equal to NaN, up to rounding.
func wantData(t testing.TB, what string, got []float64, want ...float64) {
	t.Helper()
	same := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		same = same && (near(got[i], want[i]) || got[i] != got[i] && want[i] != want[i])
	}
	if !same {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func near(a, b float64) bool {
	return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1)
}

func wantDiff(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

var (
	traffic = &timeseries.Schema{Name: "host:traffic", Step: 60, Tags: []string{"host"}, Metrics: []string{"bytes"}, Type: timeseries.Counter}
	load    = &timeseries.Schema{Name: "host:load", Step: 60, Tags: []string{"host"}, Metrics: []string{"load"}, Type: timeseries.Gauge}
	rate    = &timeseries.Schema{Name: "host:rate", Step: 60, Tags: []string{"host"}, Metrics: []string{"rate"}, Type: timeseries.Derivative}
	both    = &timeseries.Schema{Name: "iface:traffic", Step: 60, Tags: []string{"ifid", "port"}, Metrics: []string{"sent", "rcvd"}, Type: timeseries.Counter}
	statsd  = &timeseries.Schema{Name: "statsd:gauge", Step: 10, Tags: []string{"name", "tags"}, Metrics: []string{"value"}, Type: timeseries.Gauge, Packed: "tags"}

	a    = []string{"a"}
	tagA = timeseries.Tags{"host": "a"}
)

func TestRestartKeepsEverything(t *testing.T) {
	s := newTestStore(t, nil)
	s.feed(load, a, 60, 1, 120, 2)
	s.restart()
	s.feed(load, a, 180, 3)
	s.checkpoint()
	s.feed(load, a, 120, 20, 240, 4)
	wantData(t, "before", s.data(query(load, tagA, 0, 240)), 1, 20, 3, 4)
	s.restart()
	wantData(t, "after", s.data(query(load, tagA, 0, 240)), 1, 20, 3, 4)
	schemas, err := s.Schemas(bg)
	if err != nil {
		t.Fatal(err)
	}
	wantDiff(t, "schemas", schemas, []*timeseries.Schema{load})
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	first := New(Config{Path: dir}, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	if err := first.Start(bg); err != nil {
		t.Fatal(err)
	}
	defer first.Stop(bg)
	second := New(Config{Path: dir}, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	err := second.Start(bg)
	if err == nil || !strings.Contains(err.Error(), "another process uses it") || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if err := first.Stop(bg); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(bg); err != nil {
		t.Fatal(err)
	}
	if err := second.Stop(bg); err != nil {
		t.Fatal(err)
	}
}

func TestNotStarted(t *testing.T) {
	s := New(Config{Path: t.TempDir()}, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	if err := s.Append(bg, []timeseries.Point{{Schema: load, Time: 1, Tags: a, Values: []float64{1}}}); !errors.Is(err, errNotStarted) {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Query(bg, query(load, tagA, 0, 60)); !errors.Is(err, errNotStarted) {
		t.Errorf("query: %v", err)
	}
	if err := s.Setup(bg); !errors.Is(err, errNotStarted) {
		t.Errorf("setup: %v", err)
	}
	if err := s.Stop(bg); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// Bad points of a batch are refused with a reason, the others are stored, and the
// ledger accounts for all of them.
func TestBadPoints(t *testing.T) {
	s := newTestStore(t, func(s *Store) { s.limits.series = 2 })
	now := s.clock.t
	long := strings.Repeat("x", timeseries.MaxTagValue+1)
	points := []timeseries.Point{
		{Schema: load, Time: epoch + 60, Tags: a, Values: []float64{1}},
		{Schema: load, Time: epoch + 60, Tags: nil, Values: []float64{1}},
		{Schema: load, Time: epoch + 60, Tags: a, Values: []float64{nan}},
		{Schema: load, Time: epoch + 60, Tags: a, Values: []float64{math.Inf(1)}},
		{Schema: load, Time: -1, Tags: a, Values: []float64{1}},
		{Schema: load, Time: epoch + 60, Tags: []string{"x\ny"}, Values: []float64{1}},
		{Schema: load, Time: epoch + 60, Tags: []string{long}, Values: []float64{1}},
		{Schema: load, Time: now + day + 1, Tags: a, Values: []float64{1}},
		{Schema: load, Time: now - 31*day, Tags: a, Values: []float64{1}},
		{Schema: load, Time: epoch + 60, Tags: []string{"b"}, Values: []float64{2}},
		{Schema: load, Time: epoch + 60, Tags: []string{"c"}, Values: []float64{3}},
		{Schema: &timeseries.Schema{Name: "bad"}, Time: epoch, Values: []float64{3}},
		{Schema: &timeseries.Schema{Name: "host:load", Step: 60, Tags: []string{"other"}, Metrics: []string{"load"}}, Time: epoch, Tags: a, Values: []float64{3}},
		{Schema: load, Time: now + day, Tags: a, Values: []float64{9}},
		{},
	}
	err := s.Append(bg, points)
	var refused *timeseries.AppendError
	if !errors.As(err, &refused) || refused.Refused != 12 {
		t.Fatalf("got %v (%+v)", err, refused)
	}
	wantData(t, "a", s.data(query(load, tagA, 0, 60)), 1)
	wantData(t, "b", s.data(query(load, timeseries.Tags{"host": "b"}, 0, 60)), 2)
	account := s.count.ledger.Snapshot()
	wantDiff(t, "ledger", account, telemetry.Account{Component: "store", Unit: "points", Received: 15, Passed: 3, Discarded: map[string]int64{
		"invalid": 9, "future": 1, "expired": 1, "series_limit": 1, "disk": 0, "canceled": 0}})
	err = s.Append(bg, points[10:11])
	if !errors.Is(err, timeseries.ErrFull) || !strings.Contains(err.Error(), `host:load`) || !strings.Contains(err.Error(), `host="c"`) {
		t.Errorf("series limit: %v", err)
	}
}

// Tag values are kept as they are, whatever is in them.
func TestTagsVerbatim(t *testing.T) {
	s := newTestStore(t, nil)
	values := []string{"", "a b", `O'Neil, "x"=1\`, "ü/%00", "a", "\x01\xff", strings.Repeat("y", timeseries.MaxTagValue), "host=a"}
	for i, v := range values {
		s.feed(load, []string{v}, 60, float64(i))
	}
	check := func(when string) {
		t.Helper()
		var got []string
		for tags, err := range s.List(bg, timeseries.ListQuery{Schema: load}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, tags["host"])
		}
		want := slices.Clone(values)
		slices.Sort(want)
		slices.Sort(got)
		wantDiff(t, when, got, want)
		for i, v := range values {
			wantData(t, fmt.Sprintf("%s: %.20q", when, v), s.data(query(load, timeseries.Tags{"host": v}, 0, 60)), float64(i))
		}
	}
	check("in memory")
	s.restart()
	check("after a restart")
}

// A metric added later reads NaN before; one that is no longer defined stays readable.
func TestChangedMetrics(t *testing.T) {
	s := newTestStore(t, nil)
	one := &timeseries.Schema{Name: "x:y", Step: 60, Metrics: []string{"first", "second"}, Type: timeseries.Gauge}
	two := &timeseries.Schema{Name: "x:y", Step: 60, Metrics: []string{"third", "second"}, Type: timeseries.Gauge}
	all := &timeseries.Schema{Name: "x:y", Step: 60, Metrics: []string{"third", "second", "first", "never"}, Type: timeseries.Gauge}
	s.append(timeseries.Point{Schema: one, Time: epoch + 60, Values: []float64{1, 2}})
	s.append(timeseries.Point{Schema: two, Time: epoch + 120, Values: []float64{3, 22}})
	s.append(timeseries.Point{Schema: one, Time: epoch + 180, Values: []float64{111, 222}})
	check := func(when string) {
		t.Helper()
		r, err := s.Query(bg, query(all, nil, 0, 180))
		if err != nil {
			t.Fatal(err)
		}
		wantData(t, when+": third", r.Series[0].Data, nan, 3, nan)
		wantData(t, when+": second", r.Series[1].Data, 2, 22, 222)
		wantData(t, when+": first", r.Series[2].Data, 1, nan, 111)
		wantData(t, when+": never", r.Series[3].Data, nan, nan, nan)
	}
	check("in memory")
	s.checkpoint()
	check("in blocks")
	s.append(timeseries.Point{Schema: two, Time: epoch + 60, Values: []float64{33, nan}}) // replaces the row
	s.append(timeseries.Point{Schema: one, Time: epoch + 60, Values: []float64{1, 2}})
	check("over blocks")
	s.restart()
	check("after a restart")
	schemas, err := s.Schemas(bg)
	if err != nil || len(schemas) != 1 {
		t.Fatal(schemas, err)
	}
	wantDiff(t, "metrics", schemas[0].Metrics, []string{"first", "second", "third"})
}

// A step that changes keeps the blocks that are there readable.
func TestChangedStep(t *testing.T) {
	s := newTestStore(t, nil)
	s.feed(load, a, 60, 1, 120, 2)
	faster := *load
	faster.Step = 10
	s.feed(&faster, a, 130, 3, 140, 4)
	s.checkpoint()
	wantData(t, "fast", s.data(query(&faster, tagA, 110, 140)), 2, 3, 4)
	wantData(t, "slow", s.data(query(load, tagA, 0, 120)), 1, (2+3+4)/3.0)
}

// crashed opens a store on a copy of the files as they are now: what a process
// that dies at this moment leaves. Of what was not synced, written percent of the
// blocks are there; less than 100 is a power failure.
func (s *testStore) crashed(written int) *testStore {
	s.t.Helper()
	files := s.files.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: written, RNG: rand.New(rand.NewPCG(uint64(written), 1))})
	clone := &testStore{t: s.t, files: files, clock: s.clock, setup: s.setup}
	clone.open()
	return clone
}

// Definitions are found again however many schemas there are; those of a caller that
// makes new ones all the time are forgotten.
func TestBindings(t *testing.T) {
	s := startTestStore(t, func(*Store) {})
	const schemas = 3 * fewBindings
	var points []timeseries.Point
	for i := range schemas {
		points = append(points, timeseries.Point{
			Schema: &timeseries.Schema{Name: fmt.Sprintf("m:%d", i), Step: 60, Tags: []string{"host"}, Metrics: []string{"value"}},
			Tags:   []string{"a"}, Time: epoch, Values: []float64{1},
		})
	}
	s.append(points...)
	d := s.current.Load()
	for _, p := range points {
		if d.bindings[p.Schema] == nil {
			t.Fatalf("the definition of %s is forgotten, %d are remembered", p.Schema.Name, len(d.bindings))
		}
	}
	for i := range 10 * schemas {
		again := *points[i%schemas].Schema
		points[i%schemas].Schema = &again
		if i%schemas == schemas-1 {
			s.append(points...)
		}
	}
	if n := len(d.bindings); n > 2*schemas {
		t.Errorf("%d definitions of %d schemas are remembered", n, schemas)
	}
}
