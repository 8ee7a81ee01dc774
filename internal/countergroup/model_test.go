package countergroup

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// naive does by the letter of section 1 what the engine does fast: it remembers every update and works out everything from them.
type naive struct {
	groups  []*Group
	bucket  []int64
	topper  []int64
	horizon int64
	updates map[int]map[string][]update // by group and key, in order
	queued  []queued
	last    int64
	watch   []bool
	calls   []string
}

type update struct {
	second int64 // the tick that closed it
	meter  int
	value  float64
}

type queued struct {
	group int
	key   string
	update
}

func (n *naive) add(group int, key string, u update) {
	u.second = n.last + 1
	if n.updates[group] == nil {
		n.updates[group] = make(map[string][]update)
	}
	n.updates[group][key] = append(n.updates[group][key], u)
}

// value is a meter of one key over the seconds after from up to through; touched says whether there was an update.
func (n *naive) value(group int, key string, meter int, from, through, seconds int64) (value float64, touched bool) {
	var all, before []float64 // samples: in the span, and before it
	for _, u := range n.updates[group][key] {
		if u.meter == meter {
			if u.second > from && u.second <= through {
				all = append(all, u.value)
			} else if u.second <= from {
				before = append(before, u.value)
			}
		}
	}
	sum := 0.0
	for _, v := range all {
		sum += v
	}
	switch n.groups[group].Meters[meter].Type {
	case Counter:
		return sum, sum != 0
	case Rate:
		return sum / float64(seconds), sum != 0
	case Running:
		for _, v := range before {
			sum += v
		}
		return sum, sum != 0
	case Gauge:
		if len(all) > 0 {
			return all[len(all)-1], true
		}
		if seconds == 1 && len(before) > 0 { // a second shows the current value
			return before[len(before)-1], true
		}
		return 0, false
	case Average:
		if len(all) == 0 {
			return 0, false
		}
		return sum / float64(len(all)), true
	case Maximum, Minimum:
		if len(all) == 0 {
			return 0, false
		}
		if n.groups[group].Meters[meter].Type == Maximum {
			return slices.Max(all), true
		}
		return slices.Min(all), true
	case DeltaRate:
		if len(all) == 0 {
			return 0, false
		}
		first := all[0]
		if len(before) > 0 {
			first = before[len(before)-1]
		}
		previous := first
		for _, v := range all {
			if v < previous {
				return 0, false
			}
			previous = v
		}
		return (previous - first) / float64(seconds), previous != first
	}
	panic("no such type")
}

// active returns the keys with an update in the span, ascending.
func (n *naive) active(group int, from, through int64) (keys []string) {
	for key, updates := range n.updates[group] {
		if slices.ContainsFunc(updates, func(u update) bool { return u.second > from && u.second <= through }) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// isNew reports whether key was not updated in the horizon before the second t.
func (n *naive) isNew(group int, key string, t int64) bool {
	return !slices.ContainsFunc(n.updates[group][key], func(u update) bool { return u.second < t && u.second >= t-n.horizon })
}

// total is a meter over all keys.
func (n *naive) total(group int, keys []string, meter int, from, through, seconds int64) float64 {
	kind := n.groups[group].Meters[meter].Type
	over := seconds
	if kind == Rate || kind == DeltaRate {
		over = 1 // divided once, after the sum
	}
	var values, samples []float64
	for _, key := range keys {
		v, touched := n.value(group, key, meter, from, through, over)
		if touched {
			values = append(values, v)
		}
		for _, u := range n.updates[group][key] {
			if u.meter == meter && u.second > from && u.second <= through {
				samples = append(samples, u.value)
			}
		}
	}
	switch kind {
	case Maximum:
		if len(values) > 0 {
			return slices.Max(values)
		}
		return 0
	case Minimum:
		if len(values) > 0 {
			return slices.Min(values)
		}
		return 0
	case Average:
		if len(samples) == 0 {
			return 0
		}
		values = samples
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	switch kind {
	case Average:
		sum /= float64(len(samples))
	case Rate, DeltaRate:
		sum /= float64(seconds)
	}
	return sum
}

func (n *naive) line(format string, args ...any) {
	n.calls = append(n.calls, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (n *naive) tick(t int64) {
	for n.last < t {
		n.second()
	}
}

func (n *naive) second() {
	for _, q := range n.queued {
		n.add(q.group, q.key, q.update)
	}
	n.queued = nil
	n.last++
	t := n.last
	for g, group := range n.groups {
		keys := n.active(g, t-1, t)
		if !n.watch[g] || len(keys) == 0 {
			continue
		}
		var b strings.Builder
		for _, key := range keys {
			mark := ""
			if n.isNew(g, key, t) {
				mark = "!"
			}
			var values []float64
			for m := range group.Meters {
				v, _ := n.value(g, key, m, t-1, t, 1)
				values = append(values, v)
			}
			fmt.Fprintf(&b, " %s%s=%v", mark, key, values)
		}
		n.line("second %s %d%s", group.Title, t, b.String())
	}
	if t%60 != 0 {
		return
	}
	n.line("flush %d", t)
	for g, group := range n.groups {
		if t%n.bucket[g] != 0 {
			continue
		}
		from := t - n.bucket[g]
		keys := n.active(g, from, t)
		var b strings.Builder
		var totals []float64
		for _, key := range keys {
			var values []float64
			for m := range group.Meters {
				v, _ := n.value(g, key, m, from, t, n.bucket[g])
				values = append(values, v)
			}
			fmt.Fprintf(&b, " %s=%v", key, values)
		}
		if len(keys) > 0 {
			for m := range group.Meters {
				totals = append(totals, n.total(g, keys, m, from, t, n.bucket[g]))
			}
			fmt.Fprintf(&b, " %s=%v", TotalsKey, totals)
		}
		n.line("window %s %d-%d%s", group.Title, from, t, b.String())
		if t%n.topper[g] == 0 {
			n.toppers(g, t)
		}
	}
	n.line("end %d", t)
}

func (n *naive) toppers(g int, t int64) {
	group, from, seconds := n.groups[g], t-n.topper[g], n.topper[g]
	keys := n.active(g, from, t)
	for m, meter := range group.Meters {
		if meter.Top == 0 {
			continue
		}
		type item struct {
			key   string
			value float64
		}
		var items []item
		grown := 0.0
		for _, key := range keys {
			v, touched := n.value(g, key, m, from, t, seconds)
			if meter.Type == DeltaRate { // the sum over buckets, of which one with a reset counts nothing
				v = 0
				for start := from; start < t; start += n.bucket[g] {
					growth, _ := n.value(g, key, m, start, start+n.bucket[g], 1)
					v += growth
				}
				grown += v
				touched = v != 0
				v /= float64(seconds)
			}
			if touched {
				items = append(items, item{key, v})
			}
		}
		slices.SortFunc(items, func(a, b item) int {
			if c := cmp.Compare(b.value, a.value); c != 0 {
				return c
			}
			return cmp.Compare(a.key, b.key)
		})
		var b strings.Builder
		for _, i := range items[:min(len(items), meter.Top)] {
			fmt.Fprintf(&b, " %s=%v", i.key, i.value)
		}
		if len(items) > 0 {
			total := n.total(g, keys, m, from, t, seconds)
			if meter.Type == DeltaRate {
				total = grown / float64(seconds)
			}
			fmt.Fprintf(&b, " %s=%v", TotalsKey, total)
		}
		n.line("toppers %s %d %d-%d%s", group.Title, m, from, t, b.String())
	}
}

// TestModel compares the engine with naive over random groups, updates, posted updates, watchers and ticks. Values
// and seconds are such that sums do not depend on their order.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var definitions []Definition
		for range rapid.IntRange(1, 3).Draw(rt, "groups") {
			d := Definition{
				Bucket:       rapid.SampledFrom([]int{0, 30, 60, 120}).Draw(rt, "bucket"),
				TopperBucket: rapid.SampledFrom([]int{60, 240}).Draw(rt, "topper bucket"),
			}
			for m := range rapid.IntRange(1, 4).Draw(rt, "meters") {
				d.Meters = append(d.Meters, Meter{ID: m, Type: rapid.SampledFrom(MeterTypes()).Draw(rt, "type"), Top: rapid.IntRange(0, 3).Draw(rt, "top")})
			}
			definitions = append(definitions, d)
		}
		horizon := rapid.SampledFrom([]int64{30, 100, 1000}).Draw(rt, "horizon")
		b := newBench(t, Config{NewKeyHorizon: time.Duration(horizon) * time.Second}, definitions...)
		n := &naive{horizon: horizon, updates: make(map[int]map[string][]update), groups: b.groups.Groups(), watch: make([]bool, len(definitions))}
		for _, s := range b.Stats() {
			n.bucket = append(n.bucket, int64(s.Bucket))
			n.topper = append(n.topper, int64(s.TopperBucket))
		}
		release := make([]func(), len(definitions))
		b.Tick(1200)
		n.last = 1200
		b.calls = nil
		send, post := b.Batch(), b.Batch()
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0: // watch or stop, from the next second on
				g := rapid.IntRange(0, len(n.groups)-1).Draw(rt, "group")
				b.Tick(n.last + 1)
				if release[g] == nil {
					release[g] = b.Watch(n.groups[g], true, true)
				} else {
					release[g]()
					release[g] = nil
				}
				b.Tick(n.last + 2)
				n.second()
				n.second() // of a group that begins to be watched this second shows nothing, so send nothing in it
				n.watch[g] = release[g] != nil
			case 1, 2, 3:
				d := rapid.SampledFrom([]int64{1, 2, 29, 60, 61, 130}).Draw(rt, "seconds")
				b.Tick(n.last + d)
				n.tick(n.last + d)
			default:
				posted := rapid.IntRange(0, 4).Draw(rt, "posted") == 0
				for range rapid.IntRange(1, 6).Draw(rt, "updates") {
					g := rapid.IntRange(0, len(n.groups)-1).Draw(rt, "group")
					key := rapid.SampledFrom([]string{"a", "b", "b\x00", "C0.A8.01.02", "C0.A8.01.02\\p-0050", "C0.A8.01.02\\p-0051", "z"}).Draw(rt, "key")
					u := update{meter: rapid.IntRange(0, len(n.groups[g].Meters)-1).Draw(rt, "meter")}
					u.value = float64(rapid.IntRange(-64, 64).Draw(rt, "value")) / 4
					if posted {
						post.Add(n.groups[g], []byte(key), u.meter, u.value)
						n.queued = append(n.queued, queued{g, key, u})
					} else {
						send.Add(n.groups[g], []byte(key), u.meter, u.value)
						n.add(g, key, u)
					}
				}
				send.Send()
				post.Post()
			}
		}
		b.Tick(n.last + 300)
		n.tick(n.last + 300)
		if diff := gocmp.Diff(n.calls, b.calls); diff != "" {
			rt.Fatalf("calls (-naive +engine):\n%s", diff)
		}
		b.balanced()
	})
}
