package countergroup

// Stage takes what the engine closes. The engine's ticking goroutine calls its methods, one at a time and in this
// order (specification 2.3):
//
//	BeginSecond(t)
//	Second          for every group somebody watches, in the order of registration; in parts, and engine by engine
//	EndSecond(t)
//	                and when a window ends with the second t:
//	BeginFlush(t)
//	Window          for every group whose bucket ends at t, in the order of registration, even one without rows; in parts, and
//	                engine by engine; then its
//	Toppers         for every meter with a top count, ascending, and for every engine, when the group's topper bucket ends at t
//	EndFlush(t)
//
// Each call is made on every stage, in their order, before the next call. What a stage drops and changes is so for the stages after it. Rows and
// values belong to the engine again when the stage returns; keys may be kept. Updates a stage makes go through Batch.Post.
type Stage interface {
	BeginSecond(t int64)
	Second(s *Second)
	EndSecond(t int64)
	BeginFlush(t int64)
	Window(w *Window)
	Toppers(l *Toppers)
	EndFlush(t int64)
}

// Row is one key of a group. Values has one value per meter, in its order.
type Row struct {
	Key     string
	Values  []float64
	New     bool // in a Second of a group whose new keys are watched: the key was not there in the recent past (specification 2.8)
	dropped bool
}

// Drop keeps the row from the stages after this one.
func (r *Row) Drop() { r.dropped = true }

// Dropped reports whether Drop was called.
func (r *Row) Dropped() bool { return r.dropped }

// Second is a part of what one group saw in the second that ended at Time. Seconds come for what there is: a group in which nothing happened has none.
type Second struct {
	Group  *Group
	Engine int // that the keys belong to
	Time   int64
	Rows   []Row // at most PartRows, by key, ascending, from part to part; without totals. Values is nil when only new keys are watched, and then only those are here
}

// PartRows is how many rows a Window or Second has at most.
const PartRows = 16384

// WholeGroup is the Engine of a Window or Toppers that has the totals over all engines, when there are several.
const WholeGroup = -1

// Window is a part of what one group saw in the bucket [Start, End), of the keys of one engine. When there are several engines, each has at least one
// part, with totals of its own, and behind the last one comes a Window of WholeGroup, which has nothing but the totals over all; it does not come when
// there was no update.
type Window struct {
	Group       *Group
	Engine      int // that the keys belong to; or WholeGroup
	Engines     int
	Start, End  int64
	Seconds     int64 // of a whole bucket, over which rates are; the last one before the end of all may be cut short
	First, Last bool  // of the parts of the engine
	Rows        []Row // at most PartRows: keys with an update, ascending from part to part, and in the last part TotalsKey; no row at all when there was none
}

// Stored returns the rows that say something about the group: all but the totals of one engine of several.
func (w *Window) Stored() []Row {
	if n := len(w.Rows); w.Engines > 1 && w.Engine != WholeGroup && n > 0 && w.Rows[n-1].Key == TotalsKey {
		return w.Rows[:n-1]
	}
	return w.Rows
}

// Toppers is a list of the keys with the largest values of one meter in the topper bucket [Start, End). When there are several engines, each gets those entries of the
// group's list that are its keys, with totals of its own, and behind them comes one of WholeGroup with the totals over all.
type Toppers struct {
	Group      *Group
	Meter      int
	Engine     int // that the keys belong to; or WholeGroup
	Engines    int
	Start, End int64
	Seconds    int64  // as in Window
	Items      []Item // by value, descending, then by key; then TotalsKey; empty when no key has a value of this meter
}

// Stored is as Window.Stored.
func (l *Toppers) Stored() []Item {
	if n := len(l.Items); l.Engines > 1 && l.Engine != WholeGroup && n > 0 && l.Items[n-1].Key == TotalsKey {
		return l.Items[:n-1]
	}
	return l.Items
}

// Item is one entry of a topper list.
type Item struct {
	Key     string
	Value   float64
	row     uint32 // of a table, while Top looks for the largest
	dropped bool
}

// Drop keeps the item from the stages after this one.
func (i *Item) Drop() { i.dropped = true }

// Nothing is a Stage that does nothing. A stage that needs few of the calls embeds it.
type Nothing struct{}

// BeginSecond implements Stage.
func (Nothing) BeginSecond(int64) {}

// Second implements Stage.
func (Nothing) Second(*Second) {}

// EndSecond implements Stage.
func (Nothing) EndSecond(int64) {}

// BeginFlush implements Stage.
func (Nothing) BeginFlush(int64) {}

// Window implements Stage.
func (Nothing) Window(*Window) {}

// Toppers implements Stage.
func (Nothing) Toppers(*Toppers) {}

// EndFlush implements Stage.
func (Nothing) EndFlush(int64) {}
