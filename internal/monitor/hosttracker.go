package monitor

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/countergroup"
)

// tracker is what a flowtracker keeps of the running bucket, section 5.5: the flows that it ranks highest. It is for the engine's
// ticking goroutine, and for Stop when that has ended.
type tracker struct {
	group  *countergroup.Group // of no registry: it carries the title to who stores toppers
	count  int
	bucket int64 // seconds
	start  int64 // of the bucket that ranks are of
	ranks  map[string]float64
}

const (
	defaultBucket = 300 // seconds
	defaultCount  = 100
	maxTracked    = 100_000
)

// guidTrackers stands for all of them; nothing looks it up.
const guidTrackers = "{18CE5961-38FF-4AEA-BAF8-2019F3A09063}"

// newTracker returns a tracker whose buckets are a multiple of the window.
func newTracker(t *Tracker, name string, window int) *tracker {
	of := Tracker{Name: name}
	if t != nil {
		of = *t
	}
	if of.Name == "" {
		of.Name = name
	}
	if of.Count <= 0 {
		of.Count = defaultCount
	}
	if of.Bucket <= 0 {
		of.Bucket = defaultBucket
	}
	g, err := countergroup.NewRegistry().Register(countergroup.Definition{
		GUID: guidTrackers, Title: "flowtracker " + of.Name, Description: of.Description, Meters: []countergroup.Meter{{Type: countergroup.Gauge, Name: "rank", Top: of.Count}},
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return &tracker{group: g, count: min(of.Count, maxTracked), bucket: int64((of.Bucket + window - 1) / window * window), ranks: make(map[string]float64)}
}

// track has a flowtracker rank flows. The instances of its engines have one list.
func (m *Monitors) track(b *bound, all []Flow, t int64) {
	if start := (t - 1) / b.tracker.bucket * b.tracker.bucket; start != b.tracker.start {
		m.endTracker(b.tracker) // a gap was skipped
		b.tracker.start = start
	}
	chunks(all, func(some []Flow, begins, ends bool) {
		votes, _ := m.itemVotes(b, Items{Instance: b.index, Event: EventFilter, Time: t, Begin: begins, End: ends, Flows: some})
		for i, rank := range votes.Ranks {
			if i < len(some) && rank != 0 {
				b.tracker.ranks[some[i].Key] = rank
			}
		}
	})
	b.tracker.cut()
}

// endTrackers hands on the lists whose buckets end with the second t.
func (m *Monitors) endTrackers(trackers []*bound, t int64) {
	for _, b := range trackers {
		if t%b.tracker.bucket == 0 {
			m.endTracker(b.tracker)
		}
	}
}

// list are the flows, those of the highest rank first.
func (k *tracker) list() []countergroup.Item {
	items := make([]countergroup.Item, 0, len(k.ranks))
	for key, rank := range k.ranks {
		items = append(items, countergroup.Item{Key: key, Value: rank})
	}
	slices.SortFunc(items, func(a, b countergroup.Item) int {
		return cmp.Or(cmp.Compare(b.Value, a.Value), strings.Compare(a.Key, b.Key))
	})
	return items[:min(len(items), k.count)]
}

// cut forgets what cannot be on the list any more.
func (k *tracker) cut() {
	if len(k.ranks) <= k.count {
		return
	}
	items := k.list()
	clear(k.ranks)
	for _, item := range items {
		k.ranks[item.Key] = item.Value
	}
}

// endTracker hands the list of a bucket to who stores it.
func (m *Monitors) endTracker(k *tracker) {
	if len(k.ranks) > 0 && m.cfg.Toppers != nil {
		m.cfg.Toppers(&countergroup.Toppers{Group: k.group, Start: k.start, End: k.start + k.bucket, Seconds: k.bucket, Items: k.list()})
	}
	clear(k.ranks)
}

// endOrphans stores the lists of scripts that have ended or were loaded anew.
func (m *Monitors) endOrphans() {
	m.mu.Lock()
	orphans := m.orphans
	m.orphans = nil
	m.mu.Unlock()
	for _, k := range orphans {
		m.endTracker(k)
	}
}
