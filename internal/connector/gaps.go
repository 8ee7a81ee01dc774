package connector

import "sync"

// gaps are events that the script does not get, or not again, because the stream
// dropped them. They count as discarded when the script has acknowledged an event
// behind them.
type gaps struct {
	mu   sync.Mutex
	list [][2]uint64 // number of the first and of the last event; apart from each other
}

// add adds the events first to last, if there are any.
func (g *gaps) add(first, last uint64) {
	if first > last {
		return
	}
	g.mu.Lock()
	g.list = append(g.list, [2]uint64{first, last})
	g.mu.Unlock()
}

// take forgets the events up to through and returns how many they were.
func (g *gaps) take(through uint64) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	rest := g.list[:0]
	for _, gap := range g.list {
		if last := min(gap[1], through); gap[0] <= last {
			n += int(last - gap[0] + 1)
			gap[0] = last + 1
		}
		if gap[0] <= gap[1] {
			rest = append(rest, gap)
		}
	}
	g.list = rest
	return n
}
