package countergroup

import (
	"cmp"
	"math"
	"slices"
)

// toppers adds up the buckets of one topper bucket, for the keys of one table. All of it belongs to the ticking goroutine.
// Only what lists need is kept: of a piece of rows those columns that a key brought something for. In most groups
// most meters of a key are 0.
type toppers struct {
	rowOf  []uint32      // by entry: its row + 1, 0 for none
	owners []uint32      // by row: the entry it belongs to
	free   []uint32      // rows of keys that were forgotten, to use again
	pieces [][][]float64 // by column, as of layout, and piece; nil for a piece in which no row has anything
	spare  [][]float64   // pieces to use
}

const (
	nobody    = math.MaxUint32 // the owner of a free row
	pieceKeys = 128
)

// cell returns where column c of a row is, nil when nothing is there.
func (x *toppers) cell(c int, at uint32) *float64 {
	if piece := x.pieces[c][at/pieceKeys]; piece != nil {
		return &piece[at%pieceKeys]
	}
	return nil
}

// make puts a piece there.
func (x *toppers) make(l *layout, c int, at uint32) *float64 {
	if len(x.spare) == 0 {
		room := make([]float64, pieceKeys)
		x.spare = append(x.spare, room)
	}
	piece := x.spare[len(x.spare)-1]
	x.spare = x.spare[:len(x.spare)-1]
	for i := range piece {
		piece[i] = l.empty[c]
	}
	x.pieces[c][at/pieceKeys] = piece
	return &piece[at%pieceKeys]
}

// row gives an entry a row.
func (x *toppers) row(l *layout, number uint32) (at uint32) {
	if n := len(x.free); n > 0 {
		at = x.free[n-1]
		x.free = x.free[:n-1]
		x.owners[at] = number
		for c := range x.pieces {
			if cell := x.cell(c, at); cell != nil {
				*cell = l.empty[c]
			}
		}
		return at
	}
	at = uint32(len(x.owners))
	x.owners = append(x.owners, number)
	if at%pieceKeys == 0 {
		if x.pieces == nil {
			x.pieces = make([][][]float64, l.width)
		}
		for c := range x.pieces {
			x.pieces[c] = append(x.pieces[c], nil)
		}
	}
	return at
}

// follow adds the row of a bucket. listed are the columns that lists need.
func (x *toppers) follow(l *layout, listed []int, number uint32, row []float64) {
	if n := int(number) + 1; n > len(x.rowOf) {
		x.rowOf = slices.Grow(x.rowOf, n-len(x.rowOf))[:n]
	}
	at := x.rowOf[number]
	if at == 0 {
		at = x.row(l, number) + 1
		x.rowOf[number] = at
	}
	at--
	for _, c := range listed {
		cell := x.cell(c, at)
		if cell == nil {
			if v := row[c]; v == l.empty[c] || math.IsNaN(v) {
				continue
			}
			cell = x.make(l, c, at)
		}
		l.followColumn(cell, row[c], c)
	}
}

// load makes a row of what is there.
func (x *toppers) load(l *layout, dst []float64, at uint32) []float64 {
	copy(dst, l.empty)
	for c := range x.pieces {
		if cell := x.cell(c, at); cell != nil {
			dst[c] = *cell
		}
	}
	return dst
}

// forget frees the row of an entry and returns what it held, nil for nothing.
func (x *toppers) forget(l *layout, number uint32) []float64 {
	if number >= uint32(len(x.rowOf)) || x.rowOf[number] == 0 {
		return nil
	}
	at := x.rowOf[number] - 1
	x.rowOf[number] = 0
	x.owners[at] = nobody
	x.free = append(x.free, at)
	return x.load(l, make([]float64, l.width), at)
}

// reset begins the next topper bucket. Pieces that were not needed in this one are let go.
func (x *toppers) reset() {
	clear(x.rowOf)
	x.spare = x.spare[:0]
	for c, pieces := range x.pieces {
		for i, piece := range pieces {
			if piece != nil {
				x.spare = append(x.spare, piece)
			}
			pieces[i] = nil
		}
		x.pieces[c] = pieces[:0]
	}
	clear(x.spare[len(x.spare):cap(x.spare)])
	x.owners, x.free = x.owners[:0], x.free[:0]
}

// leaders holds the n largest items seen, the least of them first, as a heap.
type leaders struct {
	n     int
	items []Item
}

// behind reports whether a comes after b on a list: its value is smaller, or its key greater.
func behind(a, b Item) bool {
	if a.Value != b.Value {
		return a.Value < b.Value
	}
	return a.Key > b.Key
}

// least is the value below which offering is of no use.
func (l *leaders) least() float64 {
	if len(l.items) < l.n {
		return math.Inf(-1)
	}
	return l.items[0].Value
}

func (l *leaders) offer(item Item) {
	if len(l.items) < l.n {
		l.items = append(l.items, item)
		for i := len(l.items) - 1; i > 0; {
			parent := (i - 1) / 2
			if !behind(l.items[i], l.items[parent]) {
				return
			}
			l.items[i], l.items[parent] = l.items[parent], l.items[i]
			i = parent
		}
		return
	}
	if !behind(l.items[0], item) {
		return
	}
	l.items[0] = item
	for i := 0; ; {
		child := 2*i + 1
		if child >= l.n {
			return
		}
		if child+1 < l.n && behind(l.items[child+1], l.items[child]) {
			child++
		}
		if !behind(l.items[child], l.items[i]) {
			return
		}
		l.items[i], l.items[child] = l.items[child], l.items[i]
		i = child
	}
}

// list returns the items in order.
func (l *leaders) list() []Item {
	slices.SortFunc(l.items, func(a, b Item) int {
		if a.Value != b.Value {
			return cmp.Compare(b.Value, a.Value)
		}
		return cmp.Compare(a.Key, b.Key)
	})
	return l.items
}

// topperLists makes the lists of all meters of a group, in the order of the meters, and begins its next topper bucket.
func (e *Engine) topperLists(c *groupCut, t int64) []Toppers {
	g, l := c.state.group, &c.state.group.rows
	var meters []int
	var best []leaders
	for m, meter := range g.Meters {
		if meter.Top > 0 {
			meters = append(meters, m)
			best = append(best, leaders{n: meter.Top})
		}
	}
	if len(meters) == 0 {
		return nil
	}
	seconds := float64(c.state.topper)
	totals := make([][]float64, e.Engines())
	for engine := range totals {
		totals[engine] = slices.Clone(l.empty)
	}
	if c.state.topperLost != nil { // of no key
		l.join(totals[0], c.state.topperLost)
		c.state.topperLost = nil
	}
	row := make([]float64, l.width)
	for i := range c.tables {
		part := &c.tables[i]
		x := &part.table.toppers
		for at, number := range x.owners {
			if number == nobody {
				continue
			}
			x.load(l, row, uint32(at))
			key := part.key(number)
			l.join(totals[e.EngineOf(g, key)], row)
			for j, m := range meters {
				if l.touched(row, m) {
					if v := l.value(row, m, seconds); v >= best[j].least() {
						best[j].offer(Item{Key: key, Value: v})
					}
				}
			}
		}
		x.reset()
	}
	var whole []float64
	if e.Engines() > 1 {
		whole = slices.Clone(l.empty)
		for _, some := range totals {
			l.join(whole, some)
		}
	}
	var lists []Toppers
	for j, m := range meters {
		list := func(engine int, items []Item, totals []float64, some bool) {
			if some {
				items = append(items, Item{Key: TotalsKey, Value: l.value(totals, m, seconds)})
			}
			lists = append(lists, Toppers{
				Group: g, Meter: m, Engine: engine, Engines: e.Engines(), Start: (t - 1) / c.state.topper * c.state.topper, End: t, Seconds: c.state.topper, Items: items,
			})
		}
		all := best[j].list()
		if whole == nil {
			list(0, all, totals[0], len(all) > 0)
			continue
		}
		for engine := range totals {
			own := slices.DeleteFunc(slices.Clone(all), func(i Item) bool { return e.EngineOf(g, i.Key) != engine })
			list(engine, own, totals[engine], len(own) > 0)
		}
		if len(all) > 0 {
			list(WholeGroup, nil, whole, true)
		}
	}
	return lists
}
