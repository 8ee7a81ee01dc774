package store

import (
	"math"
	"slices"
	"sort"

	"github.com/weirhq/weir/internal/store/block"
	"github.com/weirhq/weir/timeseries"
)

// source is where a range of times can be read: a tier, or the points when tier is nil.
type source struct {
	tier *tier
	low  int64 // it has what is after low
	high int64 // and through high
}

// segment is the part of a range of times, after < t <= through, that is read from one source.
type segment struct {
	tier           *tier
	after, through int64
}

// cover divides a range among sources: each time goes to the first that has it. What
// none has is left out.
func cover(segments []segment, after, through int64, sources []source) []segment {
	if after >= through || len(sources) == 0 {
		return segments
	}
	s := &sources[0]
	low, high := max(after, s.low), min(through, s.high)
	if low >= high {
		return cover(segments, after, through, sources[1:])
	}
	segments = cover(segments, after, low, sources[1:])
	segments = append(segments, segment{s.tier, low, high})
	return cover(segments, high, through, sources[1:])
}

// points is the source of points.
func (r *reading) points() source {
	if r.floor == 0 {
		return source{nil, math.MinInt64, maxTime}
	}
	return source{nil, r.floor, maxTime}
}

// slots is tier number i as a source for series whose slots can be read up to limit.
func (r *reading) slots(i int, limit int64) source {
	t := &r.tiers[i]
	high := min(t.Rolled, limit)
	return source{t, t.From, high - high%t.Step}
}

// forPoints are the sources of points on a grid, the best first: the longest slots
// that make those of the grid, the points, and slots that have to be divided.
func (r *reading) forPoints(g timeseries.Grid, limit int64) []source {
	var sources, divided []source
	for i := range r.tiers {
		if s := r.slots(i, limit); g.Step%s.tier.Step == 0 {
			sources = append([]source{s}, sources...)
		} else {
			divided = append(divided, s)
		}
	}
	return prefer(append(append(sources, r.points()), divided...), g.Resolution)
}

// prefer puts the source that was asked for first; the others say what it does not know.
func prefer(sources []source, want timeseries.Resolution) []source {
	if want == timeseries.AnyResolution {
		return sources
	}
	for i, s := range sources {
		if s.resolution() == want {
			return slices.Insert(slices.Delete(sources, i, i+1), 0, s)
		}
	}
	return sources
}

func (s *source) resolution() timeseries.Resolution {
	if s.tier == nil {
		return timeseries.Raw
	}
	return tierName(s.tier.Step)
}

// forVolume are the sources of a volume over (start, end]: the longest slots that lie
// in it as a whole, the points, and slots at the edges where the points are gone.
// What is read for the points of these segments anyway comes before longer slots.
func (r *reading) forVolume(q *timeseries.Query, read []segment, limit int64) []source {
	start, end := q.Start, q.End
	var sources, edges []source
	for i := range r.tiers {
		s := r.slots(i, limit)
		edges = append(edges, s)
		s.low = max(s.low, (max(start, 0)+s.tier.Step-1)/s.tier.Step*s.tier.Step)
		s.high = min(s.high, max(end, 0)/s.tier.Step*s.tier.Step)
		sources = append([]source{s}, sources...)
	}
	slices.SortStableFunc(sources, func(a, b source) int { return compareRead(read, b.tier) - compareRead(read, a.tier) })
	return append(prefer(append(sources, r.points()), q.Resolution), edges...)
}

// compareRead is 1 for a tier of the segments, otherwise 0.
func compareRead(read []segment, t *tier) int {
	if slices.ContainsFunc(read, func(seg segment) bool { return seg.tier == t }) {
		return 1
	}
	return 0
}

// forSamples are the sources of samples: the points, and what the shortest slots know of them.
func (r *reading) forSamples(limit int64) []source {
	sources := []source{r.points()}
	for i := range r.tiers {
		sources = append(sources, r.slots(i, limit))
	}
	return sources
}

// groups calls do for the series all of whose slots can be read, and for those with
// late points in memory, with the limit up to which theirs can.
func (r *reading) groups(want []int, do func(want []int, limit int64) error) error {
	if r.limits == nil {
		return do(want, maxTime)
	}
	var punctual, late []int
	limit := int64(maxTime)
	for _, i := range want {
		if r.limits[i] == maxTime {
			punctual = append(punctual, i)
		} else {
			late = append(late, i)
			limit = min(limit, r.limits[i])
		}
	}
	if len(punctual) > 0 {
		if err := do(punctual, maxTime); err != nil {
			return err
		}
	}
	if len(late) == 0 {
		return nil
	}
	return do(late, limit)
}

// rows calls do for the blocks of a tier that hold slots of the segment.
func (r *reading) rows(seg segment, want []int, do func(i int, start int64, b *block.Block) error) error {
	t := seg.tier
	for start := r.rowsBegin(seg); start < seg.through; start += t.Span {
		err := r.tierBlocks(t.ID, start, want, func(i int, data []byte) error {
			var err error
			if r.block, err = block.Parse(data, start/t.Step); err == nil {
				err = do(i, start, &r.block)
			}
			if err != nil {
				r.damaged(appendTierKey(nil, t.ID, start, r.schema.ID, r.ids[i]), append([]byte(nil), data...), err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rowsBegin is where the first block begins that rows reads.
func (r *reading) rowsBegin(seg segment) int64 {
	from := max(seg.after, r.oldest-r.margin-1, 0)
	return from - from%seg.tier.Span
}

// table are some columns of rows of a tier.
type table struct {
	times   []int64
	columns [][]float64

	few [4]tierColumn // for means
}

// load reads columns of b.
func (r *reading) load(to *table, b *block.Block, columns []int) (err error) {
	if to.times, err = b.Times(to.times[:0]); err != nil {
		return err
	}
	for len(to.columns) < len(columns) {
		to.columns = append(to.columns, nil)
	}
	for k, column := range columns {
		if to.columns[k], r.scratch, err = b.Column(column, to.columns[k][:0], r.scratch); err != nil {
			return err
		}
	}
	return nil
}

// kinds is what row i of column k, which holds kinds, says, and whether it can be read as typ.
func (t *table) kind(k, i int, typ timeseries.MetricsType) (kind, bool) {
	of := decodeKind(t.columns[k][i])
	return of, of.typ == typ && of.step > 0
}

// cellsOf are the columns of a metric of the query, none of which there are when it has no number.
func cellsOf(metric int, columns ...int) []int {
	all := make([]int, len(columns))
	for k, column := range columns {
		all[k] = -1
		if metric >= 0 {
			all[k] = cellColumn(metric, column)
		}
	}
	return all
}

// tierPoints adds what the slots of a segment say about slots of g to parts, which
// has g.Count elements for each metric of each series. also is called for each block
// on the way, when it is not nil.
func (r *reading) tierPoints(seg segment, want []int, schema *timeseries.Schema, g timeseries.Grid, parts []timeseries.Part, also func(i int, b *block.Block) error) error {
	var rows table
	metrics := len(r.columns)
	var columns [][]int
	for _, metric := range r.columns {
		value := cellValue
		switch g.How {
		case timeseries.Max:
			value = cellMax
		case timeseries.Min:
			value = cellMin
		}
		// kind, last, sum, count, value, known: in the order in which they lie in the block
		columns = append(columns, append([]int{columnKind}, cellsOf(metric, cellLast, cellSum, cellCount, value, cellKnown)...))
	}
	whole := g.How == timeseries.Mean && g.Step%seg.tier.Step == 0
	return r.rows(seg, want, func(i int, start int64, b *block.Block) error {
		of, simple, err := uniform(b, schema.Type)
		if err != nil {
			return err
		}
		if also != nil {
			if err := also(i, b); err != nil {
				return err
			}
		}
		for m := range metrics {
			if r.columns[m] < 0 {
				continue
			}
			if whole && simple {
				if err := r.means(&rows, b, columns[m][2:], parts[(i*metrics+m)*g.Count:(i*metrics+m+1)*g.Count], g, of, seg); err != nil {
					return err
				}
				continue
			}
			if err := r.load(&rows, b, columns[m]); err != nil {
				return err
			}
			out := parts[(i*metrics+m)*g.Count : (i*metrics+m+1)*g.Count]
			var row [cellColumns]float64
			for k, number := range rows.times {
				of, ok := rows.kind(0, k, schema.Type)
				begin := number * seg.tier.Step
				if !ok || begin < seg.after-seg.tier.Step || begin >= seg.through {
					continue
				}
				row[cellFirst], row[cellLast], row[cellSum], row[cellCount], row[cellKnown] = math.NaN(), rows.columns[1][k], rows.columns[2][k], rows.columns[3][k], rows.columns[5][k]
				row[cellValue], row[cellMax], row[cellMin] = rows.columns[4][k], rows.columns[4][k], rows.columns[4][k]
				c := decodeCell(of, row[:])
				if c.known > 0 {
					spread(out, g, &c, of, begin, seg)
				}
			}
		}
		return nil
	})
}

// uniform is the kind of the rows of b, when it is one and the same, of that type, and
// means are kept.
func uniform(b *block.Block, typ timeseries.MetricsType) (kind, bool, error) {
	kinds, err := b.Summary(columnKind)
	if err != nil {
		return kind{}, false, err
	}
	of := decodeKind(kinds.Min)
	return of, kinds.Min == kinds.Max && of.typ == typ && of.step > 0 && !of.last, nil
}

// tierColumn is one column of a block. One whose rows behind the first all have the same
// value, or none, is not decoded.
type tierColumn struct {
	values []float64
	even   bool    // it is not decoded:
	first  float64 // what the first row has
	other  float64 // what all others have
}

func (c *tierColumn) at(k int) float64 {
	switch {
	case !c.even:
		return c.values[k]
	case k == 0:
		return c.first
	default:
		return c.other
	}
}

// read reads column number m of b.
func (c *tierColumn) read(b *block.Block, m int, scratch []int64) (_ []int64, err error) {
	_, c.values, scratch, err = b.ColumnUnless(m, func(s block.Summary) bool {
		c.first, c.other = math.NaN(), math.NaN()
		switch {
		case s.Count == 0:
		case s.Count == b.Rows && s.Min == s.Max:
			c.first, c.other = s.Min, s.Min
		case s.Count == 1 && s.FirstTime == b.First:
			c.first = s.First
		default:
			c.even = false
			return false
		}
		c.even = true
		return true
	}, c.values[:0], scratch)
	return scratch, err
}

// means is what tierPoints does for slots that each lie in one slot of g: columns are
// sum, count, value and known. Most blocks have all their rows, as many points in each,
// and no more than sums: those are all that is decoded then.
func (r *reading) means(t *table, b *block.Block, columns []int, out []timeseries.Part, g timeseries.Grid, of kind, seg segment) (err error) {
	for k, m := range columns {
		if r.scratch, err = t.few[k].read(b, m, r.scratch); err != nil {
			return err
		}
	}
	sums, counts, values, knowns := &t.few[0], &t.few[1], &t.few[2], &t.few[3]
	seconds := of.step / float64(g.RawStep)
	scale, implied := seconds, seconds // of values, and of sums in their place
	switch of.typ {
	case timeseries.Counter:
		scale, implied = 1/float64(g.RawStep), 1/float64(g.RawStep)
	case timeseries.Derivative:
		implied = 1 / float64(g.RawStep)
	}
	length := seg.tier.Step
	low, high := max(seg.after, g.Start), min(seg.through, g.End)
	dense := b.Last-b.First == int64(b.Rows-1)
	// The first row of a block lacks the increment to it in its sum, and so has a value.
	if dense && !sums.even && counts.even && values.even && knowns.even && values.other != values.other {
		row, end := max((low+length-1)/length-b.First, 0), min((high+length-1)/length-b.First, int64(b.Rows))
		for row < end {
			slot := ((b.First+row)*length - g.Start) / g.Step
			until := min((g.Start+(slot+1)*g.Step)/length-b.First, end)
			p := &out[slot]
			if row == 0 {
				if known := knownOf(knowns.first, counts.first); known > 0 {
					if v := values.first; v == v {
						p.Value += v * scale
					} else {
						p.Value += sums.values[0] * implied
					}
					p.Known += known * seconds
				}
				row++
			}
			if known := knownOf(knowns.other, counts.other); known > 0 && row < until {
				value := p.Value
				for _, v := range sums.values[row:until] {
					value += v * implied
				}
				p.Value = value
				p.Known += known * seconds * float64(until-row)
			}
			row = until
		}
		return nil
	}
	if dense {
		t.times = t.times[:0]
		for number := b.First; number <= b.Last; number++ {
			t.times = append(t.times, number)
		}
	} else if t.times, err = b.Times(t.times[:0]); err != nil {
		return err
	}
	slot, slotEnd := int64(-1), int64(math.MinInt64)
	for k, number := range t.times {
		begin := number * length
		if begin < low || begin >= high {
			continue
		}
		known := knownOf(knowns.at(k), counts.at(k))
		if !(known > 0) {
			continue
		}
		if begin >= slotEnd {
			slot = (begin - g.Start) / g.Step
			slotEnd = g.Start + (slot+1)*g.Step
		}
		p := &out[slot]
		if v := values.at(k); v == v {
			p.Value += v * scale
		} else {
			p.Value += sums.at(k) * implied
		}
		p.Known += known * seconds
	}
	return nil
}

// knownOf is how many raw slots are known: as many as there are points when it is not said.
func knownOf(known, count float64) float64 {
	if known != known {
		return count
	}
	return known
}

// spread adds a slot of a tier that begins at begin to the slots of g that it overlaps
// within the segment.
func spread(out []timeseries.Part, g timeseries.Grid, c *cell, of kind, begin int64, seg segment) {
	length := seg.tier.Step
	from, to := max(begin, seg.after, g.Start), min(begin+length, seg.through, g.End)
	for from < to {
		i := (from - g.Start) / g.Step
		until := min(to, g.Start+(i+1)*g.Step)
		out[i].Add(g.How, c.part(of, g.How, float64(until-from)/float64(length), float64(g.RawStep)))
		from = until
	}
}

// rawPoints adds what the points of a segment say about slots of g to parts.
func (r *reading) rawPoints(seg segment, want []int, schema *timeseries.Schema, g timeseries.Grid, parts []timeseries.Part, out []samples) error {
	margin := schema.Margin()
	from, to := r.rawWindow(seg, schema, g)
	for _, i := range want {
		out[i].reset(len(r.columns))
	}
	if err := r.predecessors(seg, want, schema, out); err != nil {
		return err
	}
	for ; schema.Type == timeseries.Counter && from+r.span <= seg.after; from += r.span {
		if err := r.last(from, want, out); err != nil { // all that is needed of a block before the segment
			return err
		}
	}
	if err := r.more(from, to, want, out); err != nil {
		return err
	}
	metrics := len(r.columns)
	var some []timeseries.Part
	for _, i := range want {
		s := &out[i]
		if len(s.times) == 0 {
			continue
		}
		for m := range metrics {
			all := parts[(i*metrics+m)*g.Count : (i*metrics+m+1)*g.Count]
			for at, end := max(seg.after, g.Start), min(seg.through, g.End); at < end; {
				slot := (at - g.Start) / g.Step
				piece := timeseries.Grid{Start: at, Step: g.Step, RawStep: g.RawStep, Count: int((end - at) / g.Step), How: g.How}
				if begin := g.Start + slot*g.Step; begin < at || piece.Count == 0 {
					piece.Step, piece.Count = min(begin+g.Step, end)-at, 1
				}
				piece.End = at + int64(piece.Count)*piece.Step
				near := sort.Search(len(s.times), func(k int) bool { return s.times[k] >= at-margin })
				some = piece.Parts(some[:0], schema, s.times[near:], s.values[m][near:])
				for k, p := range some {
					all[slot+int64(k)].Add(g.How, p)
				}
				at = piece.End
			}
		}
	}
	return nil
}

// rawWindow are the blocks of points that rawPoints reads.
func (r *reading) rawWindow(seg segment, schema *timeseries.Schema, g timeseries.Grid) (from, to int64) {
	margin := schema.Margin()
	return r.window(seg.after-margin-1, min(seg.through, g.End)+margin)
}

// predecessors puts what the slots know of the last point before a segment of
// points into out, when the points before it are gone.
func (r *reading) predecessors(seg segment, want []int, schema *timeseries.Schema, out []samples) error {
	if schema.Type != timeseries.Counter || r.floor == 0 || seg.after != r.floor {
		return nil
	}
	sources := r.forSamples(maxTime)[1:]
	return r.tierSamples(cover(nil, r.floor-schema.Continuous()-1, r.floor-1, sources), want, schema.Type, out)
}

// tierSamples adds the last point of each slot of the segments to out.
func (r *reading) tierSamples(segments []segment, want []int, typ timeseries.MetricsType, out []samples) error {
	var rows table
	columns := []int{columnAge, columnKind}
	for _, metric := range r.columns {
		columns = append(columns, cellsOf(metric, cellLast)...)
	}
	for _, seg := range segments {
		if seg.tier == nil {
			continue
		}
		err := r.rows(seg, want, func(i int, start int64, b *block.Block) error {
			if err := r.load(&rows, b, columns); err != nil {
				return err
			}
			for k, number := range rows.times {
				age := rows.columns[0][k]
				at := (number+1)*seg.tier.Step - int64(age)
				if _, ok := rows.kind(1, k, typ); !ok || age != age || at <= seg.after || at > seg.through {
					continue
				}
				out[i].times = append(out[i].times, at)
				for m := range r.columns {
					out[i].values[m] = append(out[i].values[m], rows.columns[2+m][k])
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tierVolumes adds the slots of a segment to volumes.
func (r *reading) tierVolumes(seg segment, want []int, schema *timeseries.Schema, volumes []volume) error {
	add := r.tierVolume(seg, schema, volumes)
	return r.rows(seg, want, func(i int, _ int64, b *block.Block) error { return add(i, b) })
}

// tierVolume returns what adds the slots of a segment that are in a block of series i to
// volumes. Where a slot lies in the range in part only, all of it counts as of its last point.
func (r *reading) tierVolume(seg segment, schema *timeseries.Schema, volumes []volume) func(i int, b *block.Block) error {
	var rows table
	metrics := len(r.columns)
	columns := []int{columnAge, columnKind}
	for _, metric := range r.columns {
		columns = append(columns, cellsOf(metric, cellFirst, cellLast, cellSum)...)
	}
	return func(i int, b *block.Block) error {
		if b.First*seg.tier.Step >= seg.through {
			return nil
		}
		sums := volumes[i*metrics : (i+1)*metrics]
		if b.First*seg.tier.Step >= seg.after && (b.Last+1)*seg.tier.Step <= seg.through {
			if ok, err := r.summarizeTier(b, schema, sums); ok || err != nil {
				return err
			}
		}
		if err := r.load(&rows, b, columns); err != nil {
			return err
		}
		for k, number := range rows.times {
			age := rows.columns[0][k]
			at := (number+1)*seg.tier.Step - int64(age)
			if _, ok := rows.kind(1, k, schema.Type); !ok || age != age || at > seg.through {
				continue
			}
			for m := range metrics {
				c := rows.columns[2+3*m:]
				if at > seg.after {
					sums[m].slots(schema, c[0][k], c[1][k], c[2][k])
				} else if last := c[1][k]; last == last { // what the next increment begins at
					sums[m].last = last
				}
			}
		}
		return nil
	}
}

// summarizeTier adds all of b by its summaries; false when it has rows of another type.
func (r *reading) summarizeTier(b *block.Block, schema *timeseries.Schema, sums []volume) (bool, error) {
	kinds, err := b.Summary(columnKind)
	if err != nil {
		return false, err
	}
	if kinds.Min != kinds.Max || decodeKind(kinds.Min).typ != schema.Type {
		return false, nil
	}
	var few [3 * 8]block.Summary
	all := few[:0]
	for _, metric := range r.columns {
		for _, column := range [...]int{cellFirst, cellLast, cellSum} {
			if metric >= 0 {
				column = cellColumn(metric, column)
			} else {
				column = -1 // there is none
			}
			s, err := b.Summary(column)
			if err != nil {
				return false, err
			}
			all = append(all, s)
		}
	}
	for m := range r.columns {
		first, last, sum := &all[3*m], &all[3*m+1], &all[3*m+2]
		if last.Count == 0 {
			continue
		}
		value := math.NaN()
		if first.Count > 0 {
			value = first.First
		}
		sums[m].slots(schema, value, last.Last, sum.Sum)
	}
	return true, nil
}

// slots adds one or more slots that follow each other: their first value, when the
// increment to it is not in their sum, their last value, and their sum.
func (a *volume) slots(schema *timeseries.Schema, first, last, sum float64) {
	if last != last {
		return
	}
	if schema.Type == timeseries.Counter && first == first {
		a.join(first)
	}
	a.sum += sum
	a.last = last
}

// before finds for the series in want the last value of each metric up to start, NaN
// where there is none. values has a row of metrics per series of the part.
func (r *reading) before(start int64, want []int, schema *timeseries.Schema, values [][]float64) error {
	return r.groups(want, func(want []int, limit int64) error {
		for _, seg := range backwards(cover(nil, min(r.oldest-r.margin-1, r.floor, start)-1, start, r.forBefore(limit))) {
			var err error
			if want, err = r.beforeIn(seg, want, schema, values); err != nil || len(want) == 0 {
				return err
			}
		}
		return nil
	})
}

// forBefore are the sources of the last value before a time: slots, the shortest
// first, because few blocks cover a long silence, and the points from there on.
func (r *reading) forBefore(limit int64) []source {
	var sources []source
	for i := range r.tiers {
		sources = append(sources, r.slots(i, limit))
	}
	return append(sources, r.points())
}

func backwards(segments []segment) []segment {
	for i, j := 0, len(segments)-1; i < j; i, j = i+1, j-1 {
		segments[i], segments[j] = segments[j], segments[i]
	}
	return segments
}

// beforeIn is before within one segment; it returns the series of which something
// is still missing.
func (r *reading) beforeIn(seg segment, want []int, schema *timeseries.Schema, values [][]float64) ([]int, error) {
	out := make([]samples, len(r.ids))
	span, at := r.span, seg.through
	if seg.tier != nil {
		span, at = seg.tier.Span, seg.through-1
	}
	for ; at >= max(seg.after, r.oldest-r.margin-1, 0) && len(want) > 0; at = at - at%span - 1 {
		begin := at - at%span
		var err error
		for _, i := range want {
			out[i].reset(len(r.columns))
		}
		if seg.tier == nil {
			err = r.more(begin, begin, want, out)
		} else {
			err = r.tierSamples([]segment{{seg.tier, max(seg.after, begin), min(seg.through, begin+span)}}, want, schema.Type, out)
		}
		if err != nil {
			return nil, err
		}
		var missing []int
		for _, i := range want {
			if !out[i].lastUpTo(seg.through, values[i], r.columns) && r.firsts[r.from+i] <= begin {
				missing = append(missing, i)
			}
		}
		want = missing
	}
	return want, nil
}

// lastUpTo fills in the values that are missing with the last ones that are not after
// through, and reports whether none is missing any more.
func (s *samples) lastUpTo(through int64, values []float64, columns []int) bool {
	complete := true
	for m := range columns {
		if columns[m] < 0 || values[m] == values[m] {
			continue
		}
		for at := sort.Search(len(s.times), func(i int) bool { return s.times[i] > through }) - 1; at >= 0; at-- {
			if v := s.values[m][at]; v == v {
				values[m] = v
				break
			}
		}
		complete = complete && values[m] == values[m]
	}
	return complete
}
