package resident

import "testing"

// TestHeap: a heap is collected once after a burst, now and then while it fills slowly, and never while it fills fast.
func TestHeap(t *testing.T) {
	const mb = 1 << 20
	var h heap
	for i, step := range []struct {
		allocated, live uint64
		collect         bool
	}{
		{1 * mb, mb, false},         // little was made so far
		{6 * mb, mb, false},         // the start
		{6*mb + 10, mb, true},       // is over
		{6*mb + 20, mb, false},      // idle
		{500 * mb, 100 * mb, false}, // a burst
		{900 * mb, 100 * mb, false},
		{910 * mb, 100 * mb, true}, // it is over
		{911 * mb, 100 * mb, false},
		{913 * mb, 100 * mb, false},
		{915 * mb, 100 * mb, true}, // slowly
		{930 * mb, 100 * mb, true},
		{960 * mb, 100 * mb, false}, // the runtime will
	} {
		if got := h.collect(step.allocated, step.live); got != step.collect {
			t.Errorf("step %d, %d MiB made: collect %v", i, step.allocated/mb, got)
		}
	}
}
