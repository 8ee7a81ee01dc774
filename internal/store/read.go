package store

import (
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weirhq/weir/internal/store/block"
	"github.com/weirhq/weir/timeseries"
)

// partSize is how many series are read at a time: their samples are in memory together.
const partSize = 512

// fewSeries is up to how many series are looked up one by one rather than by
// going over all blocks of their schema.
const fewSeries = 8

// reading reads the samples of a run of series. Rows in memory are looked at
// first and blocks then: a row that a checkpoint moves meanwhile is seen twice
// rather than not at all.
type reading struct {
	*database
	part
	ids  []uint64
	open []openRows
	it   *pebble.Iterator

	// As the schema was when the reading began:
	tiers  []tier
	floor  int64
	margin int64
	typ    timeseries.MetricsType
	cuts   int
	limits []int64 // per series, slots that begin from it on have points in memory that they do not tell of; nil: none has

	block   block.Block // the one of a tier that is looked at
	scratch []int64
	key     []byte
	all     []int // 0, 1, 2, ...
}

// openRows are the rows in memory of one series in one block.
type openRows struct {
	index int // of the series in the part
	block openBlock
}

// read has do read the series of p. When something was deleted meanwhile because it
// was old, do is called again, and has to begin anew.
func (d *database) read(p part, do func(*reading) error) error {
	for {
		r := d.newReading(p)
		err := do(r)
		if closing := r.close(); err == nil {
			err = closing
		}
		d.mu.RLock()
		cut := p.schema.cuts != r.cuts
		d.mu.RUnlock()
		if err != nil || !cut {
			return err
		}
	}
}

// newReading begins to read p. It has to be closed.
func (d *database) newReading(p part) *reading {
	r := &reading{database: d, part: p, ids: p.ids()}
	for i := range r.ids {
		r.all = append(r.all, i)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	r.tiers, r.floor, r.margin, r.typ, r.cuts = slices.Clone(p.schema.Tiers), p.schema.Floor, p.schema.margin(), p.schema.Type, p.schema.cuts
	if len(d.dictionary.unsaved) == 0 {
		return r
	}
	late := p.schema.late()
	for i, id := range r.ids {
		s := d.dictionary.unsaved[id]
		if s == nil {
			continue
		}
		for _, b := range s.sealed { // older than those in open
			r.open = append(r.open, openRows{i, b})
		}
		for _, b := range s.open {
			r.open = append(r.open, openRows{i, b})
		}
		for k := len(r.open) - 1; k >= 0 && r.open[k].index == i; k-- {
			if b := &r.open[k].block; b.start < late {
				if first, _ := b.bounds(); first < late {
					r.limit(i, first-r.margin)
				}
			}
		}
	}
	return r
}

// limit lowers the limit of series i to at.
func (r *reading) limit(i int, at int64) {
	if r.limits == nil {
		r.limits = make([]int64, len(r.ids))
		for k := range r.limits {
			r.limits[k] = maxTime
		}
	}
	r.limits[i] = min(r.limits[i], max(at-1, r.floor, 0)) // what is not above the floor is not made anew either
}

func (r *reading) close() error {
	if r.it == nil {
		return nil
	}
	return r.it.Close()
}

// blocks calls do for the blocks that start at start of the series in want, which
// are indexes in the part in ascending order. data is valid during the call.
func (r *reading) blocks(start int64, want []int, do func(i int, data []byte) error) error {
	return r.tierBlocks(tierRaw, start, want, do)
}

// tierBlocks is blocks in a tier.
func (r *reading) tierBlocks(tier byte, start int64, want []int, do func(i int, data []byte) error) error {
	if start < 0 || len(want) == 0 {
		return nil
	}
	if len(want) <= fewSeries || r.damage.any() {
		return r.each(tier, start, want, do)
	}
	if r.it == nil {
		it, err := r.pebble.NewIter(within([]byte{keyData}))
		if err != nil {
			return err
		}
		r.it = it
	}
	r.key = appendTierKey(r.key[:0], tier, start, r.schema.ID, r.ids[want[0]])
	prefix := dataKeySize - 8
	valid := r.it.SeekGE(r.key)
	for valid && len(want) > 0 {
		key := r.it.Key()
		if string(key[:prefix]) != string(r.key[:prefix]) {
			break
		}
		id := dataKeySeries(key)
		for len(want) > 0 && r.ids[want[0]] < id {
			want = want[1:]
		}
		if len(want) == 0 {
			break
		}
		if r.ids[want[0]] == id {
			value, err := r.it.ValueAndErr()
			if err != nil {
				break // Error has it too
			}
			if err := do(want[0], value); err != nil {
				return err
			}
			want = want[1:]
			if len(want) == 0 {
				break
			}
		}
		if r.ids[want[0]] <= id+16 {
			valid = r.it.Next()
		} else {
			r.key = appendTierKey(r.key[:0], tier, start, r.schema.ID, r.ids[want[0]])
			valid = r.it.SeekGE(r.key)
		}
	}
	err := r.it.Error()
	if !pebble.IsCorruptionError(err) {
		return err
	}
	// A part of a table is damaged: ask one by one for what is left.
	r.it.Close()
	r.it = nil
	return r.each(tier, start, want, do)
}

// each is blocks one by one. What lies in a damaged part of a table is left out.
func (r *reading) each(tier byte, start int64, want []int, do func(i int, data []byte) error) error {
	for _, i := range want {
		if tier == tierRaw && start < r.firsts[r.from+i] {
			continue
		}
		r.key = appendTierKey(r.key[:0], tier, start, r.schema.ID, r.ids[i])
		value, closer, err := r.readBlock(r.pebble, r.key)
		if err != nil {
			return err
		}
		if value == nil {
			continue
		}
		err = do(i, value)
		closer.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// samples reads the blocks that start from from to to, both included, into out,
// which has an element for each series of the part. Only series in want are read.
func (r *reading) samples(from, to int64, want []int, out []samples) error {
	for _, i := range want {
		out[i].reset(len(r.columns))
	}
	return r.more(from, to, want, out)
}

// more is samples behind what out holds.
func (r *reading) more(from, to int64, want []int, out []samples) error {
	for start := from; start <= to; start += r.span {
		for _, i := range want {
			out[i].begin()
		}
		err := r.blocks(start, want, func(i int, data []byte) error {
			b, err := block.Parse(data, start)
			if err == nil {
				r.scratch, err = out[i].addBlock(&b, r.columns, r.scratch)
			}
			if err != nil {
				r.damaged(appendDataKey(nil, start, r.schema.ID, r.ids[i]), append([]byte(nil), data...), err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		r.addOpen(start, want, out)
	}
	return nil
}

// last is more for one block of which the last row is enough: where its summaries say
// what that is, nothing is decoded.
func (r *reading) last(start int64, want []int, out []samples) error {
	if slices.ContainsFunc(r.open, func(o openRows) bool { return o.block.start == start }) {
		return r.more(start, start, want, out)
	}
	return r.blocks(start, want, func(i int, data []byte) error {
		b, err := block.Parse(data, start)
		if err == nil {
			out[i].begin()
			var complete bool
			if complete, err = out[i].addLast(&b, r.columns); err == nil && !complete {
				r.scratch, err = out[i].addBlock(&b, r.columns, r.scratch)
			}
		}
		if err != nil {
			r.damaged(appendDataKey(nil, start, r.schema.ID, r.ids[i]), append([]byte(nil), data...), err)
		}
		return nil
	})
}

// addOpen adds the rows in memory of the block that starts at start.
func (r *reading) addOpen(start int64, want []int, out []samples) {
	if len(r.open) == 0 {
		return
	}
	next := 0
	for k := range r.open {
		rows := &r.open[k]
		for next < len(want) && want[next] < rows.index {
			next++
		}
		if next == len(want) {
			break
		}
		if rows.block.start == start && want[next] == rows.index {
			out[rows.index].addOpen(&rows.block, r.columns)
		}
	}
	for _, i := range want {
		out[i].settle()
	}
}

// window turns a range of times, after < t <= through, into the starts of its
// first and last block of points, cut to where the selection can have any.
func (r *reading) window(after, through int64) (from, to int64) {
	from = max(after+1, 0)
	from -= from % r.span
	to = max(through, -1)
	if to >= 0 {
		to -= to % r.span
	}
	return max(from, r.low, r.oldest, r.floor), min(to, r.high)
}
