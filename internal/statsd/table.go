package statsd

// table finds the cells of one kind in one shard by name: open addressing with
// linear probing and the whole hash in the slot, so that a look-up compares
// one name and allocates nothing.
type table struct {
	slots []slot // a power of two of them
	used  int
}

type slot struct {
	hash uint64
	cell *cell // nil when the slot is free
}

// find returns the cell named key, nil when there is none.
func (t *table) find(hash uint64, key []byte) *cell {
	mask := uint64(len(t.slots) - 1)
	if len(t.slots) == 0 {
		return nil
	}
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.cell == nil || s.hash == hash && s.cell.name == string(key) {
			return s.cell
		}
	}
}

// insert adds a cell that is not there yet.
func (t *table) insert(hash uint64, c *cell) {
	if t.used >= len(t.slots)/4*3 {
		old := t.slots
		t.slots = make([]slot, max(2*len(old), 64))
		for _, s := range old {
			if s.cell != nil {
				t.place(s)
			}
		}
	}
	t.place(slot{hash, c})
	t.used++
}

func (t *table) place(s slot) {
	mask := uint64(len(t.slots) - 1)
	i := s.hash & mask
	for t.slots[i].cell != nil {
		i = (i + 1) & mask
	}
	t.slots[i] = s
}

// remove takes out c, if it is there, and moves what follows it back so that
// every probe sequence stays unbroken. A table that has become nearly empty
// gives its memory back.
func (t *table) remove(hash uint64, c *cell) {
	if len(t.slots) == 0 {
		return
	}
	mask := uint64(len(t.slots) - 1)
	i := hash & mask
	for t.slots[i].cell != c {
		if t.slots[i].cell == nil {
			return
		}
		i = (i + 1) & mask
	}
	t.used--
	for j := (i + 1) & mask; t.slots[j].cell != nil; j = (j + 1) & mask {
		// The slot at j may move to i unless its home lies behind i, up to j.
		if home := t.slots[j].hash & mask; (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = slot{}
	if len(t.slots) > 1024 && t.used < len(t.slots)/16 {
		old := t.slots
		t.slots = make([]slot, len(old)/4)
		for _, s := range old {
			if s.cell != nil {
				t.place(s)
			}
		}
	}
}

// indexOf returns the number an index-like name stands for: a canonical decimal
// integer up to 4294967294, which JavaScript objects list first, in ascending
// order (specification section 2.10).
func indexOf(name string) (index uint64, ok bool) {
	if len(name) == 0 || len(name) > 10 || len(name) > 1 && name[0] == '0' {
		return 0, false
	}
	for i := range len(name) {
		if !isDigit(name[i]) {
			return 0, false
		}
		index = index*10 + uint64(name[i]-'0')
	}
	return index, index <= 4294967294
}
