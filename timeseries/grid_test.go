package timeseries

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func options(maxPoints int) Options {
	o := DefaultOptions()
	o.MaxPoints = maxPoints
	return o
}

func TestNewGrid(t *testing.T) {
	f := func(step, start, end int64, o Options, want Grid) {
		t.Helper()
		want.RawStep = step
		if diff := cmp.Diff(want, NewGrid(&Schema{Step: step}, start, end, o)); diff != "" {
			t.Errorf("step %d, %d to %d, %+v: %s", step, start, end, o, diff)
		}
	}
	initial := func(maxPoints int) Options {
		o := options(maxPoints)
		o.InitialPoint = true
		return o
	}
	// The grid counts from the epoch, whatever the range begins with.
	f(60, 600, 1200, options(80), Grid{Start: 600, Step: 60, Count: 10, End: 1200})
	f(60, 659, 1259, options(80), Grid{Start: 600, Step: 60, Count: 10, End: 1200})
	f(300, 1795310100, 1795311600, options(10), Grid{Start: 1795310100, Step: 300, Count: 5, End: 1795311600})
	f(60, 0, 59, options(80), Grid{Start: 0, Step: 60, Count: 0, End: 0})
	f(60, -90, 60, options(80), Grid{Start: -120, Step: 60, Count: 3, End: 60})

	// A trailing slot, only when the sampled step is longer than the raw one and a raw slot has passed.
	f(60, 0, 600, options(5), Grid{Start: 0, Step: 120, Count: 5, End: 600})
	f(60, 60, 660, options(5), Grid{Start: 0, Step: 120, Count: 6, End: 660})
	f(60, 60, 659, options(5), Grid{Start: 0, Step: 120, Count: 5, End: 600})
	f(60, 0, 719, options(5), Grid{Start: 0, Step: 180, Count: 4, End: 660})

	// Nothing and limits.
	f(60, 660, 660, options(80), Grid{Start: 660, Step: 60, End: 660})
	f(60, 700, 700, initial(80), Grid{Start: 660, Step: 60, End: 660})
	f(60, 700, 100, options(80), Grid{Start: 660, Step: 60, End: 660})
	f(60, 0, 600, options(0), Grid{Start: 0, Step: 600, Count: 1, End: 600})
	f(60, 0, 600, options(-3), Grid{Start: 0, Step: 600, Count: 1, End: 600})
	f(1, 0, 1_000_000, options(math.MaxInt), Grid{Start: 0, Step: 100, Count: MaxSlots, End: 1_000_000})

	// One slot more in front.
	f(60, 600, 1200, initial(80), Grid{Start: 540, Step: 60, Count: 11, End: 1200, Initial: true})
	f(60, 60, 660, initial(5), Grid{Start: -120, Step: 120, Count: 7, End: 660, Initial: true})
}

func TestGridIsBounded(t *testing.T) {
	for _, schema := range []*Schema{{Step: 1}, {Step: 86400}, {Step: MaxStep, Heartbeat: MaxStep}} {
		for _, start := range []int64{math.MinInt64, -1, 0, 1795310100, math.MaxInt64} {
			for _, end := range []int64{math.MinInt64, 0, 1795310100, math.MaxInt64} {
				g := NewGrid(schema, start, end, options(math.MaxInt))
				if g.Count < 0 || g.Count > MaxSlots+1 || g.Step < 1 || g.End < g.Start {
					t.Errorf("step %d, %d to %d: got %+v", schema.Step, start, end, g)
				}
				if after, through := g.Window(schema); after > through {
					t.Errorf("step %d, %d to %d: got samples after %d through %d", schema.Step, start, end, after, through)
				}
			}
		}
	}
}

func TestWindow(t *testing.T) {
	f := func(s Schema, start, end, after, through int64) {
		t.Helper()
		gotAfter, gotThrough := NewGrid(&s, start, end, options(80)).Window(&s)
		if gotAfter != after || gotThrough != through {
			t.Errorf("%+v: got %d, %d, want %d, %d", s, gotAfter, gotThrough, after, through)
		}
	}
	f(Schema{Type: Counter, Step: 60}, 600, 1200, 480, 1319)
	f(Schema{Type: Counter, Step: 300, Heartbeat: 3000}, 3000, 6000, 0, 8999)
	f(Schema{Type: Gauge, Step: 60}, 600, 1200, 629, 1229)
	f(Schema{Type: Gauge, Step: 5}, 600, 605, 602, 607)
	f(Schema{Type: Derivative, Step: 1}, 600, 660, 600, 660)
	f(Schema{Type: Counter, Step: 60}, 600, 600, 600, 600)
}
