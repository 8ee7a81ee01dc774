package resident

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	collectEvery = 20 * time.Second
	worthIt      = 4 << 20 // bytes of new objects, before which a collection finds too little
)

// Collect collects a heap that fills slowly before it has doubled, and gives what is free back to the system, until ctx
// ends. The runtime alone lets garbage grow to the size of what is in use, and keeps the room that a burst
// has taken: right for a process that is busy, and twice the memory for one that is not.
func Collect(ctx context.Context) {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	heap := heap{allocated: samples[0].Value.Uint64()} // by the start, which is over
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(samples)
		if heap.collect(samples[0].Value.Uint64(), samples[1].Value.Uint64()) {
			debug.FreeOSMemory()
			Trim() // the collection has looked at tables of the whole program
		}
	}
}

// heap is how a heap was when it was last looked at.
type heap struct {
	allocated uint64 // bytes since the process began
	collected uint64 // of them, those before the last collection of ours
}

// collect reports whether the heap is to be collected now: when something is there to find, and it does not
// fill so fast that the runtime soon collects it itself, which costs as much again.
func (h *heap) collect(allocated, live uint64) bool {
	slow := allocated-h.allocated < live/4+worthIt
	h.allocated = allocated
	if !slow || allocated-h.collected < worthIt {
		return false
	}
	h.collected = allocated
	return true
}
