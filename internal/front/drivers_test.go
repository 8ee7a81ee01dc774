package front

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// broken is a driver whose calls do what its functions do.
type broken struct {
	memory.Driver
	append, setup, export, remove func(context.Context) error
	query                         func() (*timeseries.Result, error)
	list                          func() error
}

func did(ctx context.Context, f func(context.Context) error) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

func (b *broken) Setup(ctx context.Context) error              { return did(ctx, b.setup) }
func (b *broken) Export(ctx context.Context) error             { return did(ctx, b.export) }
func (b *broken) DeleteOld(ctx context.Context, _ int64) error { return did(ctx, b.export) }

func (b *broken) Append(ctx context.Context, points []timeseries.Point) error {
	if b.append != nil {
		if err := b.append(ctx); err != nil {
			return err
		}
	}
	return b.Driver.Append(ctx, points)
}

func (b *broken) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	return errors.Join(did(ctx, b.remove), b.Driver.Delete(ctx, prefix, tags))
}

func (b *broken) Query(ctx context.Context, q timeseries.Query) (*timeseries.Result, error) {
	if b.query != nil {
		return b.query()
	}
	return b.Driver.Query(ctx, q)
}

func (b *broken) List(ctx context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		if b.list != nil {
			if err := b.list(); err != nil {
				yield(nil, err)
				return
			}
		}
		b.Driver.List(ctx, q)(yield)
	}
}

// traffic is a schema of the tests.
var traffic = &timeseries.Schema{Name: "host:traffic", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"bytes_sent", "bytes_rcvd"}}

func point(at int64, host string, sent, rcvd float64) timeseries.Point {
	return timeseries.Point{Schema: traffic, Time: at, Tags: []string{"1", host}, Values: []float64{sent, rcvd}}
}

// several are Drivers over a driver in memory named first, which is read, and others named second and so on.
func several(registry *telemetry.Registry, log *slog.Logger, others ...timeseries.Driver) (*Drivers, *memory.Driver) {
	first := new(memory.Driver)
	targets := []Target{{Name: "first", Driver: first, Local: true}}
	for i, d := range others {
		targets = append(targets, Target{Name: []string{"second", "third"}[i], Driver: d})
	}
	return NewDrivers(targets, "first", registry, log), first
}

var quiet = slog.New(slog.DiscardHandler)

// accounts are the ledgers as text, those that do not balance marked.
func accounts(registry *telemetry.Registry) (list []string) {
	for _, a := range registry.Accounts() {
		discarded := int64(0)
		var reasons []string
		for reason, n := range a.Discarded {
			if discarded += n; n > 0 {
				reasons = append(reasons, fmt.Sprint(reason, "=", n))
			}
		}
		slices.Sort(reasons)
		text := fmt.Sprintf("%s received=%d passed=%d %s", a.Component, a.Received, a.Passed, strings.Join(reasons, " "))
		if a.Received != a.Passed+a.Buffered+discarded {
			text += " and does not balance"
		}
		list = append(list, strings.TrimSpace(text))
	}
	slices.Sort(list)
	return list
}

// R21: every driver gets every point, also after one has failed; append fails when any
// did; a driver that fails or panics changes nothing for the others.
func TestR21_SeveralDrivers(t *testing.T) {
	down := errors.New("it is down")
	var state error
	panics := false
	second := &broken{append: func(context.Context) error {
		if panics {
			panic("driver")
		}
		return state
	}}
	third := new(memory.Driver)
	registry := telemetry.NewRegistry()
	d, first := several(registry, quiet, second, third)
	points := []timeseries.Point{point(start, "a", 1, 1), point(start, "b", 1, 1), point(start, "c", 1, 1)}
	f := func(want string, refused int) {
		t.Helper()
		err := d.Append(t.Context(), points)
		var some *timeseries.AppendError
		errors.As(err, &some)
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (some == nil || some.Refused != refused || err.Error() != want):
			t.Errorf("got %v, want %d refused: %s", err, refused, want)
		}
	}
	failure := func(want string) {
		t.Helper()
		got := ""
		for _, s := range d.Status() {
			if s.Failure != nil {
				got += s.Name + ": " + s.Failure.Error()
			}
			if s.Reads != (s.Name == "first") {
				t.Errorf("%s reads: %v", s.Name, s.Reads)
			}
		}
		if got != want {
			t.Errorf("the failure is %q, want %q", got, want)
		}
	}
	f("", 0)
	state = &timeseries.AppendError{Refused: 2, First: timeseries.ErrFull}
	f("second: limit reached", 2)
	failure("") // it refuses points, and works
	state = down
	f("second: it is down", 3)
	failure("second: it is down")
	panics = true
	f("second: the timeseries driver second panicked in append: driver", 3)
	panics, state = false, nil
	f("", 0)
	failure("")
	points[1].Values[0] = math.Inf(1) // refused by all
	f("first: cannot append to \"host:traffic\": metric bytes_sent is infinite\n"+
		"second: cannot append to \"host:traffic\": metric bytes_sent is infinite\nthird: cannot append to \"host:traffic\": metric bytes_sent is infinite", 1)
	want := []string{"timeseries.first received=18 passed=17 refused=1", "timeseries.second received=18 passed=9 failed=3 panicked=3 refused=3", "timeseries.third received=18 passed=17 refused=1"}
	if diff := cmp.Diff(want, accounts(registry)); diff != "" {
		t.Error(diff)
	}
	for name, driver := range map[string]timeseries.Driver{"first": first, "second": second, "third": third} {
		n := 0
		for _, err := range driver.List(t.Context(), timeseries.ListQuery{Schema: traffic}) {
			if err != nil {
				t.Error(name, err)
			}
			n++
		}
		if n != 3 {
			t.Errorf("%s has %d series", name, n)
		}
	}
}

// R21: a driver that hangs takes its time once, and the store has the points at once.
func TestR21_HangingDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := &broken{append: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		d, first := several(telemetry.NewRegistry(), quiet, second)
		begin := time.Now()
		done := make(chan error)
		go func() { done <- d.Append(t.Context(), []timeseries.Point{point(start, "a", 1, 1)}) }()
		synctest.Wait()
		if latest, _ := first.LatestTimestamp(t.Context()); latest != start || !time.Now().Equal(begin) {
			t.Errorf("the newest point of the store is at %d", latest)
		}
		if err := <-done; err == nil || time.Since(begin) != appendPatience {
			t.Errorf("it took %s: %v", time.Since(begin), err)
		}
	})
}

// R21: deletes go to every driver, the answer is true when all did.
func TestR21_Delete(t *testing.T) {
	second := &broken{remove: func(context.Context) error { return errors.New("it is down") }}
	third := new(memory.Driver)
	d, first := several(telemetry.NewRegistry(), quiet, second, third)
	if err := d.Append(t.Context(), []timeseries.Point{point(start, "a", 1, 1)}); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(t.Context(), "host", timeseries.Tags{"host": "a"}); err == nil || err.Error() != "second: it is down" {
		t.Error(err)
	}
	for _, driver := range []timeseries.Driver{first, third} {
		if _, err := driver.Total(t.Context(), timeseries.Query{Schema: traffic}); !errors.Is(err, timeseries.ErrNoSeries) {
			t.Error("the series is still there")
		}
	}
}

// Remote drivers are set up in the background, after longer and longer pauses; the store
// is set up at once, and only it is waited for.
func TestSetup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, works := time.Now(), false
		var tried []time.Duration
		exported := 0
		second := &broken{
			setup: func(context.Context) error {
				tried = append(tried, time.Since(begin))
				if works {
					return nil
				}
				return errors.New("no route")
			},
			export: func(context.Context) error { exported++; return nil },
		}
		d, _ := several(telemetry.NewRegistry(), quiet, second)
		if err := d.Setup(t.Context()); err != nil || tried != nil {
			t.Error(err, tried)
		}
		for range 60 {
			works = time.Since(begin) > 100*time.Second
			_ = d.Export(t.Context()) // the error is in the status
			if !works && (exported > 0 || d.Status()[1].Failure == nil) {
				t.Errorf("after %s: exported %d, %v", time.Since(begin), exported, d.Status()[1].Failure)
			}
			time.Sleep(exportStep)
		}
		want := []time.Duration{0, 5 * time.Second, 15 * time.Second, 35 * time.Second, 75 * time.Second, 155 * time.Second}
		if diff := cmp.Diff(want, tried); diff != "" || exported != 60-31 || d.Status()[1].Failure != nil {
			t.Error(diff, exported, d.Status()[1].Failure)
		}
	})
}

const exportStep = 5 * time.Second

// One that hangs in its upkeep is left out of the next ones, and the others go on.
func TestUpkeepOfAHangingDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs, counted := &broken{export: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, 0
		counts := &broken{export: func(context.Context) error { counted++; return nil }}
		d, _ := several(telemetry.NewRegistry(), quiet, hangs, counts)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { _ = d.Export(t.Context()) })
			synctest.Wait()
		}
		if counted != 3 {
			t.Errorf("the other one was exported %d times", counted)
		}
		all.Wait()
		hangs.export = func(context.Context) error { panic("export") }
		if err := d.Export(t.Context()); err == nil || err.Error() != "second: the timeseries driver second panicked in export: export" {
			t.Error(err)
		}
		if err := d.DeleteOld(t.Context(), start); err == nil || counted != 5 {
			t.Error(err, counted)
		}
	})
}

// A driver that panics in a question answers with an error; a panic of whoever reads a list is its own.
func TestQuestionsOfABrokenDriver(t *testing.T) {
	driver := &broken{query: func() (*timeseries.Result, error) { panic("query") }, list: func() error { panic("list") }}
	registry := telemetry.NewRegistry()
	d := NewDrivers([]Target{{Name: "lua", Driver: driver}}, "lua", registry, quiet)
	if _, err := d.Query(t.Context(), timeseries.Query{Schema: traffic}); err == nil || err.Error() != "the timeseries driver lua panicked in query: query" {
		t.Error(err)
	}
	for _, err := range d.List(t.Context(), timeseries.ListQuery{Schema: traffic}) {
		if err == nil || err.Error() != "the timeseries driver lua panicked in listSeries: list" {
			t.Error(err)
		}
	}
	driver.list = nil
	if err := d.Append(t.Context(), []timeseries.Point{point(start, "a", 1, 1)}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); p != "mine" {
			t.Errorf("the panic is %v", p)
		}
	}()
	for range d.List(t.Context(), timeseries.ListQuery{Schema: traffic}) {
		panic("mine")
	}
}

func TestNothingToRead(t *testing.T) {
	d := NewDrivers(nil, "", telemetry.NewRegistry(), quiet)
	_, query := d.Query(t.Context(), timeseries.Query{Schema: traffic})
	_, total := d.Total(t.Context(), timeseries.Query{Schema: traffic})
	_, topk := d.TopK(t.Context(), timeseries.Query{Schema: traffic})
	_, latest := d.LatestTimestamp(t.Context())
	_, schemas := d.Schemas(t.Context())
	var list error
	for _, list = range d.List(t.Context(), timeseries.ListQuery{Schema: traffic}) {
	}
	for _, err := range []error{query, total, topk, latest, schemas, list} {
		if !errors.Is(err, errNothingToRead) {
			t.Error(err)
		}
	}
	if d.Reads() || d.Append(t.Context(), nil) != nil {
		t.Error("it reads, or does not take nothing")
	}
}

// partial has only a part of the contract: it lists series and answers with points.
type partial struct{ *memory.Driver }

func (partial) Total(context.Context, timeseries.Query) (map[string]float64, error) {
	return nil, errors.ErrUnsupported
}

func (partial) TopK(context.Context, timeseries.Query) (*timeseries.TopResult, error) {
	return nil, errors.ErrUnsupported
}

// ranks ranks items and gives no points of them.
type ranks struct{ *memory.Driver }

func (r ranks) TopK(ctx context.Context, q timeseries.Query) (*timeseries.TopResult, error) {
	q.WithSeries = false
	return r.Driver.TopK(ctx, q)
}

// R3: a driver with a part of the contract serves every call, with the same answers.
func TestR03_PartOfTheContract(t *testing.T) {
	gauge := *traffic
	gauge.Name, gauge.Type = "host:load", timeseries.Gauge
	rate := *traffic
	rate.Name, rate.Type = "host:rate", timeseries.Derivative
	for _, schema := range []*timeseries.Schema{traffic, &gauge, &rate} {
		driver := new(memory.Driver)
		var points []timeseries.Point
		for i := range 21 {
			for n, host := range []string{"a", "b", "c"} {
				p := point(start+60*int64(i), host, float64(60*i*(n+1)), float64(120*i))
				p.Schema = schema
				points = append(points, p)
			}
		}
		if err := driver.Append(t.Context(), points); err != nil {
			t.Fatal(err)
		}
		with := func(driver timeseries.Driver) *Front {
			log, registry := quiet, telemetry.NewRegistry()
			return New(NewDefinitions([]*Definition{{Schema: schema}}, log), NewDrivers([]Target{{Name: "x", Driver: driver}}, "x", registry, log), registry, log)
		}
		whole := with(driver)
		top := NewQuestion("top:"+schema.Name, timeseries.Tags{"ifid": "1"}, start, start+1200)
		top.Options.MaxPoints, top.Options.Top = 5, 2
		total := NewQuestion(schema.Name, timeseries.Tags{"ifid": "1", "else": "x"}, start, start+1200)
		wantTop, err := whole.Query(t.Context(), top)
		if err != nil {
			t.Fatal(err)
		}
		wantTotal, err := whole.Total(t.Context(), total)
		if err != nil {
			t.Fatal(err)
		}
		if len(wantTop.Series) != 2 || len(wantTop.TopK) != 2 || len(wantTotal) != 2 {
			t.Fatalf("%+v %v", wantTop, wantTotal)
		}
		for name, part := range map[string]timeseries.Driver{"points": partial{driver}, "ranks": ranks{driver}} {
			f := with(part)
			gotTop, err := f.Query(t.Context(), top)
			if diff := cmp.Diff(wantTop, gotTop, cmpopts.EquateNaNs(), cmpopts.EquateApprox(1e-12, 0)); err != nil || diff != "" {
				t.Errorf("%s of %s: %v %s", schema.Name, name, err, diff)
			}
			gotTotal, err := f.Total(t.Context(), total)
			if diff := cmp.Diff(wantTotal, gotTotal, cmpopts.EquateApprox(1e-12, 0)); err != nil || diff != "" {
				t.Errorf("%s of %s: %v %s", schema.Name, name, err, diff)
			}
		}
	}
}

// picky does not take points of one host.
type picky struct {
	memory.Driver
	refuse string
	down   error
}

func (p *picky) Append(ctx context.Context, points []timeseries.Point) error {
	if p.down != nil {
		return p.down
	}
	taken := slices.DeleteFunc(slices.Clone(points), func(of timeseries.Point) bool { return of.Tags[1] == p.refuse })
	if err := p.Driver.Append(ctx, taken); err != nil {
		return err
	}
	if n := len(points) - len(taken); n > 0 {
		return &timeseries.AppendError{Refused: n, First: timeseries.ErrFull}
	}
	return nil
}
