package monitor

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
)

const (
	maxItems     = 10_000 // alerts of one window, and resources
	maxContents  = 16 << 20
	keptItems    = 1000 // the newest, for people
	itemsInFrame = 1000
)

// collected are the alerts or resources that scripts add, on their way to monitors and to who keeps them.
type collected[T any] struct {
	second []*T // since the last second; the same as in window
	window []*T // since the last flush
	bytes  int  // of window
	fresh  int  // of second
	kept   []T  // the newest, for people
}

// kind says how items of one kind go into frames.
type kind[T any] struct {
	guid  func(*T) string // of the group
	key   func(*T) string // that says which engine it belongs to
	into  func(*Items, []T)
	apply func(*Change, *T)
}

var (
	alertKind    = kind[Alert]{func(a *Alert) string { return a.GUID }, func(a *Alert) string { return cmp.Or(a.Flow, a.SigID) }, func(i *Items, all []Alert) { i.Alerts = all }, (*Change).apply}
	resourceKind = kind[Resource]{func(r *Resource) string { return r.GUID }, func(r *Resource) string { return cmp.Or(r.Flow, r.URI) }, func(i *Items, all []Resource) { i.Resources = all }, func(c *Change, r *Resource) {
		set(&r.URI, c.URI)
		set(&r.Label, c.Label)
	}}
	flowKind = kind[Flow]{func(*Flow) string { return guidIPFlows }, func(f *Flow) string { return f.Key }, func(i *Items, all []Flow) { i.Flows = all }, func(*Change, *Flow) {}}
)

// of reports whether an item is for the instances of a group and engine.
func (k kind[T]) of(m *Monitors, item *T, guid string, engine int) bool {
	return k.guid(item) == guid && m.engine.EngineOf(nil, k.key(item)) == engine
}

func (c *Change) apply(a *Alert) {
	set(&a.Priority, c.Priority)
	set(&a.Message, c.Message)
	set(&a.ExtraMessage, c.ExtraMessage)
}

func set[T any](of, to *T) {
	if to != nil {
		*of = *to
	}
}

// alert takes a new alert in, section 4.3.
func (m *Monitors) alert(from *member, a Alert) bool {
	for guid, key := range map[string]string{guidAlertSignatures: a.SigID, guidAlertClasses: a.Classification, guidAlertPriorities: strconv.Itoa(a.Priority)} {
		if g := m.groups.Lookup(guid); g != nil && key != "" && len(key) <= countergroup.MaxKey {
			from.updates.Add(g, []byte(key), 0, 1)
		}
	}
	if a.Time == 0 {
		a.Time = m.time()
	}
	return collect(m, from, &m.alerts, "alert", a.GUID, a, len(a.Message))
}

// resource takes what add_resource makes in.
func (m *Monitors) resource(from *member, e *Effect) bool {
	r := Resource{GUID: e.GUID, Time: m.time(), Flow: e.Flow, URI: e.Name, Label: e.Text}
	return collect(m, from, &m.resources, "resource", r.GUID, r, len(r.URI)+len(r.Label))
}

// time is when something happens that scripts did not date.
func (m *Monitors) time() float64 {
	if !m.cfg.DataTime {
		return float64(time.Now().UnixMicro()) / 1e6
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return float64(m.now)
}

// collect takes an item of a group in. A group that nobody defined is one from now on.
func collect[T any](m *Monitors, from *member, c *collected[T], what, guid string, item T, size int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.ContainsFunc(m.others, func(o countergroup.OtherGroup) bool { return o.Kind == what && o.GUID == guid }) {
		m.others = append(m.others, countergroup.OtherGroup{Kind: what, Title: guid, GUID: guid})
		m.log.Warn("a script adds to a group of "+what+"s that nobody defined", "file", from.source.path, "guid", guid)
	}
	if len(c.window) >= maxItems || c.bytes+size > maxContents {
		m.limited.Warn(what+"s of scripts are dropped: too many in one window", "file", from.source.path, "limit", maxItems, "limit_bytes", maxContents)
		return false
	}
	c.bytes += size
	c.fresh += size
	c.second, c.window = append(c.second, &item), append(c.window, &item)
	return true
}

// showNew shows monitors what came in the last second. What they set in it stays until it is stored (section 5.4).
func showNew[T any](m *Monitors, attached []*bound, c *collected[T], k kind[T], t int64) {
	m.mu.Lock()
	items := c.second
	c.second, c.fresh = nil, 0
	m.mu.Unlock()
	for _, b := range attached {
		if !b.newItems {
			continue
		}
		mine := slices.DeleteFunc(slices.Clone(items), func(item *T) bool { return !k.of(m, item, b.guid, b.engine) })
		chunks(mine, func(some []*T, _, _ bool) {
			if len(some) == 0 {
				return
			}
			show := Items{Instance: b.index, Event: EventNew, Time: t}
			k.into(&show, values(some))
			votes, _ := m.itemVotes(b, show)
			for _, change := range votes.Changed {
				if change.Item >= 0 && change.Item < len(some) {
					k.apply(&change, some[change.Item])
				}
			}
		})
	}
}

func values[T any](items []*T) []T {
	out := make([]T, len(items))
	for i, item := range items {
		out[i] = *item
	}
	return out
}

// flushItems has monitors vote on what came in the window, and returns what passes for those who keep it. What came since the last
// second, such as from the flush of the groups before it, is new first and waits for the next flush, unless it is the last one.
func flushItems[T any](m *Monitors, attached []*bound, c *collected[T], k kind[T], t int64, last bool) []T {
	m.mu.Lock()
	if last {
		c.second, c.fresh = nil, 0
	}
	shown := len(c.window) - len(c.second)
	window := c.window[:shown]
	c.window, c.bytes = slices.Clone(c.window[shown:]), c.fresh
	m.mu.Unlock()
	items := decide(m, attached, values(window), k, t)
	m.mu.Lock()
	c.kept = append(c.kept, items...)
	c.kept = slices.Clone(c.kept[max(0, len(c.kept)-keptItems):])
	m.mu.Unlock()
	return items
}

// decide has the monitors of each group vote on its items, section 2.4, shows them what passes, and returns that with what nobody watches. An
// item passes unless every monitor of its group votes no.
func decide[T any](m *Monitors, attached []*bound, items []T, k kind[T], t int64) []T {
	dropped := make([]bool, len(items))
	same := func(a, b *bound) bool { return a.guid == b.guid && a.engine == b.engine }
	for n, first := range attached {
		if slices.ContainsFunc(attached[:n], func(b *bound) bool { return same(b, first) }) {
			continue
		}
		var all []*bound
		for _, b := range attached {
			if same(b, first) {
				all = append(all, b)
			}
		}
		var mine []int
		for i := range items {
			if k.of(m, &items[i], first.guid, first.engine) {
				mine = append(mine, i)
			}
		}
		alone := len(all) == 1 && first.filter
		no := make([]int, len(mine))
		for _, b := range all {
			if b.filter {
				ask(m, b, alone, items, mine, no, k, t)
			}
		}
		var passed []T
		for n, i := range mine {
			if dropped[i] = no[n] == len(all); !dropped[i] {
				passed = append(passed, items[i])
			}
		}
		for _, b := range all {
			if alone || !b.filter && !b.flushes {
				continue
			}
			chunks(passed, func(some []T, begins, ends bool) {
				show := Items{Instance: b.index, Event: EventFlush, Time: t, Begin: begins && !b.filter, End: ends}
				k.into(&show, some)
				kind, payload := show.frame()
				m.send(&b.processed, kind, payload)
			})
		}
	}
	var passed []T
	for i := range items {
		if !dropped[i] {
			passed = append(passed, items[i])
		}
	}
	return passed
}

// ask counts the votes of one monitor in no, and applies what it changes in items that it lets pass.
func ask[T any](m *Monitors, b *bound, alone bool, items []T, mine, no []int, k kind[T], t int64) {
	at := 0
	chunks(mine, func(some []int, begins, ends bool) {
		question := Items{Instance: b.index, Event: EventFilter, Time: t, Begin: begins, End: ends && alone}
		if alone {
			question.Event = EventDecide
		}
		list := make([]T, len(some))
		for n, i := range some {
			list[n] = items[i]
		}
		k.into(&question, list)
		votes, _ := m.itemVotes(b, question)
		for n := range some {
			if n < len(votes.Pass) && !votes.Pass[n] {
				no[at+n]++
			}
		}
		for _, c := range votes.Changed {
			if c.Item >= 0 && c.Item < len(some) && (c.Item >= len(votes.Pass) || votes.Pass[c.Item]) {
				k.apply(&c, &items[some[c.Item]])
			}
		}
		at += len(some)
	})
}

// itemVotes asks a script about items. Without an answer it reports false, and every vote is yes.
func (m *Monitors) itemVotes(b *bound, question Items) (votes ItemVotes, ok bool) {
	kind, payload := question.frame()
	reply, ok := m.request(&b.processed, kind, payload)
	if !ok {
		return votes, false
	}
	if err := json.Unmarshal(reply, &votes); err != nil {
		m.limited.Warn("a script's votes are left out: "+err.Error(), "file", b.member.source.path)
		return ItemVotes{}, false
	}
	return votes, true
}

// chunks cuts items into what one frame carries. There is at least one chunk.
func chunks[T any](items []T, each func(some []T, begins, ends bool)) {
	for begins := true; ; begins = false {
		n := min(len(items), itemsInFrame)
		each(items[:n], begins, n == len(items))
		if items = items[n:]; len(items) == 0 {
			return
		}
	}
}

// Alerts are the newest alerts that were stored, oldest first. Any goroutine.
func (m *Monitors) Alerts() []Alert {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.alerts.kept)
}

// Resources are the newest entries of resource groups that were stored, oldest first. Any goroutine.
func (m *Monitors) Resources() []Resource {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.resources.kept)
}
