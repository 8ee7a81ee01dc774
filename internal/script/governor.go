package script

import (
	"runtime"
	"time"
)

// Processes at niceMost get what nobody else wants, as far as the kernel is concerned. But a processor that computes for
// such a process does not look for work that waits for another one, as an idle one does, and what is beside hostile scripts
// loses up to a fifth of its rate. So those that offend are held (stopped, in the kernel's word) while processes of other scripts
// compute and no processor is left for them, but for one of them in one of holdTurns turns: no script waits for ever, and each can
// give signs of life. To offend is to have computed in one call for a quarter of Budget.Busy, or for longCall in one that failed,
// to raise one error after the other, or to come after a process that left niceMost behind; and to give way again or to be younger
// than a minute. A script that only has long calls is not held.
const (
	holdPeriod = 10 * time.Millisecond // a turn
	holdTurns  = 10
	holdDemand = holdPeriod / 5                // on a processor or waiting for one within a turn, and a process computes
	holdMemory = int(time.Second / holdPeriod) // turns for which that is true: pollers send in bursts, and the time to notice each of them would be lost
)

// govern starts to hold processes, unless that goes on, until there are none to hold. It is called again and again while there is one.
func (r *Registry) govern() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = true
	if !r.governs {
		r.governs = true
		go r.hold()
	}
}

func (r *Registry) hold() {
	ticker := time.NewTicker(holdPeriod)
	defer ticker.Stop()
	for turn := 0; ; turn++ {
		<-ticker.C
		offenders, others := r.divide()
		r.mu.Lock()
		if len(offenders) == 0 && !r.wanted {
			r.governs = false
			r.mu.Unlock()
			return
		}
		r.wanted = false
		r.mu.Unlock()
		free := len(offenders)
		if others > 0 {
			free = max(0, runtime.NumCPU()-1-others) // one is for this process
			if turn%holdTurns == 0 {
				free = max(1, free)
			}
		}
		for i := range offenders {
			offenders[(i+turn/holdTurns)%len(offenders)].hold(i >= free)
		}
	}
}

// divide returns the processes that may be held, and how many other ones compute.
func (r *Registry) divide() (offenders []*Process, others int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.supervisors {
		s.mu.Lock()
		both := [...]*Process{s.process, s.loading}
		s.mu.Unlock()
		for _, p := range both {
			switch {
			case p == nil:
			case p.offends():
				offenders = append(offenders, p)
			default:
				p.hold(false) // it may have been until now
				if p.Held() > 0 && p.demands() {
					others++
				}
			}
		}
	}
	return offenders, others
}

// offends reports whether the process may be held.
func (p *Process) offends() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nice >= niceMost && p.offended && !p.stopping && (p.greedy || time.Since(p.born) < healthy)
}

// demands reports whether the process has wanted a processor lately. It is for the goroutine of hold.
func (p *Process) demands() bool {
	computed, waited := p.child.schedule()
	before := p.demanded
	p.demanded = computed + waited
	p.computing--
	if p.demanded-before >= holdDemand {
		p.computing = holdMemory
	}
	return p.computing > 0
}

// hold stops the process, or lets it go on. One that is to end goes on.
func (p *Process) hold(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on = on && !p.stopping; on != p.held {
		p.held = on
		if p.child.pause(on); on {
			p.heldSince = time.Now()
		} else {
			p.heldFor += time.Since(p.heldSince)
		}
	}
}

// wasHeld is for how long the process was held since it began.
func (p *Process) wasHeld() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held {
		return p.heldFor + time.Since(p.heldSince)
	}
	return p.heldFor
}
