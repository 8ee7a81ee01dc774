package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weirhq/weir/timeseries"
)

// rollUp makes all slots that are complete.
func (s *testStore) rollUp() {
	s.t.Helper()
	s.checkpoint()
	if err := s.current.Load().rollDue(bg); err != nil {
		s.t.Fatal(err)
	}
}

// month is 30 days of a schema: counters with resets and gaps, samples up to 3
// seconds late, values that are missing.
func month(schema *timeseries.Schema, series int, add func([]timeseries.Point)) {
	random := rand.New(rand.NewPCG(7, 7))
	values := make([][]float64, series)
	for i := range values {
		values[i] = make([]float64, len(schema.Metrics))
	}
	for at := int64(0); at < 30*day; at += schema.Step {
		var points []timeseries.Point
		for i := range series {
			if i%3 == 1 && at/7200%11 == 5 || i%3 == 2 && random.IntN(10) == 0 {
				continue
			}
			p := timeseries.Point{Schema: schema, Time: epoch + at, Tags: []string{fmt.Sprint(i)}}
			if i%2 == 1 {
				p.Time += random.Int64N(4)
			}
			for m := range schema.Metrics {
				v := &values[i][m]
				switch {
				case schema.Type != timeseries.Counter:
					*v = float64(random.IntN(1000))
				case random.IntN(5000) == 0:
					*v = float64(random.IntN(100)) // a reset
				default:
					*v += float64(9500 + random.IntN(1001))
				}
				p.Values = append(p.Values, *v)
			}
			if i%5 == 4 && random.IntN(20) == 0 && len(p.Values) > 1 {
				p.Values[1] = nan
			}
			points = append(points, p)
		}
		add(points)
	}
}

// Totals, and points on the grid of the slots, are the same before there are
// slots, when there are, and after the points are gone: to the last unit.
func TestR35TotalsSurviveRetention(t *testing.T) {
	for _, schema := range []*timeseries.Schema{
		{Name: "t:counter", Step: 300, Tags: []string{"host"}, Metrics: []string{"in", "out"}},
		{Name: "t:fast", Step: 30, Tags: []string{"host"}, Metrics: []string{"in"}},
		{Name: "t:gauge", Step: 300, Tags: []string{"host"}, Metrics: []string{"one", "two"}, Type: timeseries.Gauge},
		{Name: "t:last", Step: 300, Tags: []string{"host"}, Metrics: []string{"one"}, Type: timeseries.Gauge, Aggregation: timeseries.Last},
		{Name: "t:rate", Step: 60, Tags: []string{"host"}, Metrics: []string{"rate"}, Type: timeseries.Derivative},
	} {
		t.Run(schema.Name, func(t *testing.T) {
			s := newTestStore(t, func(s *Store) { s.limits.retention = 5 * 24 * time.Hour; s.limits.memory = 1 << 20 })
			s.clock.set(epoch)
			plain := newReference(schema)
			series := 5
			if schema.Step < 60 {
				series = 2
			}
			var batch []timeseries.Point
			month(schema, series, func(points []timeseries.Point) {
				plain.add(points)
				if batch = append(batch, points...); len(batch) > 2000 {
					s.clock.set(batch[len(batch)-1].Time)
					s.append(batch...)
					batch = batch[:0]
				}
			})
			s.append(batch...)
			check := func(when string) {
				t.Helper()
				for _, host := range []string{"", "1"} {
					for _, span := range [][2]int64{{0, 30}, {1, 29}, {24, 26}} {
						q := query(schema, nil, span[0]*day, span[1]*day)
						if host != "" {
							q.Tags = timeseries.Tags{"host": host}
						}
						plain.check(t, fmt.Sprintf("%s: host %q, days %v", when, host, span), s, q)
					}
				}
			}
			check("before")
			s.rollUp()
			if s.count.rolled.Load() == 0 {
				t.Fatal("no slots were made")
			}
			check("with slots")
			s.clock.set(epoch + 30*day)
			if err := s.DeleteOld(bg, epoch+30*day); err != nil {
				t.Fatal(err)
			}
			d := s.current.Load()
			d.mu.RLock()
			floor := d.schemas[schema.Name].Floor
			d.mu.RUnlock()
			if floor < epoch+24*day || floor > epoch+25*day {
				t.Fatalf("points are gone up to day %v", float64(floor-epoch)/day)
			}
			check("points gone")
			s.restart()
			check("after a restart")
		})
	}
}

// reference keeps the points of one schema with one tag in order, and computes answers from them.
type reference struct {
	schema *timeseries.Schema
	hosts  map[string]*rows
}

type rows struct {
	times  []int64
	values [][]float64 // per metric
}

func newReference(schema *timeseries.Schema) *reference {
	return &reference{schema, make(map[string]*rows)}
}

func (r *reference) add(points []timeseries.Point) {
	for _, p := range points {
		at := r.hosts[p.Tags[0]]
		if at == nil {
			at = &rows{values: make([][]float64, len(p.Values))}
			r.hosts[p.Tags[0]] = at
		}
		at.times = append(at.times, p.Time)
		for m, v := range p.Values {
			at.values[m] = append(at.values[m], v)
		}
	}
}

// check asks s for the total, points and the largest, and compares.
func (r *reference) check(t *testing.T, what string, s timeseries.Driver, q timeseries.Query) {
	t.Helper()
	total, integrals := make(map[string]float64), make(map[string]float64)
	found := make(map[string]*rows)
	for host, at := range r.hosts {
		if want, ok := q.Tags["host"]; ok && want != host {
			continue
		}
		found[host] = at
		for m, name := range q.Schema.Metrics {
			total[name] += timeseries.Volume(q.Schema, at.times, at.values[m], q.Start, q.End)
			integrals[host] += timeseries.Integral(q.Schema, at.times, at.values[m], q.Start, q.End)
		}
	}
	for _, q.Resolution = range []timeseries.Resolution{timeseries.Raw, timeseries.ByMinute, timeseries.ByHour, timeseries.ByDay, timeseries.AnyResolution} {
		got, err := s.Total(bg, q)
		if err != nil || !maps.Equal(got, total) {
			t.Errorf("%s: total %v (%v) by %q, want %v", what, got, err, q.Resolution, total)
		}
		q.MaxPoints, q.Top = int((q.End-q.Start)/day), 3
		r.checkPoints(t, what, s, q, found)
		top, err := s.TopK(bg, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(top.Items) != min(len(found), 3) {
			t.Fatalf("%s: topk by %q has %d items", what, q.Resolution, len(top.Items))
		}
		for _, item := range top.Items {
			if host := item.Tags["host"]; item.Value != integrals[host] {
				t.Errorf("%s: topk by %q: %s is %v, want %v", what, q.Resolution, host, item.Value, integrals[host])
			}
		}
	}
	for _, step := range []int64{3600, 7200, day} {
		for how := timeseries.BySchema; how <= timeseries.ByMin; how++ {
			if how == timeseries.ByMean && q.Schema.Aggregation == timeseries.Last {
				continue // the mean of raw slots is not kept beside the last one
			}
			q.MaxPoints, q.Consolidation = int((q.End-q.Start)/step), how
			r.checkPoints(t, what, s, q, found)
		}
	}
}

// checkPoints asks for the points of found, added up.
func (r *reference) checkPoints(t *testing.T, what string, s timeseries.Driver, q timeseries.Query, found map[string]*rows) {
	t.Helper()
	grid := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	group := timeseries.Group{Data: newPoints(len(q.Schema.Metrics), grid.Count)}
	for _, at := range found {
		for m := range q.Schema.Metrics {
			timeseries.AddPoints(group.Data[m], grid.Slots(nil, q.Schema, at.times, at.values[m]))
		}
	}
	want := timeseries.Assemble(q, grid, []timeseries.Group{group})
	got, err := s.Query(bg, q)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Series {
		for k, v := range want.Series[i].Data {
			if g := got.Series[i].Data[k]; !near(g, v) && (g == g || v == v) {
				t.Fatalf("%s: step %d, resolution %q, consolidation %d, %s[%d], hour %d: got %v, want %v", what, grid.Step, q.Resolution, q.Consolidation,
					want.Series[i].Label, k, (grid.Start+int64(k)*grid.Step-epoch)/3600, g, v)
			}
		}
	}
}

// A question may name the resolution that is read; where its data are gone, or never
// were, others answer (target_aggregation, sections 1.5 and 8.3).
func TestR35TargetAggregation(t *testing.T) {
	schema := &timeseries.Schema{Name: "t:counter", Step: 300, Tags: []string{"host"}, Metrics: []string{"in"}}
	s := newTestStore(t, func(s *Store) { s.limits.retention = 5 * 24 * time.Hour })
	s.clock.set(epoch + 30*day)
	month(schema, 1, func(points []timeseries.Point) {
		s.clock.set(points[len(points)-1].Time)
		s.append(points...)
	})
	s.clock.set(epoch + 30*day)
	check := func(when string, resolution timeseries.Resolution, start, end, step int64, source string) {
		t.Helper()
		q := query(schema, nil, start, end)
		q.Resolution, q.MaxPoints = resolution, 10_000
		r, err := s.Query(bg, q)
		if err != nil || r.SourceAggregation != source || r.Step != step {
			t.Errorf("%s: asked for %q: %v, source %q, want %q; step %d, want %d", when, resolution, err, r.SourceAggregation, source, r.Step, step)
		}
		top, err := s.TopK(bg, q)
		if err != nil || top.SourceAggregation != source || top.Step != step {
			t.Errorf("%s: topk, asked for %q: %v, source %q, want %q; step %d, want %d", when, resolution, err, top.SourceAggregation, source, top.Step, step)
		}
	}
	check("no slots", timeseries.ByHour, 0, 29*day, 3600, "raw")
	s.rollUp()
	for resolution, want := range map[timeseries.Resolution]struct {
		step   int64
		source string
	}{
		timeseries.AnyResolution: {300, "raw"}, timeseries.Raw: {300, "raw"}, timeseries.ByMinute: {300, "raw"},
		timeseries.ByHour: {3600, "1h"}, timeseries.ByDay: {day, "1d"},
	} {
		check("with slots", resolution, 0, 29*day, want.step, want.source)
	}
	if err := s.DeleteOld(bg, epoch+30*day); err != nil {
		t.Fatal(err)
	}
	check("points gone", timeseries.Raw, 0, 20*day, 300, "1h")
	check("points gone", timeseries.Raw, 26*day, 29*day, 300, "raw")
	check("points gone", timeseries.ByDay, 0, 29*day, day, "1d")
}

// The first increment of a range begins at the last value before it, of which only a slot
// in the same block tells any more.
func TestTotalLeadsFromSlots(t *testing.T) {
	s := newTestStore(t, func(s *Store) { s.limits.retention = 4 * 24 * time.Hour })
	schema := &timeseries.Schema{Name: "t:counter", Step: 60, Tags: []string{"host"}, Metrics: []string{"in"}}
	s.clock.set(epoch)
	s.feed(schema, []string{"a"}, 60, 5)
	s.clock.set(epoch + 3*day)
	s.feed(schema, []string{"a"}, 3*day, 7)
	s.clock.set(epoch + 6*day)
	if err := s.DeleteOld(bg, s.clock.t); err != nil {
		t.Fatal(err)
	}
	for _, start := range []int64{30, day, 2 * day} {
		want := map[string]float64{"in": 2}
		if got, err := s.Total(bg, query(schema, nil, start, 6*day)); err != nil || !maps.Equal(got, want) {
			t.Errorf("total from second %d on: %v, %v, want %v", start, got, err, want)
		}
	}
}

// Slots go when they are too old, the shorter ones first: totals of whole days stay as
// long as the slots of a day, and a series of which nothing is left goes with them.
func TestR35SlotsExpire(t *testing.T) {
	s := newTestStore(t, func(s *Store) {
		s.limits.retention = 5 * 24 * time.Hour
		s.limits.rollups = []Rollup{{time.Hour, 10 * 24 * time.Hour}, {24 * time.Hour, 200 * 24 * time.Hour}}
	})
	schema := &timeseries.Schema{Name: "t:gauge", Step: 300, Tags: []string{"host"}, Metrics: []string{"one"}, Type: timeseries.Gauge}
	const days = 420
	for d := range int64(days) {
		s.clock.set(epoch + (d+1)*day)
		s.feed(schema, []string{"a"}, float64(d*day+day/2), 1)
		if d < 10 {
			s.feed(schema, []string{"b"}, float64(d*day+day/2), 1)
		}
		if d%20 == 19 {
			if err := s.DeleteOld(bg, s.clock.t); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := s.current.Load()
	d.mu.RLock()
	tiers := slices.Clone(d.schemas[schema.Name].Tiers)
	d.mu.RUnlock()
	hours, whole := tiers[0].From-epoch, tiers[1].From-epoch
	if hours < (days-20)*day || hours > (days-10)*day || whole < day || whole > (days-200)*day {
		t.Fatalf("hours are gone up to day %d, days up to day %d", hours/day, whole/day)
	}
	check := func() {
		t.Helper()
		for start, want := range map[int64]int64{-1: days - whole/day, whole / day: days - whole/day, 300: days - 300, 415: 5} {
			got, err := s.Total(bg, query(schema, nil, start*day, days*day))
			if err != nil || got["one"] != float64(want) {
				t.Errorf("total from day %d on: %v, %v, want %d", start, got, err, want)
			}
		}
		if got, err := s.list(timeseries.ListQuery{Schema: schema}); err != nil || len(got) != 1 {
			t.Errorf("listed: %q, %v", got, err)
		}
	}
	check()
	s.restart()
	check()
}

// What one pass over blocks says of points and volumes is what two passes say: for
// random ranges, with points late in memory, and when points are gone.
func TestBothIsGridAndVolumes(t *testing.T) {
	for _, schema := range []*timeseries.Schema{
		{Name: "t:counter", Step: 300, Tags: []string{"host"}, Metrics: []string{"in", "out"}},
		{Name: "t:gauge", Step: 300, Tags: []string{"host"}, Metrics: []string{"one", "two"}, Type: timeseries.Gauge},
		{Name: "t:last", Step: 300, Tags: []string{"host"}, Metrics: []string{"one"}, Type: timeseries.Gauge, Aggregation: timeseries.Last},
		{Name: "t:rate", Step: 60, Tags: []string{"host"}, Metrics: []string{"rate"}, Type: timeseries.Derivative},
	} {
		t.Run(schema.Name, func(t *testing.T) {
			s := newTestStore(t, func(s *Store) { s.limits.retention = 5 * 24 * time.Hour })
			s.clock.set(epoch)
			var all []timeseries.Point
			month(schema, 5, func(points []timeseries.Point) { all = append(all, points...) })
			for part := range slices.Chunk(all, 2000) {
				s.clock.set(part[len(part)-1].Time)
				s.append(part...)
			}
			s.rollUp()
			random := rand.New(rand.NewPCG(11, 3))
			asked, coarse := 0, 0
			check := func(when string) {
				t.Helper()
				for range 150 {
					from := random.Int64N(30 * day)
					q := query(schema, nil, from, from+random.Int64N(30*day-from)+1)
					if random.IntN(2) == 0 {
						q.Start, q.End = q.Start-q.Start%3600, q.End-q.End%3600
					}
					if random.IntN(4) == 0 {
						q.Start = epoch
					}
					q.MaxPoints = []int{1, 20, 80, 400}[random.IntN(4)]
					q.Consolidation = []timeseries.Consolidation{timeseries.BySchema, timeseries.ByMean, timeseries.ByMax, timeseries.ByMin}[random.IntN(4)]
					d := s.current.Load()
					sel, err := d.choose(bg, &q, false, nil, maxTime)
					if err != nil {
						t.Fatal(err)
					}
					g := timeseries.NewGrid(schema, q.Start, q.End, q.Options)
					var one, two partScratch
					p := part{sel, 0, len(sel.ids)}
					if err := d.read(p, func(r *reading) error {
						if asked++; !r.coarse(g) {
							return nil
						}
						coarse++
						got, err := r.both(&one, &q, g)
						if err != nil {
							return err
						}
						if err := r.grid(&two, schema, g); err != nil {
							return err
						}
						want, err := r.volumes(&two, &q)
						if err != nil {
							return err
						}
						for i := range want {
							if got[i].sum != want[i].sum {
								t.Errorf("%s, %d to %d: volume %d is %v, want %v", when, q.Start-epoch, q.End-epoch, i, got[i].sum, want[i].sum)
							}
						}
						wantData(t, fmt.Sprintf("%s, %d to %d", when, q.Start-epoch, q.End-epoch), one.points, two.points...)
						return nil
					}); err != nil {
						t.Fatal(err)
					}
				}
			}
			check("with slots")
			s.append(timeseries.Point{Schema: schema, Time: epoch + 27*day + 40, Tags: []string{"1"}, Values: make([]float64, len(schema.Metrics))})
			check("a late point")
			s.clock.set(epoch + 30*day)
			if err := s.DeleteOld(bg, epoch+30*day); err != nil {
				t.Fatal(err)
			}
			check("points gone")
			if coarse < asked/4 {
				t.Errorf("slots took part in %d of %d questions", coarse, asked)
			}
		})
	}
}
