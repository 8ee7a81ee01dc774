package countergroup

import "time"

// run ticks with the wall clock until Stop.
func (e *Engine) run() {
	defer close(e.stopped)
	now := e.cfg.Now()
	last, behind := now.Unix(), 0
	e.ticking.Lock()
	e.last = last
	e.ticking.Unlock()
	e.begin(last)
	for {
		timer := time.NewTimer(now.Truncate(time.Second).Add(time.Second).Sub(now))
		select {
		case <-e.stop:
			timer.Stop()
			e.ticking.Lock()
			e.second(e.windowEnd(e.last), true)
			e.close()
			e.ticking.Unlock()
			return
		case <-timer.C:
		}
		now = e.cfg.Now()
		t := now.Unix()
		if t > last {
			behind = 0
		} else {
			// The clock was set back. Windows go on without going back, at nine tenths of the pace, until the clock has caught up.
			if behind++; behind%10 == 0 {
				continue
			}
			e.clock.Warn("the clock was set back: windows are ahead of it until it catches up", "seconds_ahead", last+1-t)
			t = last + 1
		}
		e.Tick(t)
		last = t
	}
}
