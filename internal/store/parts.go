package store

import (
	"context"
	"runtime"
	"sync"

	"github.com/weirhq/weir/timeseries"
)

// partScratch is the memory of one of the workers that go over a selection.
type partScratch struct {
	mu    *sync.Mutex // shared by the workers
	out   []samples
	slots []float64
}

// samples returns n empty ones.
func (w *partScratch) samples(n int) []samples {
	for len(w.out) < n {
		w.out = append(w.out, samples{})
	}
	return w.out[:n]
}

// addPoints adds the points of the samples of one series to points.
func (w *partScratch) addPoints(points [][]float64, schema *timeseries.Schema, grid timeseries.Grid, s *samples) {
	if len(s.times) == 0 {
		return
	}
	for m := range points {
		w.slots = grid.Slots(w.slots[:0], schema, s.times, s.values[m])
		timeseries.AddPoints(points[m], w.slots)
	}
}

// eachPart calls do for parts of sel, on all processors when there are several
// parts, and returns the first error.
func (d *database) eachPart(ctx context.Context, sel *selection, do func(part, *partScratch) error) error {
	var mu sync.Mutex
	parts := (len(sel.ids) + partSize - 1) / partSize
	run := func(i int, w *partScratch) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return do(part{sel, i * partSize, min((i+1)*partSize, len(sel.ids))}, w)
	}
	workers := min(runtime.GOMAXPROCS(0), parts)
	if workers <= 1 {
		w := &partScratch{mu: &mu}
		for i := range parts {
			if err := run(i, w); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		wg    sync.WaitGroup
		next  int
		first error
	)
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		if first != nil || next == parts {
			return -1
		}
		next++
		return next - 1
	}
	for range workers {
		wg.Go(func() {
			w := &partScratch{mu: &mu}
			for i := take(); i >= 0; i = take() {
				if err := run(i, w); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return first
}
