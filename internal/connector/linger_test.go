package connector

import (
	"testing"
	"testing/synctest"
	"time"
)

// A position waits while the script has more than a third of its queue before it, and then no longer than ackDelay.
func TestLinger(t *testing.T) {
	f := func(acked, taken uint64, then func(c *Connector), want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c := &Connector{wake: make(chan struct{}, 1)}
			c.queue = 300
			c.acked.Store(acked)
			c.taken.Store(taken)
			start := time.Now()
			go func() {
				time.Sleep(time.Millisecond)
				then(c)
			}()
			c.linger()
			if took := time.Since(start); took != want {
				t.Errorf("acknowledged %d of %d: waited %v, want %v", acked, taken, took, want)
			}
			time.Sleep(time.Second) // for then
		})
	}
	acks := func(through uint64) func(*Connector) {
		return func(c *Connector) {
			c.acked.Store(through)
			signal(c.wake)
		}
	}
	nothing := func(*Connector) {}
	f(100, 100, nothing, 0)
	f(100, 200, nothing, 0)
	f(200, 100, nothing, 0) // events it had before a restart come again
	f(100, 201, nothing, ackDelay)
	f(100, 300, acks(150), ackDelay)
	f(100, 300, acks(200), time.Millisecond)
	f(100, 300, func(c *Connector) { close(c.wake) }, time.Millisecond)
}
