package statsd

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weirhq/weir/internal/telemetry"
)

// metric is one name of one kind, as the whole aggregator knows it. What the
// shards added up lies in their cells.
type metric struct {
	name  string
	hash  uint64
	kind  Kind
	spare bool // deleteCounters never deletes it

	// order is where flushes list the metric: the number of an index-like name,
	// above all of those the time of its first arrival. Like gone and ttl it
	// belongs to whoever holds Aggregator.flushing.
	order uint64
	gone  bool  // deleted after a flush; what arrives later makes a new metric of it
	seen  int64 // Unix seconds of the flush with its last value
	ttl   int   // gauges: flushes left, 0 for ever

	family *family // those it shares name and kind with, nil without tags; guarded by names.mu
	source *source // whose budget it is on, nil for none; guarded by names.mu

	value gaugeValue             // gauges: shared by the shards, because their order matters
	cells []atomic.Pointer[cell] // by shard; nil where the name never arrived
}

// afterIndices is the first order of names that are not index-like.
const afterIndices = 1 << 32

// arrive sets where the metric is listed, given the time of its first arrival.
func (m *metric) arrive(clock uint64) {
	if index, ok := indexOf(m.name); ok {
		m.order = index
	} else {
		m.order = afterIndices + clock
	}
}

// names knows every metric. Shards ask it once per name; the lock is never held long.
type names struct {
	mu     sync.Mutex
	byName [kinds]map[string]*metric
	list   [kinds][]*metric // in order of creation; only ever appended to or replaced
	limit  int              // how many metrics there may be; 0 means no bound
	count  int

	families families
	spent    *telemetry.Overflow // what went to buckets of families
	sources  sources
}

// get returns the metric of a name and creates one that is not there, unless
// the limit is reached and force does not override it: then it returns nil.
// Where the family of the name, or src, the source of the value if it has a budget, has spent it, it is the bucket of that one.
func (n *names) get(kind Kind, name []byte, src *source, force bool, create func(name string) *metric) *metric {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.byName[kind][string(name)]; m != nil {
		return m
	}
	if f := n.families.find(kind, name); f != nil && !force && f.full(name, n.families.limit) {
		if f.bucket == nil {
			n.bucket(kind, f.name+bucketTag, create) // it makes itself the bucket
		}
		if f.bucket != nil {
			f.values++
			n.spent.Add(1)
		}
		return f.bucket
	}
	if src != nil && !force && src.full(name) {
		if src.buckets[kind] == nil {
			src.buckets[kind] = n.bucket(kind, src.bucket, create)
		}
		if src.buckets[kind] != nil {
			src.values++
			n.sources.spent.Add(1)
		}
		return src.buckets[kind]
	}
	if n.limit > 0 && n.count >= n.limit && !force {
		return nil
	}
	m := n.add(kind, create(string(name)))
	if src != nil && !force {
		m.source = src
		src.names++
	}
	return m
}

// bucket returns the metric of a bucket, a new one when there is none; nil when the limit of names leaves no room for it.
func (n *names) bucket(kind Kind, name string, create func(name string) *metric) *metric {
	if m := n.byName[kind][name]; m != nil {
		return m
	}
	if n.limit > 0 && n.count >= n.limit {
		return nil
	}
	return n.add(kind, create(name))
}

// add enters a metric that is not there yet.
func (n *names) add(kind Kind, m *metric) *metric {
	if n.byName[kind] == nil {
		n.byName[kind] = make(map[string]*metric)
	}
	n.byName[kind][m.name] = m
	n.list[kind] = append(n.list[kind], m)
	n.count++
	n.families.join(m)
	return m
}

// find returns the metric of a name, nil when there is none.
func (n *names) find(kind Kind, name string) *metric {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byName[kind][name]
}

// all returns the metrics of a kind; the slice must not be changed.
func (n *names) all(kind Kind) []*metric {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clip(n.list[kind])
}

// forget removes metrics of one kind from the look-up.
func (n *names) forget(kind Kind, metrics []*metric) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range metrics {
		delete(n.byName[kind], m.name)
		n.families.leave(m)
		n.sources.leave(m)
	}
	n.count -= len(metrics)
}

// unlist removes metrics that were forgotten from the list. The caller keeps
// others from doing the same meanwhile.
func (n *names) unlist(kind Kind, forgotten map[*metric]bool) {
	if len(forgotten) == 0 {
		return
	}
	old := n.all(kind)
	var kept []*metric
	for _, m := range old {
		if !forgotten[m] {
			kept = append(kept, m)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list[kind] = append(kept, n.list[kind][len(old):]...) // with what has arrived meanwhile
	if len(n.list[kind]) == 0 {
		n.byName[kind] = nil // a map never shrinks
	}
}

func (n *names) size() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count
}

// setLimits sets how many metrics and how many sets of tags of one there may be; 0 means no bound.
func (n *names) setLimits(metrics, tagSets int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.limit = metrics
	n.families.setLimit(tagSets, &n.byName)
}
