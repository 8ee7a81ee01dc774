package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// maxBacklog is how many memory tables may wait to be written to disk before
// commits wait. Pebble begins with small ones and writes none of the first five.
const maxBacklog = 8

// backlog counts memory tables that wait to be written. Pebble could hold commits
// up itself, but would never let them go when writing fails for good.
type backlog struct {
	mu       sync.Mutex
	less     *sync.Cond
	waiting  int
	flushing int // of these, when the flush that is running began
}

func newBacklog() *backlog {
	b := &backlog{}
	b.less = sync.NewCond(&b.mu)
	return b
}

// created is told of every new log: with it comes a new memory table.
func (b *backlog) created(pebble.WALCreateInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting++
}

func (b *backlog) begun(pebble.FlushInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flushing = b.waiting
}

func (b *backlog) ended(info pebble.FlushInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if info.Err == nil {
		b.waiting -= b.flushing
		b.less.Broadcast()
	}
	b.flushing = 0
}

// wait waits until there is room, or stop reports true; wake has it asked again.
func (b *backlog) wait(stop func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.waiting > maxBacklog && !stop() {
		b.less.Wait()
	}
}

func (b *backlog) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.less.Broadcast()
}
