package statsd

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
)

// shard is what one reader adds up. Its cells have two halves, one for each
// of two intervals that follow each other: while a flush reads the half of the
// interval that ended, arrivals go to the other one, so that a flush stops a
// shard only for as long as it takes to change halves.
type shard struct {
	aggregator *Aggregator
	index      int

	mu     sync.Mutex
	parser Parser
	source *source // of the packets that are taken in
	tables [kinds]table
	half   int    // of the cells, in which the running interval is added up
	prefix string // of the internal counters
	start  uint64 // the clock when the interval began; earlier marks are of older intervals

	badLines, packets, metrics *cell // the internal counters; nil makes them anew

	keys  keyCounts // for keyFlush
	timed timed     // of the running interval

	// counted since the last look: valid and invalid values, values over the limit of names, those with a timestamp for
	// which there was no room
	valid, bad, refused, late int

	_ [64]byte // keeps the next shard's fields out of this one's cache lines
}

// cell is one metric in one shard; a counter's fills one cache line.
type cell struct {
	name   string
	metric *metric
	first  [2]uint64  // by half: the clock when the first value of the interval arrived
	number [2]float64 // by half: a counter's sum, a timer's count
	more   *bulk      // timers and sets
}

// bulk is what a timer or a set holds, by half.
type bulk struct {
	values  [2][]float64
	members [2][]string // in order of arrival
	seen    [2]map[string]struct{}

	sketches [2]*sketch // of distributions: what is beyond exactValues; nil where nothing is
}

// gaugeValue is a float64 shards change without a lock.
type gaugeValue struct{ bits atomic.Uint64 }

func (g *gaugeValue) get() float64  { return math.Float64frombits(g.bits.Load()) }
func (g *gaugeValue) set(v float64) { g.bits.Store(math.Float64bits(v)) }

// add adds v, or sets the value to v where there is none to add to: 0 and NaN
// are none to JavaScript, and so a first value of -0 stays -0.
func (g *gaugeValue) add(v float64) {
	for {
		old := g.bits.Load()
		sum := v
		if number := math.Float64frombits(old); number != 0 && !math.IsNaN(number) {
			sum += number
		}
		if g.bits.CompareAndSwap(old, math.Float64bits(sum)) {
			return
		}
	}
}

// Take implements [Lane].
func (s *shard) Take(packets [][]byte) { s.take(packets, nil) }

// take takes in packets of a source; nil is one without a budget.
func (s *shard) take(packets [][]byte, from *source) {
	s.mu.Lock()
	s.source = from
	defer s.mu.Unlock()
	if s.badLines == nil || s.packets == nil || s.metrics == nil {
		s.makeInternal()
	}
	s.count(s.packets, float64(len(packets)))
	lines := 0
	for _, packet := range packets {
		lines += s.parser.Packet(packet)
	}
	s.count(s.metrics, float64(lines))
	s.report()
}

// report passes on what was counted. Callers hold mu.
func (s *shard) report() {
	a := s.aggregator
	a.ledger.Received(s.valid + s.bad)
	a.ledger.Passed(s.valid - s.refused - s.late)
	if s.bad > 0 {
		a.badLine.Add(s.bad)
		a.badLines.Add(int64(s.bad))
		s.count(s.badLines, float64(s.bad))
	}
	if s.refused > 0 {
		a.nameLimit.Add(s.refused)
	}
	if s.late > 0 {
		a.timedFull.Add(s.late)
	}
	s.valid, s.bad, s.refused, s.late = 0, 0, 0, 0
}

// Invalid implements [Lane]: it counts something that was to be a line and never came to the parser.
func (s *shard) Invalid(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.badLines == nil {
		s.makeInternal()
	}
	s.onBad(Bad{Fields: line, Line: line})
	s.report()
}

func (s *shard) onBad(b Bad) {
	s.bad++
	s.aggregator.reportBad(b)
}

func (s *shard) onValue(v *Value) {
	s.valid++
	hash := maphash.Bytes(s.aggregator.seed, v.Key)
	c := s.tables[v.Kind].find(hash, v.Key)
	if c == nil {
		if c = s.create(v.Kind, v.Key, false); c == nil {
			s.refused++
			s.aggregator.reportRefused(v)
			return
		}
	}
	half := s.half & 1
	if c.first[half] < s.start {
		s.begin(c)
	}
	switch v.Kind {
	case Counter:
		c.number[half] = plus(c.number[half], v.Number)
	case Timer:
		c.number[half] += v.Weight
		if v.Sketch {
			c.more.distribute(half, v.Number)
		} else {
			c.more.values[half] = append(c.more.values[half], v.Number)
		}
	case Gauge:
		if v.Signed {
			c.metric.value.add(v.Number)
		} else {
			c.metric.value.set(v.Number)
		}
	case Set:
		c.more.insert(half, v.Member)
	}
}

// plus adds to a counter. One that has become NaN is "missing" to JavaScript and starts again from 0.
func plus(sum, v float64) float64 {
	if math.IsNaN(sum) {
		return v
	}
	return sum + v
}

func (b *bulk) insert(half int, member []byte) {
	if _, ok := b.seen[half][string(member)]; ok {
		return
	}
	if b.seen[half] == nil {
		b.seen[half] = make(map[string]struct{})
	}
	text := string(member)
	b.seen[half][text] = struct{}{}
	b.members[half] = append(b.members[half], text)
}

// begin opens the interval for a cell.
func (s *shard) begin(c *cell) {
	c.first[s.half] = s.aggregator.clock.Add(1)
	c.number[s.half] = 0
	if c.more != nil {
		c.more.values[s.half] = c.more.values[s.half][:0]
		if k := c.more.sketches[s.half]; k != nil {
			k.reset()
		}
	}
}

// count adds to an internal counter.
func (s *shard) count(c *cell, n float64) {
	if n == 0 {
		return
	}
	if c.first[s.half] < s.start {
		s.begin(c)
	}
	c.number[s.half] += n
}

// create makes the cell of a name new to the shard; nil when the limit of
// names is reached and force does not override it. Of a name over the budget of
// its family or source it returns the cell of the bucket. Callers hold mu.
func (s *shard) create(kind Kind, key []byte, force bool) *cell {
	m := s.aggregator.metric(kind, key, s.source, force)
	if m == nil {
		return nil
	}
	if m.name != string(key) {
		s.aggregator.reportOverflow(m, key, s.source)
		if c := m.cells[s.index].Load(); c != nil {
			return c
		}
	}
	c := &cell{name: m.name, metric: m}
	if kind == Timer || kind == Set {
		c.more = new(bulk)
	}
	m.cells[s.index].Store(c)
	s.tables[kind].insert(m.hash, c)
	return c
}

// makeInternal finds or makes the internal counters, which no limit keeps out.
func (s *shard) makeInternal() {
	a := s.aggregator
	for _, internal := range []struct {
		cell **cell
		name string
	}{{&s.badLines, ".bad_lines_seen"}, {&s.packets, ".packets_received"}, {&s.metrics, ".metrics_received"}} {
		name := []byte(s.prefix + internal.name)
		hash := maphash.Bytes(a.seed, name)
		c := s.tables[Counter].find(hash, name)
		if c == nil {
			c = s.create(Counter, name, true)
		}
		*internal.cell = c
	}
}
