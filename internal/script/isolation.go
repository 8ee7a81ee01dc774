package script

// Isolation finds the item that ends its script. A contract that numbers what
// it feeds, and feeds it again after a restart, asks how much it may send at once,
// and tells what came of it. After a number of deaths over the same items it
// halves what is sent, until a single item is left.
//
// The zero Isolation never isolates; set Deaths. It is for one goroutine.
type Isolation struct {
	Deaths int // over the same items, before they are sent in smaller parts; 0 for never

	low, high uint64 // the items that are suspected: low <= item < high; none when equal
	deaths    int
}

// Limit returns how many of the max items from first on may be sent at once.
func (i *Isolation) Limit(first uint64, max int) int {
	switch {
	case !i.Isolating() || first >= i.high || max <= 1:
		return max
	case first < i.low:
		return int(min(uint64(max), i.low-first)) // not together with the suspects
	}
	return int(min(uint64(max), (i.high-first+1)/2))
}

// Isolating reports whether single items are being looked for: then restarts need not wait long.
func (i *Isolation) Isolating() bool { return i.low < i.high && i.Deaths > 0 && i.deaths >= i.Deaths }

// Died notes that the script's process died while it worked on count items from
// first on. It reports whether first is the item that does it, which is then to
// be set aside: the next item is no longer suspected.
func (i *Isolation) Died(first uint64, count int) (found bool) {
	low, high := max(i.low, first), min(i.high, first+uint64(count))
	if low >= high { // nothing in common with the deaths before
		low, high, i.deaths = first, first+uint64(count), 0
	}
	i.low, i.high = low, high
	i.deaths++
	if i.Isolating() && count == 1 {
		i.low, i.high, i.deaths = 0, 0, 0
		return true
	}
	return false
}

// Survived notes that the script has worked on count items from first on.
func (i *Isolation) Survived(first uint64, count int) {
	end := first + uint64(count)
	if first <= i.low && end > i.low {
		i.low = min(end, i.high)
	}
	if i.low == i.high {
		i.low, i.high, i.deaths = 0, 0, 0
	}
}
