package netflow

import (
	"cmp"
	"maps"
	"slices"
)

// maxKeys is how many keys a table may have. The top ten of hundreds of thousands are among them.
const maxKeys = 1 << 15

// table is bytes by key. When it is full the half with the fewest bytes is forgotten.
type table[K comparable] struct {
	bytes     map[K]uint64
	forgotten int // keys
}

func (t *table[K]) add(key K, bytes uint64) {
	if t.bytes == nil {
		t.bytes = make(map[K]uint64)
	}
	t.bytes[key] += bytes
	if len(t.bytes) > maxKeys {
		t.shrink()
	}
}

func (t *table[K]) shrink() {
	all := make([]uint64, 0, len(t.bytes))
	for _, bytes := range t.bytes {
		all = append(all, bytes)
	}
	slices.Sort(all)
	pivot := all[len(all)/2]
	excess := len(all) / 2
	for key, bytes := range t.bytes {
		if bytes < pivot {
			delete(t.bytes, key)
			excess--
		}
	}
	for key, bytes := range t.bytes {
		if excess <= 0 {
			break
		}
		if bytes == pivot {
			delete(t.bytes, key)
			excess--
		}
	}
	t.forgotten += len(all) - len(t.bytes)
}

func (t *table[K]) merge(other *table[K]) {
	for key, bytes := range other.bytes {
		t.add(key, bytes)
	}
	t.forgotten += other.forgotten
}

// item is one of a ranking.
type item struct {
	name  string
	bytes uint64
}

// tops is how many items a ranking has.
const tops = 10

// rank is the top of a table. Where bytes are equal the name decides, so that an order is never by chance.
func rank[K comparable](of map[K]uint64, name func(K) string) []item {
	least := uint64(0) // only what can be among them gets a name
	if len(of) > tops {
		all := slices.Sorted(maps.Values(of))
		least = all[len(all)-tops]
	}
	var best []item
	for key, bytes := range of {
		if bytes >= least {
			best = append(best, item{name(key), bytes})
		}
	}
	slices.SortFunc(best, func(a, b item) int { return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.name, b.name)) })
	return best[:min(len(best), tops)]
}
