package storage

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func newEngine(t *testing.T, driver timeseries.Driver, reg *telemetry.Registry) (*countergroup.Engine, *countergroup.Group) {
	t.Helper()
	groups := countergroup.NewRegistry()
	g, err := groups.Register(countergroup.Definition{GUID: "{00000000-0000-0000-0000-000000000001}", Title: "My Hosts", Bucket: 60, TopperBucket: 60, Meters: []countergroup.Meter{
		{ID: 0, Type: countergroup.Rate, Name: "Total", Top: 1}, {ID: 1, Type: countergroup.Counter, Name: "Flows"}, {ID: 2, Type: countergroup.Gauge, Name: "Flows"}}})
	if err != nil {
		t.Fatal(err)
	}
	engine := countergroup.New(countergroup.Config{}, groups, reg, quiet)
	engine.SetStages(New(driver, reg, quiet))
	return engine, g
}

// TestStored: what was counted is what queries answer: volumes exactly, rates, and toppers.
func TestStored(t *testing.T) {
	driver, reg := &memory.Driver{}, telemetry.NewRegistry()
	engine, g := newEngine(t, driver, reg)
	const start = 1700000040 // a minute begins
	engine.Tick(start)
	batch := engine.Batch()
	for i := range int64(120) {
		batch.AddRow(g, []byte("a"), []int{0, 1, 2}, []float64{100, 1, float64(i)})
		batch.AddRow(g, []byte("line\nbreak"), []int{0}, []float64{1})
		batch.Send()
		engine.Tick(start + 1 + i)
	}
	schemas := map[string]*timeseries.Schema{}
	stored, err := driver.Schemas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stored {
		schemas[s.Name] = s
	}
	q := timeseries.Query{Schema: schemas[SchemaName("My Hosts")], Tags: timeseries.Tags{"key": "a"}, Start: start, End: start + 120, Options: timeseries.DefaultOptions()}
	total, err := driver.Total(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{"Total": 12000, "Flows": 120}, map[string]float64{"Total": total["Total"], "Flows": total["Flows"]}); diff != "" {
		t.Error(diff)
	}
	if r, err := driver.Query(t.Context(), q); err != nil || r.Series[0].Data[0] != 100 || r.Series[2].Data[0] != 59 {
		t.Errorf("query: %v, %+v", err, r)
	}
	keys := map[string]bool{}
	for tags, err := range driver.List(t.Context(), timeseries.ListQuery{Schema: schemas[ToppersName("My Hosts")], Start: start, End: start + 120}) {
		if err != nil {
			t.Fatal(err)
		}
		keys[tags["key"]] = true
	}
	if diff := cmp.Diff(map[string]bool{"a": true, countergroup.TotalsKey: true}, keys); diff != "" {
		t.Error(diff)
	}
	a := reg.Ledger("countergroup.storage", "points").Snapshot()
	if !a.Balanced() || a.Passed != 2*3+2*2 {
		t.Errorf("ledger %+v", a)
	}
}

// TestCutShort: a bucket that ends before its time, because everything ends, keeps the step of the series and the volume.
func TestCutShort(t *testing.T) {
	driver, reg := &memory.Driver{}, telemetry.NewRegistry()
	groups := countergroup.NewRegistry()
	g, err := groups.Register(countergroup.Definition{GUID: "{00000000-0000-0000-0000-000000000001}", Title: "Long", Bucket: 300, Meters: []countergroup.Meter{
		{ID: 0, Type: countergroup.Rate, Name: "Total", Top: 1}, {ID: 1, Type: countergroup.Counter, Name: "Flows"}}})
	if err != nil {
		t.Fatal(err)
	}
	engine := countergroup.New(countergroup.Config{}, groups, reg, quiet)
	engine.SetStages(New(driver, reg, quiet))
	const start = 1700000100 // five minutes begin
	engine.Tick(start)
	batch := engine.Batch()
	for i := range int64(400) {
		batch.AddRow(g, []byte("a"), []int{0, 1}, []float64{10, 1})
		batch.Send()
		engine.Tick(start + 1 + i)
	}
	engine.Finish()
	stored, err := driver.Schemas(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stored {
		if s.Step != 300 {
			t.Errorf("%s has the step %d", s.Name, s.Step)
		}
		if s.Name != SchemaName("Long") {
			continue
		}
		total, err := driver.Total(t.Context(), timeseries.Query{Schema: s, Tags: timeseries.Tags{"key": "a"}, Start: start, End: start + 600, Options: timeseries.DefaultOptions()})
		if diff := cmp.Diff(map[string]float64{"Total": 4000, "Flows": 400}, total); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
}

// failing is a driver that cannot store.
type failing struct {
	*memory.Driver
	setups int
	err    error
}

func (f *failing) Setup(context.Context) error                      { f.setups++; return nil }
func (f *failing) Append(context.Context, []timeseries.Point) error { return f.err }

// TestFailure: what cannot be stored is counted, and the driver is set up again before the next try.
func TestFailure(t *testing.T) {
	driver, reg := &failing{Driver: &memory.Driver{}, err: errors.New("no space left on device")}, telemetry.NewRegistry()
	engine, g := newEngine(t, driver, reg)
	engine.Tick(1700000040)
	batch := engine.Batch()
	for i, err := range []error{driver.err, nil, &timeseries.AppendError{Refused: 1, First: timeseries.ErrFull}} {
		driver.err = err
		batch.Add(g, []byte("a"), 1, 1)
		batch.Send()
		engine.Tick(1700000040 + int64(i+1)*60)
	}
	a := reg.Ledger("countergroup.storage", "points").Snapshot()
	if !a.Balanced() || a.Discarded["append"] == 0 || a.Discarded["refused"] != 1 || driver.setups != 1 {
		t.Errorf("ledger %+v, %d setups", a, driver.setups)
	}
}

// TestToppersOnly: only keys with a place on a list are stored, with every window of the list's time; totals are stored exactly, and the rest is counted.
func TestToppersOnly(t *testing.T) {
	driver, reg := &memory.Driver{}, telemetry.NewRegistry()
	groups := countergroup.NewRegistry()
	g, err := groups.Register(countergroup.Definition{GUID: "{00000000-0000-0000-0000-000000000001}", Title: "Few", Bucket: 60, TopperBucket: 120, ToppersOnly: true, Meters: []countergroup.Meter{
		{ID: 0, Type: countergroup.Rate, Name: "Total", Top: 1}, {ID: 1, Type: countergroup.Counter, Name: "Flows", Top: 1}, {ID: 2, Type: countergroup.Gauge, Name: "Load"}}})
	if err != nil {
		t.Fatal(err)
	}
	engine := countergroup.New(countergroup.Config{}, groups, reg, quiet)
	engine.SetStages(New(driver, reg, quiet))
	const start = 1700000040 // a multiple of 120
	engine.Tick(start)
	batch := engine.Batch()
	add := func(key string, total, flows float64) {
		batch.AddRow(g, []byte(key), []int{0, 1, 2}, []float64{total, flows, 7})
	}
	points := func() (some map[string]float64) { // the bytes that are stored, by key
		some = map[string]float64{}
		schemas, err := driver.Schemas(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range schemas {
			if s.Name != SchemaName("Few") {
				continue
			}
			for tags, err := range driver.List(t.Context(), timeseries.ListQuery{Schema: s, Start: start, End: start + 600}) {
				if err != nil {
					t.Fatal(err)
				}
				total, err := driver.Total(t.Context(), timeseries.Query{Schema: s, Tags: tags, Start: start, End: start + 600, Options: timeseries.DefaultOptions()})
				if err != nil {
					t.Fatal(err)
				}
				some[tags["key"]] = total["Total"]
			}
		}
		return some
	}
	expect := func(want map[string]float64, passed, buffered, unlisted int64) {
		t.Helper()
		if diff := cmp.Diff(want, points()); diff != "" {
			t.Error(diff)
		}
		if a := reg.Ledger("countergroup.storage", "points").Snapshot(); !a.Balanced() || a.Passed != passed || a.Buffered != buffered || a.Discarded["no_topper"] != unlisted {
			t.Errorf("ledger %+v", a)
		}
	}

	add("late", 100, 1)
	add("small", 200, 2)
	add("many", 10, 50)
	batch.Send()
	engine.Tick(start + 60)
	expect(map[string]float64{countergroup.TotalsKey: 310}, 1, 3, 0)
	add("late", 900, 1) // the largest only now, and its first window counts too
	add("small", 200, 2)
	batch.Send()
	engine.Tick(start + 120)
	// Totals of two windows, "late" with two, "many" with one, and two lists of a key and the totals.
	expect(map[string]float64{countergroup.TotalsKey: 1410, "late": 1000, "many": 10}, 2+2+1+4, 0, 2)

	engine.Tick(start + 240) // nothing at all
	add("small", 5, 1)
	batch.Send()
	engine.Finish() // before the list's time has ended
	expect(map[string]float64{countergroup.TotalsKey: 1415, "late": 1000, "many": 10, "small": 5}, 9+2+4, 0, 2)
}

// TestToppersOnlyFull: what waits is bounded, and what there is no room for is counted.
func TestToppersOnlyFull(t *testing.T) {
	driver, reg := &memory.Driver{}, telemetry.NewRegistry()
	groups := countergroup.NewRegistry()
	g, err := groups.Register(countergroup.Definition{GUID: "{00000000-0000-0000-0000-000000000001}", Title: "Few", Bucket: 60, TopperBucket: 60, ToppersOnly: true, Meters: []countergroup.Meter{
		{ID: 0, Type: countergroup.Rate, Name: "Total", Top: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	engine := countergroup.New(countergroup.Config{}, groups, reg, quiet)
	stage := New(driver, reg, quiet)
	stage.room = 2 * (1 + rowCost)
	engine.SetStages(stage)
	const start = 1700000040
	engine.Tick(start)
	batch := engine.Batch()
	for i := range int64(3) { // each time there is room for as much
		for _, key := range []string{"a", "b", "c"} {
			batch.Add(g, []byte(key), 0, 1)
		}
		batch.Send()
		engine.Tick(start + 60*(i+1))
	}
	a := reg.Ledger("countergroup.storage", "points").Snapshot()
	if !a.Balanced() || a.Discarded["hold_full"] != 3 || a.Discarded["no_topper"] != 0 || a.Passed != 3*(2+1+3) {
		t.Errorf("ledger %+v", a)
	}
}
