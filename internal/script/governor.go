package script

import (
	"runtime"
	"time"
)

// Processes at niceMost get what nobody else wants, as far as the kernel is concerned. But a processor that computes for
// such a process does not look for work that waits for another one, as an idle one does, and what is beside hostile scripts
// loses up to a fifth of its rate. So they are held (stopped, in the kernel's word) while processes of other scripts compute and no
// processor is left for them, except in one of holdTurns turns: no script waits for ever, and each can give signs of life.
const (
	holdPeriod = 10 * time.Millisecond // a turn
	holdTurns  = 20
	holdDemand = holdPeriod / 5 // on a processor or waiting for one within a turn, and a process computes
	holdMemory = 3              // turns for which that is true: the kernel counts in steps that may be longer than one
)

// govern starts to hold processes, unless that goes on, until there are none at niceMost. It is called when one comes to be there.
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
		greedy, others := r.sort()
		r.mu.Lock()
		if len(greedy) == 0 && !r.wanted {
			r.governs = false
			r.mu.Unlock()
			return
		}
		r.wanted = false
		r.mu.Unlock()
		free := len(greedy)
		if others > 0 && turn%holdTurns != 0 {
			free = max(0, runtime.NumCPU()-1-others) // one is for this process
		}
		for i := range greedy {
			greedy[(i+turn/holdTurns)%len(greedy)].hold(i >= free)
		}
	}
}

// sort returns the processes at niceMost, and how many other ones compute.
func (r *Registry) sort() (greedy []*Process, others int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.supervisors {
		s.mu.Lock()
		both := [...]*Process{s.process, s.loading}
		s.mu.Unlock()
		for _, p := range both {
			switch {
			case p == nil:
			case p.greediest():
				greedy = append(greedy, p)
			case p.Held() > 0 && p.demands():
				others++
			}
		}
	}
	return greedy, others
}

func (p *Process) greediest() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nice >= niceMost && !p.stopping
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
		p.child.pause(on)
	}
}
