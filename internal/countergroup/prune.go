package countergroup

import "slices"

// prune forgets the keys of a group that were not updated for the longest time, down to the low-water mark. What was
// updated in the running bucket stays. After it all keys are new again (specification 2.8).
func (e *Engine) prune(c *groupCut) {
	state := c.state
	var seen []uint32
	for i := range c.tables {
		part := &c.tables[i]
		part.shard.mu.Lock()
		for n := range part.table.used {
			if entry := part.table.entry(n); entry.key != "" {
				seen = append(seen, entry.seen)
			}
		}
		part.shard.mu.Unlock()
	}
	before := len(seen)
	surplus := before - state.low
	if surplus <= 0 {
		return
	}
	slices.Sort(seen)
	limit := seen[surplus-1] // keys seen before it go, and as many of those seen at it as needed
	first, _ := slices.BinarySearch(seen, limit)
	ties := surplus - first
	forgotten := 0
	for i := range c.tables {
		part := &c.tables[i]
		part.shard.mu.Lock()
		removed := part.table.forget(limit, &ties, state)
		part.shard.mu.Unlock()
		state.keys.Add(-int64(len(removed))) // at once, before the shard takes in new ones up to the ceiling
		state.group.forget(removed)
		forgotten += len(removed)
	}
	state.pruned.Add(int64(forgotten))
	e.crowded.Warn("a counter group has more keys than its high-water mark: the longest unused were forgotten",
		"group", state.group.Title, "guid", state.group.GUID, "keys", before, "high_water", state.high, "forgotten", forgotten, "updates_without_key", state.refused.Load())
}

// forget removes entries last seen before limit, and those seen at limit while ties lasts. It returns their keys. Callers hold the shard's lock.
func (t *table) forget(limit uint32, ties *int, state *groupState) (keys []string) {
	l := &state.group.rows
	for n := range t.used {
		e := t.entry(n)
		if e.key == "" || e.seen > limit || e.mark[ofBucket] == t.mark[ofBucket] || e.mark[ofSecond] == t.mark[ofSecond] {
			continue
		}
		if e.seen == limit {
			if *ties == 0 {
				continue
			}
			*ties--
		}
		if row := t.toppers.forget(l, n); row != nil {
			state.lose(row)
		}
		keys = append(keys, e.key)
		*e = entry{}
		t.free = append(t.free, n)
		t.n--
	}
	t.known++
	t.rehash(len(t.slots))
	return keys
}

// forget drops the labels and attributes of keys.
func (g *Group) forget(keys []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.info) == 0 {
		return
	}
	for _, key := range keys {
		delete(g.info, key)
	}
}
