package script

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inProcess starts children that are goroutines, for tests in virtual time.
func inProcess(host func() Host) starter {
	return func(Spec, func(stream, text string)) (*child, error) {
		ours, theirs := net.Pipe()
		c := &child{conn: ours, memory: func() int64 { return 0 }, limit: func() {}, schedule: func() (time.Duration, time.Duration) { return 0, 0 }, nice: func(int) {}, pause: func(bool) {}, ended: make(chan status, 1)}
		var once sync.Once
		end := func(s status) {
			once.Do(func() {
				theirs.Close()
				c.ended <- s
			})
		}
		c.kill = func() { end(status{-1, "SIGKILL"}) }
		go func() {
			if err := serve(theirs, nil, host(), func() {}); err != nil {
				end(status{1, ""})
			}
			end(status{})
		}()
		return c, nil
	}
}

// idler counts the calls of Idle.
type idler struct {
	probe
	idle chan<- time.Time
	exit time.Duration // of its life, and then it panics; 0 for never
	born time.Time
}

func (h *idler) Setup(payload []byte, out *Writer) error {
	h.born = time.Now()
	return h.probe.Setup(payload, out)
}

func (h *idler) Idle(*Writer) error {
	select {
	case h.idle <- time.Now():
	default: // nobody looks
	}
	if h.exit > 0 && time.Since(h.born) >= h.exit {
		panic("enough")
	}
	return nil
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var life atomic.Int64
		life.Store(int64(time.Second))
		spec := probeSpec("", Budget{RestartMin: time.Second, RestartMax: 10 * time.Second})
		s := supervise(t, spec, inProcess(func() Host { return &idler{exit: time.Duration(life.Load())} }))
		pause := func(want time.Duration) {
			t.Helper()
			<-s.exits
			began := time.Now()
			<-s.ready
			if waited := time.Since(began); waited != want {
				t.Errorf("a restart after %v, want %v", waited, want)
			}
		}
		<-s.ready
		for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			pause(want * time.Second)
		}
		life.Store(int64(2 * time.Minute)) // of those that start from now on
		pause(10 * time.Second)
		pause(time.Second) // after a healthy minute
		life.Store(int64(time.Second))
		pause(time.Second)
		pause(2 * time.Second)
		pause(4 * time.Second)
		<-s.exits
		synctest.Wait() // until the wait has begun
		s.RestartSoon() // too late for it
		<-s.ready
		pause(time.Second)
		s.stop()
		time.Sleep(time.Second) // the registry has nothing to hold any more
	})
}

// A script whose calls compute for long waits longer.
func TestBackoffAfterComputing(t *testing.T) {
	b := newBackoff(Budget{RestartMin: time.Second, RestartMax: time.Minute})
	for i, c := range []struct{ computed, want time.Duration }{
		{10 * time.Millisecond, time.Second},
		{time.Second, 19 * time.Second},
		{0, 4 * time.Second},
		{time.Hour, time.Minute},
		{0, 16 * time.Second},
	} {
		if got := b.next(c.computed); got != c.want {
			t.Errorf("%d: %v, want %v", i, got, c.want)
		}
	}
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idle := make(chan time.Time, 100)
		s := supervise(t, probeSpec("", DefaultBudget()), inProcess(func() Host { return &idler{idle: idle} }))
		p := <-s.ready
		began := time.Now()
		time.Sleep(2500 * time.Millisecond)
		send(t, p, echo, "")
		send(t, p, echo, "")
		time.Sleep(1200 * time.Millisecond)
		synctest.Wait()
		s.stop()
		var got []time.Duration
		close(idle)
		for at := range idle {
			got = append(got, at.Sub(began).Round(100*time.Millisecond))
		}
		want := []time.Duration{0, 1000, 2000, 2500, 3500} // milliseconds: after what was sent, and every second
		for i := range want {
			want[i] *= time.Millisecond
		}
		if len(got) > len(want) { // the two frames may arrive apart
			got = append(got[:3], got[4:]...)
		}
		if len(got) != len(want) {
			t.Fatalf("%v, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%v, want %v", got, want)
			}
		}
	})
}
