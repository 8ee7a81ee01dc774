package timeseries

import "math"

// Slots appends the g.Count points of one metric of one series to dst and
// returns it (specification section 2.5, R5 to R10). times are those of the
// Window or more, ascending and unique; values belong to them, NaN where the
// metric has no sample. NaN marks slots that are not known. Nothing is allocated
// when dst has room.
func (g Grid) Slots(dst []float64, s *Schema, times []int64, values []float64) []float64 {
	if g.Count == 0 {
		return dst
	}
	w := writer{dst: dst, want: len(dst) + g.Count}
	w.run(g, s, times, values)
	return w.dst
}

// Parts is Slots before points are made of what is known: parts of the same slots,
// over other samples, can be put together (see Part.Add) before Points does that.
// How the samples of one raw slot and the raw slots of a longer one become one is
// g.How.
func (g Grid) Parts(dst []Part, s *Schema, times []int64, values []float64) []Part {
	if g.Count == 0 {
		return dst
	}
	w := writer{parts: dst, apart: true, want: len(dst) + g.Count}
	w.run(g, s, times, values)
	return w.parts
}

// run goes over the samples and writes the slots of g.
func (w *writer) run(g Grid, s *Schema, times []int64, values []float64) {
	w.grid, w.how, w.least = g, g.How, 1
	w.rawEnd, w.slotEnd = g.Start+g.RawStep, g.Start+g.Step
	if s.Type == Counter {
		w.rate, w.least = true, (g.RawStep+1)/2
		w.counter(s.Continuous(), times, values)
	} else {
		w.gauge(times, values)
	}
	w.finish()
}

// AddPoints adds data to sum point by point; a point stays NaN only where both are.
func AddPoints(sum, data []float64) {
	for i, v := range data {
		switch {
		case math.IsNaN(v):
		case math.IsNaN(sum[i]):
			sum[i] = v
		default:
			sum[i] += v
		}
	}
}

// writer goes once over the samples of one metric. It has one raw slot open,
// and the slot of the grid that the raw slot is part of.
type writer struct {
	grid  Grid
	how   Aggregation
	rate  bool // the samples of a raw slot are rates, whose mean over time counts
	dst   []float64
	parts []Part
	apart bool // parts are written, not points
	want  int  // length of dst or parts when all slots are written

	rawEnd  int64   // the raw slot covers (rawEnd-RawStep, rawEnd]
	raw     float64 // Mean: weighted sum; otherwise the value so far
	weight  int64   // known seconds of a counter, samples of a gauge
	least   int64   // weight from which the raw slot is known
	slotEnd int64
	slot    float64 // Mean: sum over the known raw slots; otherwise the value so far
	known   int64   // raw slots that are known
}

// counter spreads each increment evenly over the time since the sample before,
// unless that is more than continuous seconds away.
func (w *writer) counter(continuous int64, times []int64, values []float64) {
	step := w.grid.RawStep
	first := true
	var t0 int64
	var v0 float64
	for i, t := range times {
		v := values[i]
		if math.IsNaN(v) {
			continue
		}
		before, grown := t0, v-v0
		usable := !first && t-t0 <= continuous && t > w.grid.Start
		t0, v0, first = t, v, false
		if !usable {
			continue
		}
		if before >= w.grid.End {
			return
		}
		rate := max(grown, 0) / float64(t-before) // a drop is a reset: no traffic
		from, to := max(before, w.grid.Start), min(t, w.grid.End)
		for from < to {
			w.advance(from)
			if from == w.rawEnd-step && to-from >= 2*step {
				n := (min(to, w.slotEnd) - from) / step // whole raw slots with the same rate
				if w.how == Mean {
					w.slot += rate * float64(n)
				} else {
					w.slot = w.add(w.slot, rate, w.known)
				}
				w.known += n
				from += n * step
				continue
			}
			until := min(to, w.rawEnd)
			w.raw += rate * float64(until-from)
			w.weight += until - from
			from = until
		}
	}
}

// gauge puts each sample into the raw slot whose end is nearest, the later one
// of two that are equally near.
func (w *writer) gauge(times []int64, values []float64) {
	half := (w.grid.RawStep + 1) / 2
	for i, t := range times {
		v := values[i]
		at := t - half // inside the raw slot it belongs to
		if math.IsNaN(v) || at < w.grid.Start {
			continue
		}
		if at >= w.grid.End {
			return
		}
		w.advance(at)
		w.raw = w.add(w.raw, v, w.weight)
		w.weight++
	}
}

// add folds v into sum, which n values made.
func (w *writer) add(sum, v float64, n int64) float64 {
	switch {
	case n == 0 || w.how == Last:
		return v
	case w.how == Max:
		return max(sum, v)
	case w.how == Min:
		return min(sum, v)
	default:
		return sum + v
	}
}

// advance opens the raw slot that begins at or before t and ends after it,
// closing what ends earlier.
func (w *writer) advance(t int64) {
	if t < w.rawEnd {
		return
	}
	w.closeRaw()
	step := w.grid.RawStep
	if w.rawEnd += step; t >= w.rawEnd {
		w.rawEnd += (t-w.rawEnd)/step*step + step
	}
	for t >= w.slotEnd {
		w.closeSlot(w.grid.Step)
	}
}

// closeRaw folds the raw slot into the slot it is part of.
func (w *writer) closeRaw() {
	if w.weight >= w.least {
		v := w.raw
		if w.rate || w.how == Mean {
			v /= float64(w.weight)
		}
		w.slot = w.add(w.slot, v, w.known)
		w.known++
	}
	w.raw, w.weight = 0, 0
}

// closeSlot writes a slot of which that many seconds have passed.
func (w *writer) closeSlot(seconds int64) {
	p := Part{w.slot, float64(w.known)}
	if w.apart {
		w.parts = append(w.parts, p)
	} else {
		w.dst = append(w.dst, p.point(w.how, float64(seconds)/float64(w.grid.RawStep)))
	}
	w.slot, w.known = 0, 0
	w.slotEnd += w.grid.Step
}

func (w *writer) finish() {
	w.closeRaw()
	for len(w.dst)+len(w.parts) < w.want-1 {
		w.closeSlot(w.grid.Step)
	}
	w.closeSlot(w.grid.End - (w.slotEnd - w.grid.Step))
}
