package countergroup

import (
	"hash/maphash"
	"sync"
)

// Batch collects updates of one producer. It is for one goroutine; make one for each by Engine.Batch. Some hundred updates
// between two sends are best.
type Batch struct {
	engine  *Engine
	first   int // the shard to begin with: producers that begin at different ones meet less often
	parts   []part
	pending int // values in parts
	dropped [reasons]int
}

// part is what goes to one shard. The values of the operations stand one after the other.
type part struct {
	ops    []op
	keys   []byte
	meters []uint8
	values []float64
}

type op struct {
	group  *groupState
	hash   uint64
	key    uint16 // bytes
	values uint16
}

func (p *part) reset() {
	p.ops, p.keys, p.meters, p.values = p.ops[:0], p.keys[:0], p.meters[:0], p.values[:0]
}

func (p *part) append(q *part) {
	p.ops = append(p.ops, q.ops...)
	p.keys = append(p.keys, q.keys...)
	p.meters = append(p.meters, q.meters...)
	p.values = append(p.values, q.values...)
}

// Why an update is dropped.
const (
	badKey      = iota // empty, or longer than MaxKey
	reservedKey        // TotalsKey
	badMeter           // the group has no such meter
	notFinite          // NaN or infinite
	keyLimit           // no room for the key: the value is in the group's totals only
	queueFull          // more posted updates than Config.Queue wait for the tick
	shutdown           // posted during the last flush
	groupGone          // the group was taken away
	reasons
)

var reasonNames = [reasons]string{"bad_key", "reserved_key", "bad_meter", "not_finite", "key_limit", "queue_full", "shutdown", "group_removed"}

// Add adds one update: value to one meter of a key. An update that cannot be counted (see the reasons of the ledger
// "countergroup.updates") is dropped. key is not kept.
func (b *Batch) Add(g *Group, key []byte, meter int, value float64) {
	p, ok := b.begin(g, key, 1)
	if !ok {
		return
	}
	if b.add(p, g, meter, value) {
		p.ops[len(p.ops)-1].values = 1
	} else {
		b.undo(p, len(key))
	}
}

// AddRow adds updates of several meters of one key: meters[i] gets values[i].
func (b *Batch) AddRow(g *Group, key []byte, meters []int, values []float64) {
	values = values[:len(meters)]
	p, ok := b.begin(g, key, len(meters))
	if !ok {
		return
	}
	n := 0
	for i, m := range meters {
		if b.add(p, g, m, values[i]) {
			n++
		}
	}
	if n == 0 {
		b.undo(p, len(key))
		return
	}
	p.ops[len(p.ops)-1].values = uint16(n)
}

// Len is how many values were added since the last Send or Post.
func (b *Batch) Len() int { return b.pending }

func (b *Batch) begin(g *Group, key []byte, values int) (*part, bool) {
	if len(key) == 0 || len(key) > MaxKey {
		b.dropped[badKey] += values
		return nil, false
	}
	if len(key) == len(TotalsKey) && string(key) == TotalsKey {
		b.dropped[reservedKey] += values
		return nil, false
	}
	if g.gone.Load() {
		b.dropped[groupGone] += values
		return nil, false
	}
	state := b.engine.state(g)
	hash := maphash.Bytes(b.engine.seed, key)
	p := &b.parts[(int(hash>>56)+g.index)&(len(b.parts)-1)]
	p.ops = append(p.ops, op{group: state, hash: hash, key: uint16(len(key))})
	p.keys = append(p.keys, key...)
	return p, true
}

func (b *Batch) undo(p *part, key int) {
	p.ops = p.ops[:len(p.ops)-1]
	p.keys = p.keys[:len(p.keys)-key]
}

func (b *Batch) add(p *part, g *Group, meter int, value float64) bool {
	if uint(meter) >= uint(len(g.types)) {
		b.dropped[badMeter]++
		return false
	}
	if value-value != 0 { // NaN or infinite
		b.dropped[notFinite]++
		return false
	}
	p.meters = append(p.meters, uint8(meter))
	p.values = append(p.values, value)
	b.pending++
	return true
}

// Send counts the updates now, in the running second, and empties the batch. All of them are in the same second. It waits for
// other producers and for the moment in which a second closes, never for stages.
func (b *Batch) Send() {
	e := b.engine
	e.gate.RLock()
	var lost losses
	for i := range b.parts {
		n := (b.first + i) & (len(b.parts) - 1)
		if p := &b.parts[n]; len(p.ops) > 0 {
			s := &e.shards[n]
			s.mu.Lock()
			s.apply(p, &lost)
			s.mu.Unlock()
			p.reset()
		}
	}
	e.gate.RUnlock()
	e.passed(b.account(), lost)
}

// Post queues the updates for the next tick and empties the batch: the way of updates that come out of stages, which are
// to count in the next window (specification 2.3 and 4.2). It never waits. It reports false when
// they were dropped: the queue has no room, or the engine has stopped.
func (b *Batch) Post() bool {
	refused := b.engine.queue.put(b)
	n := b.account()
	if refused >= 0 {
		b.engine.reasons[refused].Add(n)
	}
	return refused < 0
}

// account reports what was taken in and empties the counts; it returns how many values were fit to be counted.
func (b *Batch) account() int {
	n, dropped := b.pending, 0
	for r, d := range b.dropped {
		if d > 0 {
			b.engine.reasons[r].Add(d)
			dropped += d
		}
	}
	b.engine.ledger.Received(n + dropped)
	b.pending, b.dropped = 0, [reasons]int{}
	return n
}

// queue holds posted updates until the next tick.
type queue struct {
	limit int

	mu     sync.Mutex
	parts  []part
	values int
	spare  []part
	closed bool
}

// put takes over the updates of a batch, or says why it does not: queueFull or shutdown; -1 when it did.
func (q *queue) put(b *Batch) (refused int) {
	q.mu.Lock()
	refused = -1
	if q.closed {
		refused = shutdown
	} else if q.values+b.pending > q.limit {
		refused = queueFull
	} else {
		q.values += b.pending
		for i := range b.parts {
			q.parts[i].append(&b.parts[i])
		}
	}
	q.mu.Unlock()
	for i := range b.parts {
		b.parts[i].reset()
	}
	return refused
}

// take empties the queue; done gives the parts back.
func (q *queue) take() (parts []part, values int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	parts, values = q.parts, q.values
	q.parts, q.values, q.spare = q.spare, 0, nil
	if q.parts == nil {
		q.parts = make([]part, len(parts))
	}
	return parts, values
}

func (q *queue) done(parts []part) {
	for i := range parts {
		if len(parts[i].keys) > maxSpare {
			parts[i] = part{}
		}
		parts[i].reset()
	}
	q.mu.Lock()
	q.spare = parts
	q.mu.Unlock()
}

// close makes put refuse everything from now on and returns how many values are left.
func (q *queue) close() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.values
	q.closed, q.parts, q.values = true, nil, 0
	return n
}

// maxSpare is the bytes of keys from which on a part of the queue is not kept for the next second.
const maxSpare = 1 << 20

func (q *queue) len() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.values)
}
