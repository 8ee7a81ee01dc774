package statsd

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/telemetry"
)

// source is an address lines arrive at that has a budget of names ([Listen.MaxNames]): the names that its values were
// the first of. As with families, only names that are new are held against it.
type source struct {
	name   string // as it is configured, such as "udp://:8125"
	bucket string // the name of the metrics, one of each kind, for values over the budget
	limit  int

	// guarded by names.mu
	names   int
	buckets [kinds]*metric
	values  int64 // that went to buckets
}

// sourceBucket is what names of buckets of sources begin with.
const sourceBucket = "overflow;source="

func newSource(l Listen) *source {
	name := l.Network + "://" + l.Address
	return &source{name: name, bucket: sourceBucket + string(AppendSanitized(nil, []byte(name))), limit: l.MaxNames}
}

// sourceLane takes in what arrives at a source.
type sourceLane struct {
	*shard
	source *source
}

// Take implements [Lane].
func (l sourceLane) Take(packets [][]byte) { l.take(packets, l.source) }

// lanesOf returns the lanes of one address, which hold it to its budget if it has one.
func (in *intake) lanesOf(l Listen) []Lane {
	if l.MaxNames == 0 {
		return in.lanes
	}
	src := newSource(l)
	lanes := slices.Clone(in.lanes)
	for i, lane := range lanes {
		if s, ok := lane.(*shard); ok {
			lanes[i] = sourceLane{s, src}
			s.aggregator.names.enter(src)
		}
	}
	return lanes
}

// sources are all sources with a budget. Its methods are called with names.mu held.
type sources struct {
	all   []*source
	spent *telemetry.Overflow // what went to their buckets
}

// enter makes a source known; more than once is the same as once.
func (n *names) enter(src *source) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.sources.all, src) {
		n.sources.all = append(n.sources.all, src)
	}
}

// full reports whether a name that is not there yet is over the budget. A bucket, which others can send to as well, never is.
func (src *source) full(name []byte) bool {
	return src.names >= src.limit && string(name) != src.bucket
}

// leave takes m off the account of its source.
func (ss *sources) leave(m *metric) {
	if m.source != nil {
		m.source.names--
		m.source = nil
	}
	for _, src := range ss.all {
		if src.buckets[m.kind] == m {
			src.buckets[m.kind] = nil
		}
	}
}

// overspent are the sources that spent their budget, those with most values in their buckets first.
func (n *names) overspent() []telemetry.Offender {
	n.mu.Lock()
	defer n.mu.Unlock()
	var worst []telemetry.Offender
	for _, src := range n.sources.all {
		if src.values > 0 {
			worst = append(worst, telemetry.Offender{Name: src.name, Items: src.values})
		}
	}
	slices.SortFunc(worst, func(x, y telemetry.Offender) int {
		return cmp.Or(cmp.Compare(y.Items, x.Items), strings.Compare(x.Name, y.Name))
	})
	return worst[:min(len(worst), telemetry.MaxOffenders)]
}
