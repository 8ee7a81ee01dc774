package script

import (
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

const (
	slowestLook = time.Second // between two looks at a process
	memoryLook  = 250 * time.Millisecond
	fastestLook = 20 * time.Millisecond
)

// A call that used longCall of a processor, and one leastShare-th of it since the last look, or manyErrors between two looks,
// make the process give way to others by niceStep each time, up to niceMost, and so do processes that die one after the other: a script that
// is broken must not take the processors from those beside it. What counts is what a call used, not how long it took: one that waits, or gets
// too little, is not to blame. Loading, which may be long, costs a step for each longLoad that it used. At niceMost the process gets only
// what nobody else wants; the one after it begins one step above that, so that it loads on a busy machine too.
const (
	longCall   = 100 * time.Millisecond
	longLoad   = time.Second
	leastShare = 50 // a fifth of what one process that is held has
	manyErrors = 10
	niceStep   = 10
	niceMost   = 20
)

// telling are the lines of output by which runtimes say why they end.
var telling = regexp.MustCompile(`^(fatal error|panic|runtime|\w*Error): `)

// look is how often to look after a process with this budget.
func (b Budget) look() time.Duration {
	every := slowestLook
	for _, limit := range []time.Duration{b.Busy, b.Hard} {
		if limit > 0 {
			every = min(every, limit/4)
		}
	}
	if b.Memory > 0 {
		every = min(every, memoryLook)
	}
	return max(every, fastestLook)
}

// watch holds the process to its budget until stopped is closed.
func (p *Process) watch(stopped <-chan struct{}) {
	ticker := time.NewTicker(p.spec.Budget.look())
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.lookAfter()
		case <-stopped:
			return
		}
	}
}

func (p *Process) lookAfter() {
	now := time.Now()
	budget := p.spec.Budget
	memory := p.child.memory()
	p.count.running(p, func(v *vitals) { v.memory = memory })
	p.mu.Lock()
	condemned := p.condemned != ""
	answered := p.pong.Sequence == p.asked
	if answered {
		p.asked++
	}
	asked := p.asked
	p.mu.Unlock()
	if condemned { // it was given a moment to say where it is
		p.child.kill()
		return
	}
	if answered {
		p.out.putControl(kindPing, encode(ping{asked}))
	}
	if budget.Memory > 0 && memory > budget.Memory {
		p.condemn(fmt.Sprintf("killed: it takes %d MiB of memory, more than the %d MiB allowed,", memory>>20, budget.Memory>>20))
		return
	}
	if budget.Hard > 0 && p.silent(now, budget.Hard) > budget.Hard && !p.handling.Load() {
		p.condemn(fmt.Sprintf("killed: no sign of life for more than %v", budget.Hard))
		p.child.kill()
	}
}

// quiet is since when nothing was heard, and how long the process had waited for a processor, or been held, when that was noticed.
// It belongs to the goroutine that watches.
type quiet struct {
	since  int64
	waited time.Duration
}

// silent is for how long p has given no sign of life though it could have: while it waits for a processor that others
// have, or is held, it cannot. No more than three quarters of the time are forgiven so: what the first thread waits for may be
// other threads of the process that compute.
func (p *Process) silent(now time.Time, limit time.Duration) time.Duration {
	heard := p.heard.Load()
	silent := now.Sub(time.Unix(0, heard))
	if silent < limit/4 {
		return silent
	}
	_, waited := p.child.schedule()
	waited += p.wasHeld()
	if p.quiet.since != heard {
		p.quiet = quiet{heard, waited}
	}
	return silent - min(waited-p.quiet.waited, silent/4*3)
}

// hearPong holds the call that runs to its budget.
func (p *Process) hearPong(q pong) error {
	p.mu.Lock()
	if q.Sequence != p.asked {
		defer p.mu.Unlock()
		return fmt.Errorf("%w: pong %d to ping %d", errFrame, q.Sequence, p.asked)
	}
	computed, _ := p.child.schedule()
	now := time.Now()
	before, used, passed := p.pong, computed-p.computed, now.Sub(p.looked)
	p.pong, p.computed, p.looked = q, computed, now
	running := time.Duration(q.Running)
	if q.Calls != before.Calls { // it began since the last look, and ran for so long
		p.before = computed - min(used, running)
	}
	inCall, nice := computed-p.before, p.nice
	budget, loads := p.spec.Budget, q.Name == "setup"
	raised, long := q.Errors-before.Errors, max(inCall, p.inCall) // the call that failed may be the one that ran at the last look
	p.inCall = inCall
	p.offended = p.offended || raised >= manyErrors || budget.Busy > 0 && !loads && (inCall >= budget.Busy/4 || raised > 0 && long >= longCall)
	p.mu.Unlock()
	p.count.running(p, func(v *vitals) { v.pong = q })
	p.count.unsaid.Add(int64(q.Unsaid - before.Unsaid))
	p.limits.output.Miss(int(q.Unsaid - before.Unsaid))
	computes := !loads && used >= passed/leastShare
	switch {
	case budget.Busy > 0 && running > budget.Busy && computes:
		p.condemn(fmt.Sprintf("killed: a call computed for longer than %v", budget.Busy))
	case budget.Hard > 0 && running > budget.Hard:
		p.condemn(fmt.Sprintf("killed: a call took longer than %v", budget.Hard))
	}
	switch {
	case loads && inCall >= longLoad*time.Duration(1+nice/niceStep):
		p.giveWay(niceMost-1, "loading computes for long: the script gives way to others")
	case q.Name != "" && computes && inCall >= longCall:
		p.giveWay(niceMost, "a call computes for long: the script gives way to others")
	case raised >= manyErrors:
		p.giveWay(niceMost, "the script raises one error after the other: it gives way to others")
	}
	if p.offends() {
		p.registry.govern()
	}
	if within := p.errors.add(q.Errors, time.Now()); !within {
		p.condemnForErrors(fmt.Sprintf("killed: more than %d errors within a minute, the last one %q", budget.Errors, cutShort(p.count.lastError().Message)))
	}
	p.mu.Lock()
	condemned := p.condemned != ""
	p.mu.Unlock()
	if condemned {
		p.child.kill()
	}
	return nil
}

// giveWay lowers the priority of the process by a step, down to most.
func (p *Process) giveWay(most int, why string) {
	p.mu.Lock()
	first := !p.greedy
	p.greedy = true
	p.nice = max(p.nice, min(p.nice+niceStep, most))
	step := p.nice
	p.mu.Unlock()
	p.child.nice(step)
	if first {
		p.say(p.limits.output, slog.LevelInfo, why)
	}
}

// inherit lets the process begin with the priority of one before it, at least with a share.
func (p *Process) inherit(step int) {
	if step == 0 {
		return
	}
	p.mu.Lock()
	p.nice, p.offended = step, step == niceMost
	p.mu.Unlock()
	p.child.nice(min(step, niceMost-1))
	if step == niceMost {
		p.registry.govern()
	}
}

// legacy is the priority the next process of the script begins with. again says that this one
// and the one before it ended soon; one that had to be killed counts like two.
func (p *Process) legacy(again bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case again || p.condemned != "":
		return min(p.nice+niceStep, niceMost)
	case p.greedy:
		return p.nice
	}
	return max(0, p.nice-niceStep)
}

// condemn notes why the process is to be killed. The first reason stands.
func (p *Process) condemn(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.condemned == "" {
		p.condemned = reason
	}
}

func (p *Process) condemnForErrors(reason string) {
	p.condemn(reason)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.raised = p.condemned == reason
}

const maxQuoted = 200 // bytes of a message that is quoted in another one

func cutShort(text string) string {
	if len(text) > maxQuoted {
		return text[:maxQuoted] + "..."
	}
	return text
}

// errorRate counts the errors of a minute against a limit; it is used by one goroutine.
type errorRate struct {
	limit int // 0 for none
	begin time.Time
	base  uint64 // errors before it began
}

// add notes that there were so many errors in all, and reports whether that is within the limit.
func (r *errorRate) add(errors uint64, now time.Time) bool {
	if now.Sub(r.begin) >= time.Minute {
		r.begin, r.base = now, errors
		return true
	}
	return r.limit == 0 || errors-r.base <= uint64(r.limit)
}
