package countergroup

import (
	"cmp"
	"math"
	"slices"
)

// toppers adds up the buckets of one topper bucket, for the keys of one table. All of it belongs to the ticking goroutine.
type toppers struct {
	rowOf []uint32 // by entry: its row in rows + 1, 0 for none
	rows  slab
	free  []uint32 // rows of keys that were forgotten, to use again
	spare [][]float64
}

const nobody = math.MaxUint32 // the owner of a free row

// follow adds the row of a bucket.
func (x *toppers) follow(l *layout, number uint32, row []float64) {
	for uint32(len(x.rowOf)) <= number {
		x.rowOf = append(x.rowOf, 0)
	}
	at := x.rowOf[number]
	if at == 0 {
		if n := len(x.free); n > 0 {
			at = x.free[n-1]
			x.free = x.free[:n-1]
			x.rows.owners[at] = number
		} else {
			at = x.rows.add(number, l.width, &x.spare)
		}
		copy(x.rows.row(at, l.width), l.empty)
		at++
		x.rowOf[number] = at
	}
	l.follow(x.rows.row(at-1, l.width), row)
}

// forget frees the row of an entry and returns what it held, nil for nothing.
func (x *toppers) forget(l *layout, number uint32) []float64 {
	if number >= uint32(len(x.rowOf)) || x.rowOf[number] == 0 {
		return nil
	}
	at := x.rowOf[number] - 1
	x.rowOf[number] = 0
	x.rows.owners[at] = nobody
	x.free = append(x.free, at)
	return x.rows.row(at, l.width)
}

// reset begins the next topper bucket.
func (x *toppers) reset() {
	for _, number := range x.rows.owners {
		if number != nobody {
			x.rowOf[number] = 0
		}
	}
	x.rows.release(&x.spare, len(x.rows.pieces))
	x.free = x.free[:0]
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
	var lists []Toppers
	var best []leaders
	for m, meter := range g.Meters {
		if meter.Top > 0 {
			lists = append(lists, Toppers{Group: g, Meter: m, Start: (t - 1) / c.state.topper * c.state.topper, End: t, Seconds: c.state.topper})
			best = append(best, leaders{n: meter.Top})
		}
	}
	if len(lists) == 0 {
		return nil
	}
	seconds := float64(c.state.topper)
	totals := slices.Clone(l.empty)
	if c.state.topperLost != nil {
		l.join(totals, c.state.topperLost)
		c.state.topperLost = nil
	}
	for i := range c.tables {
		part := &c.tables[i]
		x := &part.table.toppers
		for at, number := range x.rows.owners {
			if number == nobody {
				continue
			}
			row := x.rows.row(uint32(at), l.width)
			l.join(totals, row)
			for j := range best {
				if m := lists[j].Meter; l.touched(row, m) {
					if v := l.value(row, m, seconds); v >= best[j].least() {
						best[j].offer(Item{Key: part.key(number), Value: v})
					}
				}
			}
		}
		x.reset()
	}
	for j := range lists {
		if items := best[j].list(); len(items) > 0 {
			lists[j].Items = append(items, Item{Key: TotalsKey, Value: l.value(totals, lists[j].Meter, seconds)})
		}
	}
	return lists
}
