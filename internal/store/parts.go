package store

import (
	"context"
	"runtime"
	"sync"

	"github.com/weirhq/weir/timeseries"
)

// partScratch is the memory of one of the workers that go over a selection.
type partScratch struct {
	mu     *sync.Mutex // shared by the workers
	out    []samples
	parts  []timeseries.Part
	points []float64
}

// samples returns n empty ones.
func (w *partScratch) samples(n int) []samples {
	for len(w.out) < n {
		w.out = append(w.out, samples{})
	}
	return w.out[:n]
}

// eachPoints calls do for the points of each metric of n series that reading.grid computed.
func (w *partScratch) eachPoints(metrics, n int, g timeseries.Grid, do func(i, m int, points []float64)) {
	if g.Count == 0 {
		return
	}
	for at := range n * metrics {
		do(at/metrics, at%metrics, w.points[at*g.Count:(at+1)*g.Count])
	}
}

// eachPart calls do for parts of sel, on all processors when there are several
// parts, and returns the first error.
func (d *database) eachPart(ctx context.Context, sel *selection, do func(part, *partScratch) error) error {
	var mu sync.Mutex
	parts := (len(sel.ids) + sel.size - 1) / sel.size
	run := func(i int, w *partScratch) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return do(part{sel, i * sel.size, min((i+1)*sel.size, len(sel.ids))}, w)
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
