package countergroup

import (
	"math"
	"sync"
	"sync/atomic"
	"unsafe"
)

// shard holds a part of the keys of every group.
type shard struct {
	mu     sync.Mutex
	now    uint32 // Unix seconds: when the running second began
	tables []*table
	_      [64]byte // keeps the next shard's fields out of this one's cache lines
}

// Rows a key may have at a time.
const (
	ofBucket = iota
	ofSecond
	spans
)

// table holds the keys of one group that are in one shard. The engine changes it with the shard's lock held, or with the
// gate closed, which keeps all producers out.
type table struct {
	state *groupState

	slots   []uint64  // open addressing: the upper half of the hash, and the entry's number + 1; 0 is free
	entries []*block  // the keys
	keeps   []float64 // as layout.kept says, by entry
	used    uint32    // entries that were ever given out
	free    []uint32  // entries to give out again
	n       int       // keys
	known   uint32    // entry.known of keys that are not new

	live  [spans]slab
	mark  [spans]uint32 // entry.mark of those that have a row in live
	idle  [spans]slab   // empty, to become live at the next cut
	spare [][]float64   // pieces for live
	held  int           // pieces of the last bucket

	updates, newKeys bool     // who watches, for the running second
	fresh            []uint32 // new keys of the running second: their row of the second, or their entry when only new keys are watched

	refused []float64 // the sum of what keys brought for which there was no room, nil for nothing

	toppers toppers // belongs to the ticking goroutine
}

const blockEntries = 128

type block [blockEntries]entry

// entry is one key.
type entry struct {
	key   string
	hash  uint64
	seen  uint32 // Unix seconds of the last update
	known uint32
	row   [spans]uint32
	mark  [spans]uint32
}

func (t *table) entry(i uint32) *entry { return &t.entries[i/blockEntries][i%blockEntries] }

// find returns the entry of key, ^0 when there is none.
func (t *table) find(hash uint64, key []byte) uint32 {
	if t.n == 0 {
		return math.MaxUint32
	}
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		slot := t.slots[i]
		if slot == 0 {
			return math.MaxUint32
		}
		if uint32(slot>>32) == uint32(hash>>32) {
			number := uint32(slot) - 1
			if t.entry(number).key == unsafe.String(unsafe.SliceData(key), len(key)) {
				return number
			}
		}
	}
}

// insert gives key an entry; the caller has made sure that it has none.
func (t *table) insert(hash uint64, key []byte) uint32 {
	if (t.n+1)*4 > len(t.slots)*3 {
		t.rehash(max(2*len(t.slots), 16))
	}
	number := t.used
	if n := len(t.free); n > 0 {
		number = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		if t.used%blockEntries == 0 {
			t.entries = append(t.entries, new(block))
		}
		t.used++
		t.keeps = append(t.keeps, t.state.group.rows.fresh...)
	}
	*t.entry(number) = entry{key: string(key), hash: hash}
	copy(t.keep(number), t.state.group.rows.fresh)
	t.n++
	t.place(hash, number)
	return number
}

func (t *table) keep(number uint32) []float64 {
	n := t.state.group.rows.kept
	return t.keeps[int(number)*n : int(number)*n+n]
}

func (t *table) place(hash uint64, number uint32) {
	mask := uint64(len(t.slots) - 1)
	i := hash & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = hash>>32<<32 | uint64(number+1)
}

// rehash builds the slots anew.
func (t *table) rehash(size int) {
	if size == len(t.slots) {
		clear(t.slots)
	} else {
		t.slots = make([]uint64, size)
	}
	for i := range t.used {
		if e := t.entry(i); e.key != "" {
			t.place(e.hash, i)
		}
	}
}

// losses are values that were not taken in.
type losses struct {
	noRoom int // for their keys
	gone   int // the group was taken away
}

// apply takes in the updates of a part of a batch. Callers hold mu.
func (s *shard) apply(p *part, lost *losses) {
	key, value := 0, 0
	for i := range p.ops {
		o := &p.ops[i]
		name := p.keys[key : key+int(o.key)]
		meters, values := p.meters[value:value+int(o.values)], p.values[value:value+int(o.values)]
		key, value = key+int(o.key), value+int(o.values)
		if o.group.ended {
			lost.gone += len(values)
			continue
		}
		if !s.table(o.group).add(s.now, o.hash, name, meters, values) {
			lost.noRoom += len(values)
			o.group.refused.Add(int64(len(values)))
		}
	}
}

func (s *shard) table(g *groupState) *table {
	if i := g.group.index; i < len(s.tables) && s.tables[i] != nil {
		return s.tables[i]
	}
	return s.newTable(g)
}

func (s *shard) newTable(g *groupState) *table {
	for len(s.tables) <= g.group.index {
		s.tables = append(s.tables, nil)
	}
	t := &table{state: g, known: 1, mark: [spans]uint32{1, 1}}
	t.updates, t.newKeys = g.updates, g.newKeys
	s.tables[g.group.index] = t
	return t
}

// add counts values of one key; false when there is no room for the key.
func (t *table) add(now uint32, hash uint64, key []byte, meters []uint8, values []float64) bool {
	l := &t.state.group.rows
	number := t.find(hash, key)
	if number == math.MaxUint32 {
		if t.state.keys.Add(1) > int64(t.state.ceiling) {
			t.state.keys.Add(-1)
			t.refuse(meters, values)
			return false
		}
		number = t.insert(hash, key)
		t.state.created.Add(1)
	}
	e := t.entry(number)
	isNew := e.known != t.known || now-e.seen > t.state.horizon && now > e.seen
	e.seen, e.known = now, t.known
	keep := t.keep(number)
	bucket := t.row(ofBucket, number, e, keep)
	var second []float64
	if t.updates {
		second = t.row(ofSecond, number, e, keep)
	}
	if isNew && t.newKeys {
		if t.updates {
			t.fresh = append(t.fresh, e.row[ofSecond])
		} else {
			t.fresh = append(t.fresh, number)
		}
	}
	for i, m := range meters {
		v := l.keep(keep, int(m), values[i])
		l.update(bucket, int(m), v)
		if second != nil {
			l.update(second, int(m), v)
		}
	}
	return true
}

// row returns the key's row of the running bucket or second.
func (t *table) row(span int, number uint32, e *entry, keep []float64) []float64 {
	l := &t.state.group.rows
	if e.mark[span] == t.mark[span] {
		return t.live[span].row(e.row[span], l.width)
	}
	e.mark[span] = t.mark[span]
	e.row[span] = t.live[span].add(number, l.width, &t.spare)
	row := t.live[span].row(e.row[span], l.width)
	l.begin(row, keep, span == ofSecond)
	return row
}

// refuse adds to the totals only. Sums, means and extremes stay exact so; the last value of
// a gauge and the growth of an absolute counter cannot be had without the key, and are left out.
func (t *table) refuse(meters []uint8, values []float64) {
	l := &t.state.group.rows
	if t.refused == nil {
		t.refused = append([]float64(nil), l.empty...)
	}
	for i, m := range meters {
		switch l.types[m] {
		case Gauge, DeltaRate:
		case Running:
			t.refused[m] += values[i]
		default:
			l.update(t.refused, int(m), values[i])
		}
	}
}

// groupState is what an engine knows of a group.
type groupState struct {
	group          *Group
	bucket, topper int64 // seconds, after rounding
	high, low      int
	ceiling        int    // keys above which no new one is taken in before the next flush
	horizon        uint32 // seconds without an update after which a key is new again
	keys           atomic.Int64
	created        atomic.Int64 // keys ever taken in
	pruned         atomic.Int64 // keys forgotten
	refused        atomic.Int64 // values that found no room
	watchers       [2]atomic.Int32
	updates        bool // as of the running second; changed with the gate closed
	newKeys        bool
	ended          bool      // the group was taken away and its last bucket cut off; changed with the gate closed
	topperLost     []float64 // what keys without a topper row had in the running topper bucket; nil for nothing
}
