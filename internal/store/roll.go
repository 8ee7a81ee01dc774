package store

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weirhq/weir/internal/store/block"
	"github.com/weirhq/weir/timeseries"
)

// roller makes slots of tiers. It serves one goroutine, which holds d.writing.
type roller struct {
	*database
	source  samples // points, or rows of the tier that slots are made of
	target  samples // rows of the block at hand, as stored
	made    samples // the same with the new rows
	encoder block.Encoder
	parts   [3][]timeseries.Part // by mean or last, max, min
	cells   []cell
	have    []bool    // slots of cells in which anything is known
	ends    []int64   // last point in each slot, -1 when there is none
	last    []float64 // per metric
	row     []float64
	columns []int
	scratch []int64
	key     []byte
	data    []byte
}

// getter is what blocks are read from: the database, a batch before it, or what was read ahead.
type getter interface {
	Get(key []byte) ([]byte, io.Closer, error)
}

// ahead holds blocks of a run of series that were read in one go.
type ahead struct {
	getter
	starts map[tierStart]bool // what was read
	values map[blockID][]byte
}

type tierStart struct {
	tier  byte
	start int64
}

type blockID struct {
	tierStart
	series uint64
}

// Get implements getter.
func (a *ahead) Get(key []byte) ([]byte, io.Closer, error) {
	id := blockID{tierStart{key[1], int64(binary.BigEndian.Uint64(key[2:]))}, dataKeySeries(key)}
	if !a.starts[id.tierStart] {
		return a.getter.Get(key)
	}
	value, ok := a.values[id]
	if !ok {
		return nil, nil, pebble.ErrNotFound
	}
	return value, io.NopCloser(nil), nil
}

// readAhead reads the blocks that rolling series, in ascending order, from begin to
// end needs. When a table is damaged, all of them are read one by one.
func (w *roller) readAhead(sh *shape, t *tier, ids []uint64, begin, end int64) (getter, error) {
	a := &ahead{w.pebble, make(map[tierStart]bool), make(map[blockID][]byte)}
	if w.damage.any() || len(ids) == 0 {
		return w.pebble, nil
	}
	it, err := w.pebble.NewIter(within([]byte{keyData}))
	if err != nil {
		return nil, err
	}
	defer it.Close()
	low, high, span := max(begin-sh.margin-1, sh.floor, 0), end+sh.margin, sh.Span
	if t.Source != tierRaw {
		low, high, span = begin, end-1, sh.tier(t.Source).Span
	}
	read := func(tier byte, start int64) {
		a.starts[tierStart{tier, start}] = true
		w.key = appendTierKey(w.key[:0], tier, start, sh.ID, ids[0])
		prefix := string(w.key[:dataKeySize-8])
		for valid := it.SeekGE(w.key); valid && string(it.Key()[:len(prefix)]) == prefix; valid = it.Next() {
			id := dataKeySeries(it.Key())
			if id > ids[len(ids)-1] {
				break
			}
			a.values[blockID{tierStart{tier, start}, id}] = slices.Clone(it.Value())
		}
	}
	for start := low - low%span; start <= high; start += span {
		read(t.Source, start)
	}
	for start := begin - begin%t.Span; start < end; start += t.Span {
		read(t.ID, start)
	}
	if err := it.Error(); pebble.IsCorruptionError(err) {
		return w.pebble, nil
	} else if err != nil {
		return nil, err
	}
	return a, nil
}

// shape is what of a schema a roller works with, as it was under d.mu.
type shape struct {
	*schema
	def     *timeseries.Schema
	kind    kind
	metrics int
	margin  int64
	oldest  int64 // start of the first block of points there ever was
	floor   int64
	tiers   []tier
}

func (d *database) shapeOf(sc *schema) shape {
	d.mu.RLock()
	defer d.mu.RUnlock()
	def := sc.definition()
	return shape{
		schema: sc, def: def, kind: kindOf(sc), metrics: len(sc.Metrics), margin: sc.margin(),
		oldest: sc.Oldest, floor: sc.Floor, tiers: slices.Clone(sc.Tiers),
	}
}

// made reports whether t can be made of its source.
func (sh *shape) made(t *tier) bool { return t.Source != tierRaw || t.Step%sh.def.Step == 0 }

// all are the numbers of the first n columns.
func (w *roller) all(n int) []int {
	for len(w.columns) < n {
		w.columns = append(w.columns, len(w.columns))
	}
	return w.columns[:n]
}

// read adds the block at key to s, nothing when it is not there or cannot be read: a
// reader will set it aside.
func (w *roller) read(from getter, s *samples, columns []int, start int64) error {
	value, closer, err := w.readBlock(from, w.key)
	if err != nil || value == nil {
		return err
	}
	defer closer.Close()
	b, err := block.Parse(value, start)
	if err == nil {
		w.scratch, err = s.addBlock(&b, columns, w.scratch)
	}
	if err != nil {
		w.count.warn("a block cannot be read and is left out of a rollup", "key", w.key, "error", err.Error())
	}
	return nil
}

// roll makes the slots of t that begin in [from, to) of one series anew and puts
// them into batch. It returns where those end that had to be made.
func (w *roller) roll(from getter, batch *pebble.Batch, sh *shape, t *tier, id uint64, begin, end int64) (int64, error) {
	for begin < end { // which may move begin past end
		start := begin - begin%t.Span
		until := min(end, start+t.Span)
		made, err := w.rollBlock(from, batch, sh, t, id, start, begin, until)
		if err != nil {
			return 0, err
		}
		begin = max(until, made)
	}
	return max(begin, end), nil
}

// rollBlock is roll within one block of t. Points that came late change what the
// next point after them is above its predecessor: slots up to that are made too.
func (w *roller) rollBlock(from getter, batch *pebble.Batch, sh *shape, t *tier, id uint64, start, begin, end int64) (int64, error) {
	width := rowColumns + sh.metrics*cellColumns
	w.target.reset(width)
	w.key = appendTierKey(w.key[:0], t.ID, start, sh.ID, id)
	if err := w.read(from, &w.target, w.all(width), start/t.Step); err != nil {
		return 0, err
	}
	before := sort.Search(len(w.target.times), func(i int) bool { return w.target.times[i] >= begin/t.Step })
	if sh.kind.typ == timeseries.Counter {
		end = max(end, w.next(sh, t, end))
	}
	after := sort.Search(len(w.target.times), func(i int) bool { return w.target.times[i] >= end/t.Step })

	w.last = w.last[:0]
	for m := range sh.metrics {
		w.last = append(w.last, math.NaN())
		for i := before - 1; i >= 0 && w.last[m] != w.last[m]; i-- {
			if decodeKind(w.target.values[columnKind][i]).typ == sh.kind.typ {
				w.last[m] = w.target.values[cellColumn(m, cellLast)][i]
			}
		}
	}
	n := int((end - begin) / t.Step)
	w.prepare(n, sh.metrics)
	var err error
	if t.Source == tierRaw {
		err = w.fromPoints(from, sh, t, id, before, begin, end)
	} else {
		err = w.fromTier(from, sh, t, sh.tier(t.Source), id, begin, end)
	}
	if err != nil {
		return 0, err
	}
	w.assemble(sh, t, before, after, begin)
	w.key = appendTierKey(w.key[:0], t.ID, start, sh.ID, id)
	if len(w.made.times) == 0 {
		if len(w.target.times) > 0 {
			return end, batch.Delete(w.key, nil)
		}
		return end, nil
	}
	w.data = w.encoder.Append(w.data[:0], start/t.Step, w.made.times, w.made.values)
	w.count.rolled.Add(1)
	return end, batch.Set(w.key, w.data, nil)
}

func (sh *shape) tier(id byte) *tier { return &sh.tiers[id-1] }

// next is where the first slot from end on ends after which every metric has had a
// point, or the end of the rows there are.
func (w *roller) next(sh *shape, t *tier, end int64) int64 {
	times := w.target.times
	from := sort.Search(len(times), func(i int) bool { return times[i] >= end/t.Step })
	for m := range sh.metrics {
		for i := from; i < len(times); i++ {
			if w.target.values[cellColumn(m, cellCount)][i] > 0 {
				end = max(end, (times[i]+1)*t.Step)
				break
			}
		}
	}
	return min(end, t.limit())
}

// limit is up to where slots are kept in step with their source.
func (t *tier) limit() int64 { return max(t.Rolled, t.rolling) }

// prepare empties n slots.
func (w *roller) prepare(n, metrics int) {
	w.cells, w.have, w.ends = w.cells[:0], w.have[:0], w.ends[:0]
	for range n {
		w.have, w.ends = append(w.have, false), append(w.ends, -1)
	}
	for range n * metrics {
		w.cells = append(w.cells, noCell)
	}
}

// fromPoints makes the slots from begin to end of points. before is the number of
// rows in the target that come before them.
func (w *roller) fromPoints(from getter, sh *shape, t *tier, id uint64, before int, begin, end int64) error {
	n := int((end - begin) / t.Step)
	w.source.reset(sh.metrics)
	after := max(begin-sh.margin-1, sh.floor)
	if begin == sh.floor {
		if err := w.predecessor(from, sh, t, id, before, begin); err != nil {
			return err
		}
	}
	for start := sh.start(max(after, 0)); start <= end+sh.margin; start += sh.Span {
		w.key = appendDataKey(w.key[:0], start, sh.ID, id)
		if err := w.read(from, &w.source, w.all(sh.metrics), start); err != nil {
			return err
		}
	}
	times := w.source.times
	if len(times) == 0 {
		return nil
	}
	g := timeseries.Grid{Start: begin, Step: t.Step, RawStep: sh.def.Step, Count: n, End: end}
	for m := range sh.metrics {
		values := w.source.values[m]
		hows := [3]timeseries.Aggregation{timeseries.Mean, timeseries.Max, timeseries.Min}
		if sh.kind.last {
			hows[0] = timeseries.Last
		}
		for k, how := range hows {
			g.How = how
			w.parts[k] = g.Parts(w.parts[k][:0], sh.def, times, values)
		}
		for i := range n {
			c := &w.cells[i*sh.metrics+m]
			if p := w.parts[0][i]; p.Known > 0 {
				c.known, c.value, c.max, c.min = p.Known*sh.kind.step, p.Value, w.parts[1][i].Value, w.parts[2][i].Value
				if !sh.kind.last {
					c.value *= sh.kind.step
				}
				w.have[i] = true
			}
		}
		for i := sort.Search(len(times), func(i int) bool { return times[i] > begin }); i < len(times) && times[i] <= end; i++ {
			v := values[i]
			if v != v {
				continue
			}
			slot := int((times[i] - begin - 1) / t.Step)
			c := &w.cells[slot*sh.metrics+m]
			switch sh.kind.typ {
			case timeseries.Counter:
				w.lead(c, m, v)
			case timeseries.Derivative:
				c.sum += v * sh.kind.step
			default:
				c.sum += v
			}
			c.last = v
			c.count++
			w.last[m] = v
			w.have[slot], w.ends[slot] = true, max(w.ends[slot], times[i])
		}
	}
	return nil
}

// lead adds to c what v is above the value of the metric before it, if there is one
// in the block.
func (w *roller) lead(c *cell, m int, v float64) {
	if w.last[m] != w.last[m] {
		c.first = v
	} else if v > w.last[m] {
		c.sum += v - w.last[m]
	}
}

// predecessor puts the last point before begin, where points are gone, in front of
// the others: as much of it as t knows. before is the number of rows in the target that come before.
func (w *roller) predecessor(from getter, sh *shape, t *tier, id uint64, before int, begin int64) error {
	rows := &w.target
	if before == 0 && begin%t.Span == 0 && begin > 0 {
		rows = &w.made
		rows.reset(len(w.target.values))
		start := begin - t.Span
		w.key = appendTierKey(w.key[:0], t.ID, start, sh.ID, id)
		if err := w.read(from, rows, w.all(len(rows.values)), start/t.Step); err != nil {
			return err
		}
		before = len(rows.times)
	}
	if before == 0 {
		return nil
	}
	age := rows.values[columnAge][before-1]
	at := (rows.times[before-1]+1)*t.Step - int64(age)
	if age != age || at >= begin { // a point at begin is there
		return nil
	}
	w.source.times = append(w.source.times, at)
	for m := range sh.metrics {
		w.source.values[m] = append(w.source.values[m], rows.values[cellColumn(m, cellLast)][before-1])
	}
	return nil
}

// fromTier makes the slots from begin to end of those of a shorter tier.
func (w *roller) fromTier(from getter, sh *shape, t, source *tier, id uint64, begin, end int64) error {
	width := rowColumns + sh.metrics*cellColumns
	w.source.reset(width)
	for start := begin - begin%source.Span; start < end; start += source.Span {
		w.key = appendTierKey(w.key[:0], source.ID, start, sh.ID, id)
		if err := w.read(from, &w.source, w.all(width), start/source.Step); err != nil {
			return err
		}
	}
	for i, number := range w.source.times {
		at := number * source.Step
		k := decodeKind(w.source.values[columnKind][i])
		if at < begin || at >= end || k.typ != sh.kind.typ || k.last != sh.kind.last {
			continue
		}
		slot := int((at - begin) / t.Step)
		w.have[slot] = true
		if age := w.source.values[columnAge][i]; age == age {
			w.ends[slot] = at + source.Step - int64(age)
		}
		for m := range sh.metrics {
			w.row = w.row[:0]
			for column := range cellColumns {
				w.row = append(w.row, w.source.values[cellColumn(m, column)][i])
			}
			b := decodeCell(k, w.row)
			c := &w.cells[slot*sh.metrics+m]
			if b.first == b.first {
				w.lead(c, m, b.first)
			}
			c.add(k, &b)
			if b.count > 0 {
				w.last[m] = b.last
			}
		}
	}
	return nil
}

// assemble puts the new slots between the rows of the target before and after them.
func (w *roller) assemble(sh *shape, t *tier, before, after int, begin int64) {
	width := len(w.target.values)
	w.made.reset(width)
	w.made.times = append(w.made.times, w.target.times[:before]...)
	for column := range width {
		w.made.values[column] = append(w.made.values[column], w.target.values[column][:before]...)
	}
	code := sh.kind.encode()
	for slot, have := range w.have {
		if !have {
			continue
		}
		number := begin/t.Step + int64(slot)
		w.made.times = append(w.made.times, number)
		age := math.NaN()
		if w.ends[slot] >= 0 {
			age = float64((number+1)*t.Step - w.ends[slot])
		}
		w.made.values[columnAge] = append(w.made.values[columnAge], age)
		w.made.values[columnKind] = append(w.made.values[columnKind], code)
		for m := range sh.metrics {
			w.row = append(w.row[:0], make([]float64, cellColumns)...)
			w.cells[slot*sh.metrics+m].encode(sh.kind, w.row)
			for column, v := range w.row {
				at := cellColumn(m, column)
				w.made.values[at] = append(w.made.values[at], v)
			}
		}
	}
	w.made.times = append(w.made.times, w.target.times[after:]...)
	for column := range width {
		w.made.values[column] = append(w.made.values[column], w.target.values[column][after:]...)
	}
}

// again makes the slots anew that points with times from first to last reach into,
// in all tiers. The blocks of the points are in batch, or in the database behind it.
func (w *roller) again(batch *pebble.Batch, sh *shape, id uint64, first, last int64) error {
	type span struct{ from, to int64 }
	changed := make([]span, len(sh.tiers)+1)
	changed[tierRaw] = span{first - sh.margin, last + sh.margin}
	for i := range sh.tiers {
		t := &sh.tiers[i]
		c := changed[t.Source]
		if c.from >= c.to || !sh.made(t) {
			continue
		}
		known := sh.floor
		if t.Source != tierRaw {
			known = sh.tier(t.Source).From
		}
		known = (max(known, t.From) + t.Step - 1) / t.Step * t.Step
		from := max(max(c.from-1, 0)/t.Step*t.Step, known)
		to := min((c.to+t.Step-1)/t.Step*t.Step, t.limit())
		if from >= to {
			continue
		}
		to, err := w.roll(batch, batch, sh, t, id, from, to)
		if err != nil {
			return err
		}
		changed[t.ID] = span{from + 1, to}
	}
	return nil
}

// rollDue makes the slots that are complete, of all schemas.
func (d *database) rollDue(ctx context.Context) error {
	d.rolling.Lock()
	defer d.rolling.Unlock()
	d.mu.RLock()
	schemas := make([]*schema, 0, len(d.schemas))
	for _, sc := range d.schemas {
		if len(sc.Tiers) > 0 {
			schemas = append(schemas, sc)
		}
	}
	d.mu.RUnlock()
	for _, sc := range schemas {
		sh := d.shapeOf(sc)
		for i := range sh.tiers {
			d.mu.RLock()
			limit := min(sc.Last, d.clock) - sh.margin - sc.Span // complete, and one block more has begun
			if source := sc.Tiers[i].Source; source != tierRaw {
				limit = sc.tier(source).Rolled
			}
			d.mu.RUnlock()
			if err := d.rollTier(ctx, sc, i, limit); err != nil {
				return err
			}
		}
	}
	return nil
}

// rollTier makes the slots of a tier that end by limit.
func (d *database) rollTier(ctx context.Context, sc *schema, i int, limit int64) error {
	for {
		sh := d.shapeOf(sc)
		t := &sh.tiers[i]
		if !sh.made(t) {
			return nil
		}
		begin := max(t.Rolled, t.From)
		if t.Rolled == 0 {
			oldest := max(sh.oldest-sh.margin-1, 0)
			begin = max(t.From, oldest-oldest%t.Span)
		}
		step := t.Step
		if t.Source == tierRaw {
			step = max(step, sh.Span) // read each block of points once
		}
		end := min(limit-limit%step, begin-begin%t.Span+t.Span)
		if end <= begin {
			return nil
		}
		if err := d.rollSpan(ctx, sc, i, begin, end); err != nil {
			return err
		}
	}
}

// rollSpan makes the slots of a tier that begin in [begin, end), of all series.
func (d *database) rollSpan(ctx context.Context, sc *schema, i int, begin, end int64) error {
	d.mu.Lock()
	sc.Tiers[i].rolling = end
	d.mu.Unlock()
	sh := d.shapeOf(sc)
	w := roller{database: d}
	for next := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if next, err = d.rollPart(&w, &sh, i, begin, end, next); err != nil {
			return err
		}
		if next == 0 {
			break
		}
	}
	d.mu.Lock()
	sc.Tiers[i].Rolled, sc.Tiers[i].rolling = end, 0
	d.group().set(schemaKey(sc.ID), sc.encode())
	d.mu.Unlock()
	d.wakeCommitter()
	return d.barrier()
}

// rollPart is rollSpan for a few series, no longer than appends can wait.
func (d *database) rollPart(w *roller, sh *shape, i int, begin, end int64, id uint64) (next uint64, err error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	m, err := d.match(sh.schema, nil, id)
	if err != nil {
		return 0, err
	}
	var ids []uint64
	looked := 0
	for looked < partSize && m.step() {
		looked++
		if m.first < end+sh.margin {
			ids = append(ids, m.id)
		}
	}
	next, err = m.next, m.err
	m.close()
	if err != nil {
		return 0, err
	}
	if looked < partSize {
		next = 0
	}
	from, err := w.readAhead(sh, &sh.tiers[i], ids, begin, end)
	if err != nil {
		return 0, err
	}
	batch := d.pebble.NewBatch()
	for _, id := range ids {
		if _, err := w.roll(from, batch, sh, &sh.tiers[i], id, begin, end); err != nil {
			return 0, err
		}
	}
	if err := d.apply(batch, false); err != nil {
		return 0, err
	}
	return next, batch.Close()
}
