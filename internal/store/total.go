package store

import (
	"context"
	"math"
	"slices"

	"github.com/weirhq/weir/internal/store/block"
	"github.com/weirhq/weir/timeseries"
)

// volume adds up one metric of one series over (start, end] (specification
// section 2.5, R15), block by block in ascending order of time.
type volume struct {
	sum  float64
	last float64 // the last value so far, NaN when there is none
	lead float64 // the first value in the range when none before it is known, else NaN
}

func newVolume() volume { return volume{last: math.NaN(), lead: math.NaN()} }

// join accounts for the increment from the last value to v, the next one in the range.
func (a *volume) join(v float64) {
	if math.IsNaN(a.last) {
		a.lead = v
	} else {
		a.sum += max(v-a.last, 0)
	}
}

// samples adds samples; those outside of the range only matter to the increment
// into it.
func (a *volume) samples(schema *timeseries.Schema, times []int64, values []float64, start, end int64) {
	a.sum += timeseries.Volume(schema, times, values, start, end)
	if schema.Type != timeseries.Counter {
		return
	}
	first := true
	for i, t := range times {
		if v := values[i]; !math.IsNaN(v) {
			if t > start && t <= end {
				a.join(v)
			}
			first = false
			break
		}
	}
	if first {
		return
	}
	for i := len(times) - 1; i >= 0; i-- {
		if v := values[i]; !math.IsNaN(v) && times[i] <= end {
			a.last = v
			break
		}
	}
}

// block adds a block all of whose samples are in the range.
func (a *volume) block(schema *timeseries.Schema, s *block.Summary) {
	if s.Count == 0 {
		return
	}
	switch schema.Type {
	case timeseries.Counter:
		a.join(s.First)
		a.sum += s.Increment
		a.last = s.Last
	case timeseries.Derivative:
		a.sum += s.Sum * float64(schema.Step)
	default:
		a.sum += s.Sum
	}
}

// Total implements timeseries.Driver.
func (s *Store) Total(ctx context.Context, q timeseries.Query) (map[string]float64, error) {
	d, err := s.acquire()
	if err != nil {
		return nil, err
	}
	defer d.release()
	sel, err := d.choose(ctx, &q, true, nil, maxGroups)
	if err != nil {
		return nil, err
	}
	sums := make([]float64, len(q.Schema.Metrics))
	err = d.eachPart(ctx, sel, func(p part, w *partScratch) error {
		var volumes []volume
		err := d.read(p, func(r *reading) (err error) {
			volumes, err = r.volumes(w, &q)
			return err
		})
		if err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, v := range volumes {
			sums[i%len(sums)] += v.sum
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	total := make(map[string]float64, len(sums))
	for m, name := range q.Schema.Metrics {
		total[name] = sums[m]
	}
	return total, nil
}

// volumes computes the volume of each metric of each series of the part, row after
// row. Blocks that lie in the range as a whole count by their summaries.
func (r *reading) volumes(w *partScratch, q *timeseries.Query) ([]volume, error) {
	metrics := len(r.columns)
	volumes := make([]volume, len(r.ids)*metrics)
	for i := range volumes {
		volumes[i] = newVolume()
	}
	return volumes, r.groups(r.all, func(want []int, limit int64) error {
		var first int64 // up to where what was before the first segment lies
		for k, seg := range cover(nil, q.Start, q.End, r.forVolume(q, nil, limit)) {
			before, err := r.segmentVolumes(seg, w, want, q.Schema, volumes)
			if err != nil {
				return err
			}
			if k == 0 {
				first = before
			}
		}
		if q.Schema.Type != timeseries.Counter {
			return nil
		}
		return r.lead(want, first, q.Schema, volumes)
	})
}

// segmentVolumes adds a segment, and returns up to where what was not read lies.
func (r *reading) segmentVolumes(seg segment, w *partScratch, want []int, schema *timeseries.Schema, volumes []volume) (int64, error) {
	if seg.tier == nil {
		return r.pointVolumes(seg, w, want, schema, volumes)
	}
	return r.rowsBegin(seg), r.tierVolumes(seg, want, schema, volumes)
}

// both is grid and volumes in one pass: what both need is read once.
func (r *reading) both(w *partScratch, q *timeseries.Query, g timeseries.Grid) ([]volume, error) {
	w.points = w.points[:0]
	volumes := make([]volume, len(r.ids)*len(r.columns))
	for i := range volumes {
		volumes[i] = newVolume()
	}
	return volumes, r.gridOfParts(w, g, func(want []int, limit int64) error {
		points := cover(nil, g.Start, g.End, r.forPoints(g, limit))
		var first int64 // as in volumes
		for k, seg := range cover(nil, q.Start, q.End, r.forVolume(q, points, limit)) {
			shared := slices.IndexFunc(points, func(p segment) bool { return r.readWith(seg, p, q.Schema, g) })
			var before int64
			var err error
			if shared < 0 {
				before, err = r.segmentVolumes(seg, w, want, q.Schema, volumes)
			} else {
				for _, p := range points[:shared] {
					if err := r.segmentPoints(p, w, want, q.Schema, g, nil); err != nil {
						return err
					}
				}
				before, err = r.segmentOfBoth(seg, points[shared], w, want, q.Schema, g, volumes)
				points = points[shared+1:]
			}
			if err != nil {
				return err
			}
			if k == 0 {
				first = before
			}
		}
		for _, p := range points {
			if err := r.segmentPoints(p, w, want, q.Schema, g, nil); err != nil {
				return err
			}
		}
		if q.Schema.Type != timeseries.Counter {
			return nil
		}
		return r.lead(want, first, q.Schema, volumes)
	})
}

// readWith reports whether everything that the volume over seg needs is read for the
// points of p.
func (r *reading) readWith(seg, p segment, schema *timeseries.Schema, g timeseries.Grid) bool {
	if seg.tier != p.tier || seg.after < p.after {
		return false
	}
	if seg.tier != nil {
		return seg.through <= p.through
	}
	from, to := r.rawWindow(p, schema, g)
	first, last := r.volumeWindow(seg, schema)
	return from <= first && last <= to
}

// segmentOfBoth is segmentVolumes of seg and segmentPoints of p, which seg is read with.
func (r *reading) segmentOfBoth(seg, p segment, w *partScratch, want []int, schema *timeseries.Schema, g timeseries.Grid, volumes []volume) (int64, error) {
	if seg.tier != nil {
		return r.rowsBegin(p), r.segmentPoints(p, w, want, schema, g, r.tierVolume(seg, schema, volumes))
	}
	if err := r.segmentPoints(p, w, want, schema, g, nil); err != nil {
		return 0, err
	}
	out, metrics := w.samples(len(r.ids)), len(r.columns) // holds the points of p
	for _, i := range want {
		for m := range metrics {
			volumes[i*metrics+m].samples(schema, out[i].times, out[i].values[m], seg.after, seg.through)
		}
	}
	from, _ := r.rawWindow(p, schema, g)
	return from - 1, nil
}

// pointVolumes adds the points of a segment, and returns up to where the points lie
// that were not read.
func (r *reading) pointVolumes(seg segment, w *partScratch, want []int, schema *timeseries.Schema, volumes []volume) (int64, error) {
	metrics := len(r.columns)
	out := w.samples(len(r.ids))
	inMemory := make(map[int64]map[int]bool) // block start -> series with rows in memory
	for k := range r.open {
		start := r.open[k].block.start
		if inMemory[start] == nil {
			inMemory[start] = make(map[int]bool)
		}
		inMemory[start][r.open[k].index] = true
	}
	from, to := r.volumeWindow(seg, schema)
	decode := make([]int, 0, len(want))
	for start := from; start <= to; start += r.span {
		decode = decode[:0]
		err := r.blocks(start, want, func(i int, data []byte) error {
			b, err := block.Parse(data, start)
			if err == nil && b.First > seg.after && b.Last <= seg.through && !inMemory[start][i] {
				if err = summarize(schema, &b, r.columns, volumes[i*metrics:(i+1)*metrics]); err == nil {
					return nil
				}
			}
			decode = append(decode, i) // a damaged block is dealt with there
			return nil
		})
		if err != nil {
			return 0, err
		}
		decode = union(decode, inMemory[start], want)
		if len(decode) == 0 {
			continue
		}
		if err := r.samples(start, start, decode, out); err != nil {
			return 0, err
		}
		for _, i := range decode {
			for m := range metrics {
				volumes[i*metrics+m].samples(schema, out[i].times, out[i].values[m], seg.after, seg.through)
			}
		}
	}
	return from - 1, nil
}

// volumeWindow are the blocks of points that the volume over a segment is made of.
func (r *reading) volumeWindow(seg segment, schema *timeseries.Schema) (from, to int64) {
	after := seg.after
	if schema.Type == timeseries.Counter {
		after-- // a sample at the start is what the first increment begins at
	}
	return r.window(after, seg.through)
}

// summarize adds the summaries of b, of all metrics or of none.
func summarize(schema *timeseries.Schema, b *block.Block, columns []int, volumes []volume) error {
	var few [8]block.Summary
	summaries := few[:0]
	for _, column := range columns {
		s, err := b.Summary(column)
		if err != nil {
			return err
		}
		summaries = append(summaries, s)
	}
	for m := range summaries {
		volumes[m].block(schema, &summaries[m])
	}
	return nil
}

// union merges the series that are in more and in want into the ascending list.
func union(list []int, more map[int]bool, want []int) []int {
	if len(more) == 0 {
		return list
	}
	for _, i := range want {
		if more[i] && !slices.Contains(list, i) {
			list = append(list, i)
		}
	}
	slices.Sort(list)
	return list
}

// lead adds the increments that lead into the range from the last values up to
// before, which is where what was read began.
func (r *reading) lead(series []int, before int64, schema *timeseries.Schema, volumes []volume) error {
	metrics := len(r.columns)
	var want []int
	var values [][]float64
	for _, i := range series {
		row := volumes[i*metrics : (i+1)*metrics]
		if r.firsts[r.from+i] > before || !leads(row) {
			continue
		}
		if values == nil {
			values = make([][]float64, len(r.ids))
		}
		values[i] = make([]float64, metrics)
		for m := range values[i] {
			values[i][m] = math.NaN()
			if math.IsNaN(row[m].lead) {
				values[i][m] = 0 // not looked for
			}
		}
		want = append(want, i)
	}
	if len(want) == 0 {
		return nil
	}
	if err := r.before(before, want, schema, values); err != nil {
		return err
	}
	for _, i := range want {
		for m := range metrics {
			v := &volumes[i*metrics+m]
			if before := values[i][m]; !math.IsNaN(v.lead) && !math.IsNaN(before) {
				v.sum += max(v.lead-before, 0)
			}
		}
	}
	return nil
}

func leads(row []volume) bool {
	for m := range row {
		if !math.IsNaN(row[m].lead) {
			return true
		}
	}
	return false
}
