package countergroup

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Table is what a group holds in its running bucket.
type Table struct {
	Group   *Group
	Start   int64 // of the bucket
	Seconds int64 // of it that have passed; rates are over these, at least over one
	Keys    int   // updated in the bucket
	Rows    []Row // those asked for, by the meter asked for, descending; then by key
	Totals  []float64
}

// Top returns the n keys of a group with the largest values of one meter in the running bucket. It may be called from any goroutine.
// At the very end of a bucket the table may have a part of it, and a part of the next.
func (e *Engine) Top(g *Group, meter, n int) Table {
	state, l := e.state(g), &g.rows
	table := Table{Group: g}
	if uint(meter) >= uint(len(l.types)) || n <= 0 {
		return table
	}
	best := leaders{n: n}
	rows := make(map[string][]float64)
	totals := slices.Clone(l.empty)
	var now int64
	for i := range e.shards {
		s := &e.shards[i]
		e.gate.RLock() // shard by shard, so that the end of a second does not wait long
		s.mu.Lock()
		now = int64(s.now)
		if g.index < len(s.tables) && s.tables[g.index] != nil {
			t := s.tables[g.index]
			here := leaders{n: n}
			if t.refused != nil {
				l.join(totals, t.refused)
			}
			table.Keys += len(t.live[ofBucket].owners)
			for row, owner := range t.live[ofBucket].owners {
				data := t.live[ofBucket].row(uint32(row), l.width)
				l.join(totals, data)
				if v := l.value(data, meter, 1); v >= here.least() {
					here.offer(Item{Key: t.entry(owner).key, Value: v, row: uint32(row)})
				}
			}
			for _, item := range here.items {
				rows[item.Key] = slices.Clone(t.live[ofBucket].row(item.row, l.width))
				best.offer(item)
			}
		}
		s.mu.Unlock()
		e.gate.RUnlock()
	}
	table.Start = now / state.bucket * state.bucket
	table.Seconds = max(now-table.Start, 1)
	for _, item := range best.list() {
		table.Rows = append(table.Rows, Row{Key: item.Key, Values: l.values(rows[item.Key], float64(table.Seconds))})
	}
	table.Totals = l.values(totals, float64(table.Seconds))
	return table
}

// Stats are the figures of one group.
type Stats struct {
	Group                       *Group
	Keys                        int   // held
	Created, Pruned             int64 // keys taken in and forgotten, ever
	Refused                     int64 // updates for whose keys there was no room; they are in the totals
	HighWater, LowWater         int
	Bucket, TopperBucket        int // seconds, after rounding
	WatchedUpdates, WatchedKeys bool
}

// Stats returns the figures of all groups, in the order of registration.
func (e *Engine) Stats() []Stats {
	var all []Stats
	for _, g := range e.registry.Groups() {
		s := e.state(g)
		all = append(all, Stats{
			Group: g, Keys: int(s.keys.Load()), Created: s.created.Load(), Pruned: s.pruned.Load(), Refused: s.refused.Load(),
			HighWater: s.high, LowWater: s.low, Bucket: int(s.bucket), TopperBucket: int(s.topper),
			WatchedUpdates: s.watchers[0].Load() > 0, WatchedKeys: s.watchers[1].Load() > 0,
		})
	}
	return all
}

// figures exports the groups at /metrics.
type figures struct{ engine *Engine }

var (
	keysDesc    = prometheus.NewDesc("weir_countergroup_keys", "Keys a counter group holds.", []string{"group", "guid"}, nil)
	createdDesc = prometheus.NewDesc("weir_countergroup_keys_created_total", "Keys a counter group took in.", []string{"group", "guid"}, nil)
	prunedDesc  = prometheus.NewDesc("weir_countergroup_keys_pruned_total", "Keys a counter group forgot at its high-water mark.", []string{"group", "guid"}, nil)
	refusedDesc = prometheus.NewDesc("weir_countergroup_updates_without_key_total", "Updates whose key a counter group had no room for; its totals hold them.", []string{"group", "guid"}, nil)
	removedDesc = prometheus.NewDesc("weir_countergroup_keys_removed_total", "Keys that were forgotten because their counter group was taken away.", nil, nil)
	flushDesc   = prometheus.NewDesc("weir_countergroup_flush_seconds", "How long the last flush of counter groups took, monitors and store included.", nil, nil)
)

func (figures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{keysDesc, createdDesc, prunedDesc, refusedDesc, removedDesc, flushDesc} {
		ch <- d
	}
}

func (f figures) Collect(ch chan<- prometheus.Metric) {
	for _, s := range f.engine.Stats() {
		if s.Created == 0 {
			continue // most groups of a site have no traffic
		}
		ch <- prometheus.MustNewConstMetric(keysDesc, prometheus.GaugeValue, float64(s.Keys), s.Group.Title, s.Group.GUID)
		ch <- prometheus.MustNewConstMetric(createdDesc, prometheus.CounterValue, float64(s.Created), s.Group.Title, s.Group.GUID)
		ch <- prometheus.MustNewConstMetric(prunedDesc, prometheus.CounterValue, float64(s.Pruned), s.Group.Title, s.Group.GUID)
		ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(s.Refused), s.Group.Title, s.Group.GUID)
	}
	ch <- prometheus.MustNewConstMetric(removedDesc, prometheus.CounterValue, float64(f.engine.forgotten.Load()))
	ch <- prometheus.MustNewConstMetric(flushDesc, prometheus.GaugeValue, float64(f.engine.flushTook.Load())/1e9)
}
