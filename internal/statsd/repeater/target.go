package repeater

import "sync"

// target is one server packets are repeated to, and the queue in front of it.
type target struct {
	address  string
	newlines bool   // a packet is followed by a newline
	senders  int    // most goroutines that may send
	start    func() // starts one

	mu      sync.Mutex
	arrived sync.Cond
	waiting batch
	running int // senders
	idle    int // of them, waiting in take
	closed  bool
}

// batch is packets one after the other: packet i ends before data[ends[i]].
type batch struct {
	data []byte
	ends []int
}

// packet returns packet i.
func (b *batch) packet(i int) []byte {
	start := 0
	if i > 0 {
		start = b.ends[i-1]
	}
	return b.data[start:b.ends[i]]
}

func newTarget(address string, stream bool) *target {
	t := &target{address: address, newlines: stream, senders: 1}
	if stream {
		t.senders = maxConnections
	}
	t.arrived.L = &t.mu
	return t
}

// outcome is what became of a packet.
type outcome int

const (
	queued outcome = iota
	tooMuch
	closed
)

// push copies packet into the queue. The first packet starts a sender, and a
// queue that grows while all of them send starts another.
func (t *target) push(packet []byte) outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return closed
	case len(t.waiting.data)+len(packet) >= maxQueue:
		return tooMuch
	}
	t.waiting.data = append(t.waiting.data, packet...)
	if t.newlines {
		t.waiting.data = append(t.waiting.data, '\n')
	}
	t.waiting.ends = append(t.waiting.ends, len(t.waiting.data))
	if t.idle > 0 {
		t.arrived.Signal()
	} else if t.running == 0 || len(t.waiting.data) > busy && t.running < t.senders {
		t.running++
		t.start() // with the lock held, so that none starts after close
	}
	return queued
}

// take fills b, whose packets are done with, with everything that waits. It
// waits for the first packet and returns false when there will be none.
func (t *target) take(b *batch) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle++
	for len(t.waiting.ends) == 0 && !t.closed {
		t.arrived.Wait()
	}
	t.idle--
	b.data, b.ends = b.data[:0], b.ends[:0]
	t.waiting, *b = *b, t.waiting
	return len(b.ends) > 0
}

// discard empties the queue and returns how many packets were in it.
func (t *target) discard() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.waiting.ends)
	t.waiting = batch{}
	return n
}

// close lets senders end when the queue is empty.
func (t *target) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.arrived.Broadcast()
}
