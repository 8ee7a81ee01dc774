package store

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirhq/weir/timeseries"
)

// model is the simplest store there can be: rows in maps.
type model struct {
	schemas []*timeseries.Schema
	rows    map[string]map[string]map[int64][]float64 // schema -> tag values -> time -> values
}

func (m *model) append(p timeseries.Point) {
	series := m.rows[p.Schema.Name]
	if series == nil {
		series = make(map[string]map[int64][]float64)
		m.rows[p.Schema.Name] = series
	}
	key := fmt.Sprintf("%q", p.Tags)
	if series[key] == nil {
		series[key] = make(map[int64][]float64)
	}
	series[key][p.Time] = slices.Clone(p.Values)
}

// matching are the series of a schema whose tags meet the filter, by their tag values.
func (m *model) matching(schema *timeseries.Schema, filter timeseries.Tags) map[string]map[int64][]float64 {
	found := make(map[string]map[int64][]float64)
	for key, rows := range m.rows[schema.Name] {
		if meets(schema, parseTags(key), filter) {
			found[key] = rows
		}
	}
	return found
}

func parseTags(key string) []string {
	var tags []string
	if _, err := fmt.Sscanf(key, "[%q %q]", new(string), new(string)); err == nil {
		tags = make([]string, 2)
		fmt.Sscanf(key, "[%q %q]", &tags[0], &tags[1])
	}
	return tags
}

func meets(schema *timeseries.Schema, tags []string, filter timeseries.Tags) bool {
	for name, want := range filter {
		if i := slices.Index(schema.Tags, name); i < 0 || tags[i] != want {
			return false
		}
	}
	return true
}

// column is one metric of rows in ascending order.
func column(rows map[int64][]float64, metric int) (times []int64, values []float64) {
	times = slices.Sorted(maps.Keys(rows))
	for _, t := range times {
		values = append(values, rows[t][metric])
	}
	return times, values
}

// deleteOld drops blocks that are too old, and series without any left.
func (m *model) deleteOld(oldest func(*timeseries.Schema) int64) {
	for _, schema := range m.schemas {
		for key, rows := range m.rows[schema.Name] {
			maps.DeleteFunc(rows, func(t int64, _ []float64) bool { return t < oldest(schema) })
			if len(rows) == 0 {
				delete(m.rows[schema.Name], key)
			}
		}
	}
}

// modelRun is a store beside a model.
type modelRun struct {
	*testStore
	model model
	slots bool // points that are gone live on in rollups
}

// coarse returns up to where the points of a schema are gone, and the step of the
// shortest slots that tell of them.
func (r *modelRun) coarse(s *timeseries.Schema) (floor, step int64) {
	d := r.current.Load()
	d.mu.RLock()
	defer d.mu.RUnlock()
	if sc := d.schemas[s.Name]; sc != nil && sc.Floor > 0 {
		return sc.Floor, sc.Tiers[0].Step
	}
	return 0, 1
}

// seen is when the row at a time counts: itself, or the last one in its slot.
func (r *modelRun) seen(s *timeseries.Schema, rows map[int64][]float64) map[int64]int64 {
	floor, step := r.coarse(s)
	last := make(map[int64]int64) // slot -> time
	for t := range rows {
		if slot := (t - 1) / step; t <= floor {
			last[slot] = max(last[slot], t)
		}
	}
	at := make(map[int64]int64)
	for t := range rows {
		at[t] = t
		if t <= floor {
			at[t] = last[(t-1)/step]
		}
	}
	return at
}

// volume is that of one metric by when rows are seen.
func (r *modelRun) volume(q *timeseries.Query, rows map[int64][]float64, metric int) float64 {
	at := r.seen(q.Schema, rows)
	times, values := column(rows, metric)
	sum, last := 0.0, nan
	for i, t := range times {
		v := values[i]
		if v != v {
			continue
		}
		if inside := at[t] > q.Start && at[t] <= q.End; inside {
			switch q.Schema.Type {
			case timeseries.Counter:
				if v > last {
					sum += v - last
				}
			case timeseries.Derivative:
				sum += v * float64(q.Schema.Step)
			default:
				sum += v
			}
		}
		last = v
	}
	return sum
}

var modelTags = []string{"a", "b", "c"}

func (r *modelRun) Append(t *rapid.T) {
	var points []timeseries.Point
	for range rapid.IntRange(1, 30).Draw(t, "points") {
		schema := rapid.SampledFrom(r.model.schemas).Draw(t, "schema")
		p := timeseries.Point{
			Schema: schema,
			Tags:   []string{rapid.SampledFrom(modelTags).Draw(t, "tag"), rapid.SampledFrom(modelTags).Draw(t, "tag")},
			Time:   r.clock.t + schema.Step*rapid.Int64Range(-1000, 20).Draw(t, "steps") + rapid.Int64Range(0, 3).Draw(t, "jitter"),
		}
		for range schema.Metrics {
			p.Values = append(p.Values, rapid.OneOf(
				rapid.Map(rapid.IntRange(0, 1000), func(n int) float64 { return float64(n) }),
				rapid.Map(rapid.IntRange(0, 1000), func(n int) float64 { return float64(n) / 8 }),
				rapid.Just(nan)).Draw(t, "value"))
		}
		points = append(points, p)
	}
	refused := 0
	for i := range points {
		if points[i].Validate() != nil { // no value at all
			refused++
			continue
		}
		r.model.append(points[i])
	}
	err := r.Store.Append(bg, points)
	var some *timeseries.AppendError
	if errors.As(err, &some) && some.Refused == refused || err == nil && refused == 0 {
		return
	}
	t.Fatalf("%d points refused: %v", refused, err)
}

func (r *modelRun) Checkpoint(t *rapid.T) { r.checkpoint() }

func (r *modelRun) RollUp(t *rapid.T) { r.rollUp() }

func (r *modelRun) Restart(t *rapid.T) { r.restart() }

func (r *modelRun) Crash(t *rapid.T) {
	clone := r.crashed(100)
	r.close()
	r.testStore = clone
}

func (r *modelRun) filter(t *rapid.T, schema *timeseries.Schema) timeseries.Tags {
	filter := timeseries.Tags{}
	for _, name := range schema.Tags {
		if rapid.Bool().Draw(t, "filter "+name) {
			filter[name] = rapid.SampledFrom(modelTags).Draw(t, name)
		}
	}
	return filter
}

func (r *modelRun) Delete(t *rapid.T) {
	schema := rapid.SampledFrom(r.model.schemas).Draw(t, "schema")
	filter := r.filter(t, schema)
	prefix := schema.Prefix()
	if len(filter) > 0 && rapid.Bool().Draw(t, "any prefix") {
		prefix = ""
	}
	if err := r.Store.Delete(bg, prefix, filter); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.model.schemas {
		if prefix != "" && s.Prefix() != prefix {
			continue
		}
		maps.DeleteFunc(r.model.rows[s.Name], func(key string, _ map[int64][]float64) bool { return meets(s, parseTags(key), filter) })
	}
}

func (r *modelRun) DeleteOld(t *rapid.T) {
	r.clock.set(r.clock.t + rapid.Int64Range(0, 3*day).Draw(t, "passed"))
	if err := r.Store.DeleteOld(bg, r.clock.t); err != nil {
		t.Fatal(err)
	}
	if r.slots {
		return
	}
	r.model.deleteOld(func(s *timeseries.Schema) int64 {
		return r.limits.oldest(newSchema(1, s, nil), r.clock.t)
	})
}

// Check compares every kind of answer.
func (r *modelRun) Check(t *rapid.T) {
	schema := rapid.SampledFrom(r.model.schemas).Draw(t, "schema")
	filter := r.filter(t, schema)
	q := timeseries.Query{Schema: schema, Tags: filter, Options: timeseries.DefaultOptions()}
	q.End = r.clock.t + schema.Step*rapid.Int64Range(-500, 20).Draw(t, "end")
	q.Start = q.End - schema.Step*rapid.Int64Range(0, 600).Draw(t, "length")
	q.MaxPoints = rapid.IntRange(1, 700).Draw(t, "points")
	if r.slots && rapid.Bool().Draw(t, "long ago") {
		hour := rapid.SampledFrom([]int64{1, 3600, day}).Draw(t, "unit")
		q.End = (r.clock.t - rapid.Int64Range(0, 12*day).Draw(t, "ago")) / hour * hour
		q.Start = q.End - rapid.Int64Range(0, 8*day).Draw(t, "seconds")/hour*hour
		q.MaxPoints = max(int((q.End-q.Start)/max(hour, schema.Step)), 1)
	}
	q.MinValue = math.Inf(-1)
	q.Top = 100
	found := r.model.matching(schema, filter)
	r.checkQuery(t, q, found)
	r.checkTotal(t, q, found)
	r.checkTopK(t, q, found)
	r.checkList(t, q, found)
	live := 0
	for _, series := range r.model.rows {
		live += len(series)
	}
	if got := r.Stats().Series; got != int64(live) {
		t.Fatalf("%d series, want %d", got, live)
	}
}

func (r *modelRun) checkQuery(t *rapid.T, q timeseries.Query, found map[string]map[int64][]float64) {
	got, err := r.Query(bg, q)
	if len(found) == 0 {
		if !errors.Is(err, timeseries.ErrNoSeries) {
			t.Fatalf("query: %v, want no series", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	grid := timeseries.NewGrid(q.Schema, q.Start, q.End, q.Options)
	group := timeseries.Group{Data: newPoints(len(q.Schema.Metrics), grid.Count)}
	for _, rows := range found {
		for m := range q.Schema.Metrics {
			times, values := column(rows, m)
			timeseries.AddPoints(group.Data[m], grid.Slots(nil, q.Schema, times, values))
		}
	}
	want := timeseries.Assemble(q, grid, []timeseries.Group{group})
	if got.Count != want.Count || got.Start != want.Start {
		t.Fatalf("query: count %d, want %d", got.Count, want.Count)
	}
	floor, step := r.coarse(q.Schema)
	divided := grid.Step%step != 0
	for i := range want.Series {
		for k, v := range want.Series[i].Data {
			begin := grid.Start + int64(k)*grid.Step
			if begin < floor && divided || begin < floor+q.Schema.Margin() && begin+grid.Step > floor && floor > 0 {
				continue // parts of slots, and what leads from rows that are gone, are not known exactly
			}
			if g := got.Series[i].Data[k]; !near(g, v) && (g == g || v == v) {
				t.Fatalf("query %s %v (%d, %d] step %d: %s[%d] is %v, want %v", q.Schema.Name, q.Tags, q.Start, q.End, got.Step, want.Series[i].Label, k, g, v)
			}
		}
	}
}

func (r *modelRun) checkTotal(t *rapid.T, q timeseries.Query, found map[string]map[int64][]float64) {
	got, err := r.Total(bg, q)
	if len(found) == 0 {
		if !errors.Is(err, timeseries.ErrNoSeries) {
			t.Fatalf("total: %v, want no series", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for m, name := range q.Schema.Metrics {
		want := 0.0
		for _, rows := range found {
			want += r.volume(&q, rows, m)
		}
		if !near(got[name], want) {
			t.Fatalf("total of %s %s %v (%d, %d]: %v, want %v", q.Schema.Name, name, q.Tags, q.Start, q.End, got[name], want)
		}
	}
}

func (r *modelRun) checkTopK(t *rapid.T, q timeseries.Query, found map[string]map[int64][]float64) {
	got, err := r.TopK(bg, q)
	if len(found) == 0 {
		if !errors.Is(err, timeseries.ErrNoSeries) {
			t.Fatalf("topk: %v, want no series", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]float64)
	for key, rows := range found {
		value := 0.0
		for m := range q.Schema.Metrics {
			v := r.volume(&q, rows, m)
			if q.Schema.Type == timeseries.Gauge {
				v *= float64(q.Schema.Step)
			}
			value += v
		}
		if value > 0 {
			want[key] = value
		}
	}
	if len(got.Items) != len(want) {
		t.Fatalf("topk: %d items, want %d: %v", len(got.Items), len(want), want)
	}
	for _, item := range got.Items {
		var tags []string
		for _, name := range q.Schema.Tags {
			tags = append(tags, item.Tags[name])
		}
		if v, ok := want[fmt.Sprintf("%q", tags)]; !ok || !near(v, item.Value) {
			t.Fatalf("topk: %v is %v, want %v", tags, item.Value, v)
		}
	}
}

func (r *modelRun) checkList(t *rapid.T, q timeseries.Query, found map[string]map[int64][]float64) {
	lq := timeseries.ListQuery{Schema: q.Schema, Tags: q.Tags, Start: q.Start, End: q.End}
	var got []string
	for tags, err := range r.List(bg, lq) {
		if errors.Is(err, timeseries.ErrNoSeries) && len(found) == 0 {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, name := range q.Schema.Tags {
			values = append(values, tags[name])
		}
		got = append(got, fmt.Sprintf("%q", values))
	}
	var want []string
	for key, rows := range found {
		for _, at := range r.seen(q.Schema, rows) {
			if at >= q.Start && at <= q.End {
				want = append(want, key)
				break
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("list %s %v [%d, %d]: %v, want %v", q.Schema.Name, q.Tags, q.Start, q.End, got, want)
	}
}

// TestRollupModel does the same to a store whose points go after four days and
// live on in slots: totals, rankings and lists stay as they were but for the time
// within a slot, and points on the grid of slots stay as they were.
func TestRollupModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		run := &modelRun{slots: true, model: model{rows: make(map[string]map[string]map[int64][]float64), schemas: []*timeseries.Schema{
			{Name: "m:counter", Step: 60, Tags: []string{"x", "y"}, Metrics: []string{"one", "two"}, Type: timeseries.Counter},
			{Name: "m:gauge", Step: 10, Tags: []string{"x", "y"}, Metrics: []string{"one"}, Type: timeseries.Gauge},
			{Name: "n:rate", Step: 300, Tags: []string{"x", "z"}, Metrics: []string{"one"}, Type: timeseries.Derivative},
		}}}
		run.testStore = startTestStore(rt, func(s *Store) {
			s.limits.memory = 4 << 10
			s.limits.resident = 4
			s.limits.retention = 4 * 24 * 3600 * 1e9
		})
		defer func() { run.testStore.close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"append": run.Append, "append again": run.Append, "checkpoint": run.Checkpoint, "roll up": run.RollUp, "restart": run.Restart,
			"crash": run.Crash, "delete": run.Delete, "delete old": run.DeleteOld, "delete old again": run.DeleteOld, "check": run.Check, "check again": run.Check,
		})
	})
}

// TestModel does random things to a store and to the model, and compares answers.
// Small limits make checkpoints, evictions and flushes of memory tables happen.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		run := &modelRun{model: model{rows: make(map[string]map[string]map[int64][]float64), schemas: []*timeseries.Schema{
			{Name: "m:counter", Step: 60, Tags: []string{"x", "y"}, Metrics: []string{"one", "two"}, Type: timeseries.Counter},
			{Name: "m:gauge", Step: 10, Tags: []string{"x", "y"}, Metrics: []string{"one"}, Type: timeseries.Gauge},
			{Name: "n:rate", Step: 300, Tags: []string{"x", "z"}, Metrics: []string{"one"}, Type: timeseries.Derivative},
		}}}
		run.testStore = startTestStore(rt, func(s *Store) {
			s.limits.memory = 4 << 10
			s.limits.resident = 4
			s.limits.retention, s.limits.rollups = 15*24*3600*1e9, nil
		})
		defer func() { run.testStore.close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"append": run.Append, "append again": run.Append, "checkpoint": run.Checkpoint, "restart": run.Restart,
			"crash": run.Crash, "delete": run.Delete, "delete old": run.DeleteOld, "check": run.Check, "check again": run.Check,
		})
	})
}
