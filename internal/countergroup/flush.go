package countergroup

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
)

// groupCut is what was cut off a group, all shards at one moment.
type groupCut struct {
	state  *groupState
	tables []tableCut
}

type tableCut struct {
	shard            *shard
	table            *table
	slab             slab
	fresh            []uint32
	updates, newKeys bool     // who watched
	entries          []*block // as of the cut; entries change only in what the flush does not read
	refused          []float64
}

// owners is how many rows there are.
func (c *groupCut) owners() int {
	n := 0
	for i := range c.tables {
		n += len(c.tables[i].slab.owners)
	}
	return n
}

func (c *tableCut) key(number uint32) string {
	return c.entries[number/blockEntries][number%blockEntries].key
}

// begin makes t the running second.
func (e *Engine) begin(t int64) {
	e.gate.Lock()
	for i := range e.shards {
		e.shards[i].now = uint32(t)
	}
	e.gate.Unlock()
}

// second closes the second that ends at t; all makes every bucket end with it. Callers hold ticking.
func (e *Engine) second(t int64, all bool) {
	e.enter()
	seconds, buckets := e.cut(t, all)
	e.last = t
	for _, s := range e.stages {
		s.BeginSecond(t)
	}
	for i := range seconds {
		e.deliverSecond(&seconds[i], t)
	}
	for _, s := range e.stages {
		s.EndSecond(t)
	}
	if t%e.window == 0 {
		e.flush(buckets, t, all)
	}
}

// enter lets posted updates in.
func (e *Engine) enter() {
	parts, values := e.queue.take()
	if values > 0 {
		var lost losses
		for i := range parts {
			s := &e.shards[i]
			s.mu.Lock()
			s.apply(&parts[i], &lost)
			s.mu.Unlock()
		}
		e.passed(values, lost)
	}
	e.queue.done(parts)
}

// cut takes out of the shards what the second that ends at t closes. All producers wait meanwhile, so that what they
// sent together is in one second and one window.
func (e *Engine) cut(t int64, all bool) (seconds, buckets []groupCut) {
	for _, g := range e.registry.Groups() {
		e.state(g)
	}
	states := *e.states.Load() // in the order of registration; those that were taken away and have a window to flush are among them
	ends := t%e.window == 0
	e.gate.Lock()
	defer e.gate.Unlock()
	for _, s := range states {
		if s == nil || s.ended {
			continue
		}
		watched := s.updates || s.newKeys
		s.updates, s.newKeys = s.watchers[0].Load() > 0, s.watchers[1].Load() > 0
		changes := watched || s.updates || s.newKeys
		last := s.group.gone.Load()
		due := ends && (all || last || t%s.bucket == 0)
		s.ended = due && last
		if !changes && !due {
			continue
		}
		var second, bucket groupCut
		for i := range e.shards {
			if s.group.index >= len(e.shards[i].tables) {
				continue
			}
			table := e.shards[i].tables[s.group.index]
			if table == nil {
				continue
			}
			if watched && (len(table.live[ofSecond].owners) > 0 || len(table.fresh) > 0) {
				second.tables = append(second.tables, tableCut{
					shard: &e.shards[i], table: table, slab: table.swap(ofSecond), entries: table.entries,
					fresh: table.fresh, updates: table.updates, newKeys: table.newKeys,
				})
				table.fresh = nil
			}
			table.updates, table.newKeys = s.updates, s.newKeys
			if due {
				bucket.tables = append(bucket.tables, tableCut{
					shard: &e.shards[i], table: table, slab: table.swap(ofBucket), entries: table.entries, refused: table.refused,
				})
				table.refused = nil
			}
		}
		if len(second.tables) > 0 {
			second.state = s
			seconds = append(seconds, second)
		}
		if due {
			bucket.state = s
			buckets = append(buckets, bucket)
		}
	}
	for i := range e.shards {
		e.shards[i].now = uint32(t)
	}
	return seconds, buckets
}

// swap takes the filled slab of a span and puts an empty one there.
func (t *table) swap(span int) slab {
	full := t.live[span]
	t.live[span], t.idle[span] = t.idle[span], slab{}
	t.mark[span]++
	return full
}

// giveBack lets the table use the slab again.
func (c *tableCut) giveBack(span int) {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	keep := c.table.held + len(c.slab.pieces)
	if span == ofBucket {
		keep = len(c.slab.pieces)
		c.table.held = keep
	}
	c.slab.release(&c.table.spare, keep)
	c.table.idle[span] = c.slab
}

// ref stands for a row while rows are sorted: the first bytes of the key, and where the row is.
type ref struct {
	high, low     uint64
	row           uint32
	table, engine uint16
}

func (e *Engine) newRef(g *Group, key string, table, row int) ref {
	r := ref{table: uint16(table), row: uint32(row), engine: uint16(e.EngineOf(g, key))}
	if len(key) >= 16 {
		r.high, r.low = beginning(key[:8]), beginning(key[8:16])
	} else if len(key) >= 8 {
		r.high, r.low = beginning(key[:8]), beginning(key[8:])
	} else {
		r.high = beginning(key)
	}
	return r
}

// beginning makes a number of up to eight bytes that sorts as they do.
func beginning(s string) uint64 {
	var b [8]byte
	copy(b[:], s)
	return binary.BigEndian.Uint64(b[:])
}

// sorted puts refs in the order of their engines and keys.
func sorted(refs []ref, key func(ref) string) {
	slices.SortFunc(refs, func(a, b ref) int {
		if a.engine != b.engine {
			return int(a.engine) - int(b.engine)
		}
		if a.high != b.high {
			if a.high < b.high {
				return -1
			}
			return 1
		}
		if a.low != b.low {
			if a.low < b.low {
				return -1
			}
			return 1
		}
		return cmp.Compare(key(a), key(b))
	})
}

// parts makes rows of refs, which are of one engine, and then of totals, and hands them on in parts of at most PartRows; there
// is at least one part. Only one part has rows at a time: a million of them would take more room than their keys do.
func (e *Engine) parts(refs []ref, row func(ref) Row, totals []Row, deliver func(rows []Row, first, last bool)) {
	first := true
	for {
		n := min(len(refs), PartRows)
		e.rows = e.rows[:0]
		for _, r := range refs[:n] {
			e.rows = append(e.rows, row(r))
		}
		refs = refs[n:]
		if len(refs) == 0 && n+len(totals) <= PartRows {
			e.rows, totals = append(e.rows, totals...), nil
		}
		last := len(refs) == 0 && len(totals) == 0
		deliver(e.rows, first, last)
		clear(e.rows[:cap(e.rows)]) // lets go the keys
		if last {
			return
		}
		first = false
	}
}

// ofEngine splits off the refs of an engine, which are the first ones.
func ofEngine(refs []ref, engine int) (own, others []ref) {
	n := 0
	for n < len(refs) && int(refs[n].engine) == engine {
		n++
	}
	return refs[:n], refs[n:]
}

// deliverSecond hands a group's second to the stages.
func (e *Engine) deliverSecond(c *groupCut, t int64) {
	g, l := c.state.group, &c.state.group.rows
	e.refs = slices.Grow(e.refs[:0], c.owners())
	number := func(r ref) uint32 { // the entry of a row
		if part := &c.tables[r.table]; part.updates {
			return part.slab.owners[r.row]
		}
		return r.row
	}
	isNew := make(map[ref]struct{})
	for i := range c.tables {
		part := &c.tables[i]
		if part.updates {
			for row, owner := range part.slab.owners {
				e.refs = append(e.refs, e.newRef(g, part.key(owner), i, row))
			}
		}
		for _, row := range part.fresh {
			if part.updates {
				isNew[e.newRef(g, part.key(part.slab.owners[row]), i, int(row))] = struct{}{}
			} else {
				e.refs = append(e.refs, e.newRef(g, part.key(row), i, int(row)))
			}
		}
	}
	key := func(r ref) string { return c.tables[r.table].key(number(r)) }
	sorted(e.refs, key)
	rest := e.refs
	for engine := range e.Engines() {
		var own []ref
		if own, rest = ofEngine(rest, engine); len(own) == 0 {
			continue
		}
		e.parts(own, func(r ref) Row {
			row := Row{Key: key(r), New: !c.tables[r.table].updates}
			if !row.New {
				row.Values = l.values(c.tables[r.table].slab.row(r.row, l.width), 1)
				_, row.New = isNew[r]
			}
			return row
		}, nil, func(rows []Row, _, _ bool) {
			s := Second{Group: g, Engine: engine, Time: t, Rows: rows}
			for _, stage := range e.stages {
				stage.Second(&s)
				s.Rows = undropped(s.Rows)
			}
		})
	}
	for i := range c.tables {
		c.tables[i].giveBack(ofSecond)
	}
	e.most = max(e.most, len(e.refs))
}

func undropped(rows []Row) []Row {
	return slices.DeleteFunc(rows, func(r Row) bool { return r.dropped })
}

// trim lets go the room for refs when all of the groups together have not needed a quarter of it since the last flush.
func (e *Engine) trim() {
	if cap(e.refs) > 4*e.most+1000 {
		e.refs = nil
	}
	e.most = 0
}

// flush hands the buckets that end at t to the stages.
func (e *Engine) flush(buckets []groupCut, t int64, all bool) {
	start := time.Now()
	for _, s := range e.stages {
		s.BeginFlush(t)
	}
	for i := range buckets {
		e.flushGroup(&buckets[i], t, all)
	}
	e.flushed.Store(t)
	for _, s := range e.stages {
		s.EndFlush(t)
	}
	e.trim()
	e.flushTook.Store(int64(time.Since(start)))
}

func (e *Engine) flushGroup(c *groupCut, t int64, all bool) {
	e.deliverWindow(c, t)
	for i := range c.tables {
		c.tables[i].giveBack(ofBucket)
	}
	if all || c.state.ended || t%c.state.topper == 0 {
		for _, list := range e.topperLists(c, t) {
			for _, s := range e.stages {
				s.Toppers(&list)
				list.Items = slices.DeleteFunc(list.Items, func(i Item) bool { return i.dropped })
			}
		}
	}
	switch {
	case c.state.ended:
		e.forget(c.state)
	case c.state.keys.Load() > int64(c.state.high):
		e.prune(c)
	}
}

// forget lets go the keys of a group that was taken away, behind its last window.
func (e *Engine) forget(state *groupState) {
	for i := range e.shards {
		s := &e.shards[i]
		s.mu.Lock()
		if state.group.index < len(s.tables) {
			s.tables[state.group.index] = nil
		}
		s.mu.Unlock()
	}
	keys := state.keys.Swap(0)
	e.forgotten.Add(keys)
	e.log.Info("a counter group was taken away: its last window was flushed, its keys are forgotten", "group", state.group.Title, "guid", state.group.GUID, "keys", keys)
}

// deliverWindow hands a group's bucket to the stages, engine by engine.
func (e *Engine) deliverWindow(c *groupCut, t int64) {
	g, l := c.state.group, &c.state.group.rows
	seconds := float64(c.state.bucket)
	totals, active := e.collect(c)
	deliver := func(engine int) func(rows []Row, first, last bool) {
		return func(rows []Row, first, last bool) {
			w := Window{Group: g, Engine: engine, Engines: e.Engines(), Start: (t - 1) / c.state.bucket * c.state.bucket, End: t, Seconds: c.state.bucket, First: first, Last: last, Rows: rows}
			for _, s := range e.stages {
				s.Window(&w)
				w.Rows = undropped(w.Rows)
			}
		}
	}
	row := func(r ref) Row {
		part, n := &c.tables[r.table], len(l.types)
		return Row{Key: part.key(part.slab.owners[r.row]), Values: part.slab.row(r.row, l.width)[:n:n]}
	}
	whole := slices.Clone(l.empty)
	rest := e.refs
	for engine := range e.Engines() {
		var own []ref
		own, rest = ofEngine(rest, engine)
		var last []Row
		if active[engine] {
			l.join(whole, totals[engine])
			last = []Row{{Key: TotalsKey, Values: l.values(totals[engine], seconds)}}
		}
		e.parts(own, row, last, deliver(engine))
	}
	if e.Engines() > 1 && slices.Contains(active, true) {
		e.parts(nil, row, []Row{{Key: TotalsKey, Values: l.values(whole, seconds)}}, deliver(WholeGroup))
	}
	e.most = max(e.most, len(e.refs))
}

// collect finds and sorts the rows of a bucket, makes values of them, and returns the totals of each engine, and which engines saw anything.
// It adds the rows to the toppers before stages can change them.
func (e *Engine) collect(c *groupCut) (totals [][]float64, active []bool) {
	g, l := c.state.group, &c.state.group.rows
	for range e.Engines() {
		totals = append(totals, slices.Clone(l.empty))
	}
	active = make([]bool, e.Engines())
	seconds := float64(c.state.bucket)
	e.refs = slices.Grow(e.refs[:0], c.owners())
	listed := l.listed(g.Meters)
	for i := range c.tables {
		part := &c.tables[i]
		if part.refused != nil { // of no key, and so of any engine
			active[0] = true
			l.join(totals[0], part.refused)
			if len(listed) > 0 {
				c.state.lose(part.refused)
			}
		}
		for row, owner := range part.slab.owners {
			data := part.slab.row(uint32(row), l.width)
			r := e.newRef(g, part.key(owner), i, row)
			active[r.engine] = true
			l.join(totals[r.engine], data)
			if len(listed) > 0 {
				part.table.toppers.follow(l, listed, owner, data)
			}
			l.values(data, seconds)
			e.refs = append(e.refs, r)
		}
	}
	sorted(e.refs, func(r ref) string { return c.tables[r.table].key(c.tables[r.table].slab.owners[r.row]) })
	return totals, active
}

// lose keeps for the totals of toppers what has no row there.
func (s *groupState) lose(row []float64) {
	if s.topperLost == nil {
		s.topperLost = slices.Clone(s.group.rows.empty)
	}
	s.group.rows.join(s.topperLost, row)
}
