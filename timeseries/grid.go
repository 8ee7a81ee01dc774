package timeseries

// MaxSlots is the largest number of points per series whatever Options.MaxPoints
// says; longer ranges get a longer step. One initial and one trailing slot come on top.
const MaxSlots = 10_000

// latest bounds the times a grid is laid over (about the year 36800), so that
// nothing overflows however far apart the two ends of a range are.
const latest = 1 << 40

// Grid is where the points of an answer lie (specification section 2.5, R4 and
// R14). Slot i covers (Start+i*Step, Start+(i+1)*Step]; Start is a multiple of
// Step since the epoch. It is a plain value, safe to copy and to share.
type Grid struct {
	Start   int64 // Unix seconds, where the first slot begins
	Step    int64 // seconds per slot, a multiple of RawStep
	RawStep int64 // seconds per raw slot: the step of the schema
	Count   int   // slots, the initial and the trailing one included

	// End is where the last slot ends. When it lies before Start+Count*Step the
	// last slot is a trailing one that has not passed yet and is computed up to
	// End; Assemble drops it when no series has a value there.
	End int64

	// Initial says that the first slot lies before the range that was asked. It is
	// not part of statistics.
	Initial bool

	How Aggregation // what becomes of the raw slots in a longer one

	Resolution Resolution // what to read, as Options say
}

// NewGrid lays the grid of the sampled step over the range start to end, in
// Unix seconds. A range without a whole slot, or one that ends before it starts,
// has a Count of 0.
func NewGrid(s *Schema, start, end int64, o Options) Grid {
	start, end = min(max(start, -latest), latest), min(max(end, -latest), latest)
	end = max(start, end)
	step := o.Resolution.step(s.Step, SampledStep(s.Step, start, end, int64(min(o.MaxPoints, MaxSlots))))
	g := Grid{Start: floor(start, step), Step: step, RawStep: s.Step, How: o.Consolidation.of(s), Resolution: o.Resolution}
	g.End = floor(end, step)
	g.Count = int((g.End - g.Start) / step)
	if start == end {
		return g
	}
	if passed := floor(end, s.Step); passed > g.End { // only when the step is longer than the raw one
		g.End = passed
		g.Count++
	}
	if o.InitialPoint && g.Count > 0 {
		g.Start -= step
		g.Count++
		g.Initial = true
	}
	return g
}

// Window says which samples Slots needs: those with after < t <= through.
func (g Grid) Window(s *Schema) (after, through int64) {
	switch {
	case g.Count == 0:
		return g.Start, g.Start
	case s.Type == Counter:
		return g.Start - s.Continuous(), g.End + s.Continuous() - 1
	default:
		half := (s.Step + 1) / 2
		return g.Start + half - 1, g.End + half - 1
	}
}

// Margin is how far in seconds a sample of s can reach into slots that it does not
// lie in: slots are complete when samples within it around them are known.
func (s *Schema) Margin() int64 {
	if s.Type == Counter {
		return s.Continuous()
	}
	return (s.Step + 1) / 2
}

// partial reports whether the last slot is a trailing one.
func (g Grid) partial() bool { return g.End < g.Start+int64(g.Count)*g.Step }

// floor is the largest multiple of step that is not after t.
func floor(t, step int64) int64 {
	rest := t % step
	if rest < 0 {
		rest += step
	}
	return t - rest
}
