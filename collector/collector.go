package collector

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what a Collector does. Only Jobs is required.
type Config struct {
	// Jobs yields all jobs there are at present, each once. It is called at every
	// refresh, from one goroutine. Each job is taken over as soon as it is yielded; those that
	// are not yielded any more end with the refresh. After an error, which ends the refresh, none does.
	Jobs func(ctx context.Context) iter.Seq2[Job, error]

	Refresh  time.Duration // from the end of a refresh to the next; 0 means a minute
	Places   int           // how many jobs are done at once; 0 means 1000
	Overlap  int           // how many runs of one job; 0 means 1: a run that is due while the last one goes on is skipped
	Deadline time.Duration // of a run; 0 means the shortest interval of its job
	Grace    time.Duration // how long runs may take to end when the Collector stops; 0 means 10 s

	// Spread gives every job without a Start a moment of its own within its shortest
	// interval, always the same for the same ID, so that thousands of jobs
	// do not begin in one second.
	Spread bool

	Log *slog.Logger // nil means the default logger
}

// Stats are figures of a Collector since it was made: every due run was started,
// skipped or missed, or waits for a place.
type Stats struct {
	Jobs      int // there are
	Due       int64
	Waiting   int64 // for a place
	Started   int64
	Skipped   int64 // because the last run of the job went on
	Missed    int64 // because no place was free within a second
	Running   int64
	Succeeded int64
	Failed    int64         // with an error or a panic
	Busy      time.Duration // that runs took, all together

	Refreshes     int64     // that were complete
	RefreshErrors int64     // that ended with an error
	LastRefresh   time.Time // that was complete; zero before the first
}

// misfire is how late a run may begin (section 1.5).
const misfire = time.Second

// Collector does jobs at their times. Its methods may be called from any goroutine.
type Collector struct {
	config Config
	log    *slog.Logger
	places chan struct{}

	mu     sync.Mutex
	jobs   map[string]*entry
	queue  queue
	wake   chan struct{} // something new may be first in the queue
	broken map[string]string

	running                                            sync.WaitGroup
	due, waiting, started, skipped, missed, inProgress atomic.Int64
	succeeded, failed, busy                            atomic.Int64
	refreshes, refreshErrors, lastRefresh              atomic.Int64
}

// entry is a job with its time.
type entry struct {
	Job
	timing
	fingerprint string
	deadline    time.Duration
	due         int64 // next time, Unix nanoseconds
	place       int   // in the queue
	late        bool  // its last due run was skipped
	copies      atomic.Int32
	failure     atomic.Pointer[string] // of the last run; nil when it ended well
	seen        int64                  // the refresh that saw it last
}

// New returns a Collector. Nothing happens before Run.
func New(config Config) *Collector {
	config.Refresh = cmp.Or(config.Refresh, time.Minute)
	config.Places = cmp.Or(config.Places, 1000)
	config.Overlap = cmp.Or(config.Overlap, 1)
	config.Grace = cmp.Or(config.Grace, 10*time.Second)
	return &Collector{
		config: config, log: cmp.Or(config.Log, slog.Default()), places: make(chan struct{}, config.Places),
		jobs: make(map[string]*entry), wake: make(chan struct{}, 1), broken: make(map[string]string),
	}
}

// Run does jobs until ctx ends. Then the contexts of the runs in progress end too, and Run
// returns when they have, or with an error when some have not within the
// grace time. It is called once.
func (c *Collector) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops sync.WaitGroup
	loops.Go(func() { c.refreshing(ctx) })
	loops.Go(func() { c.scheduling(ctx) })
	<-ctx.Done()
	loops.Wait()
	ended := make(chan struct{})
	go func() { c.running.Wait(); close(ended) }()
	grace := time.NewTimer(c.config.Grace)
	defer grace.Stop()
	select {
	case <-ended:
		return nil
	case <-grace.C:
		return fmt.Errorf("%d runs did not end within %s", c.inProgress.Load(), c.config.Grace)
	}
}

// Stats returns the figures so far.
func (c *Collector) Stats() Stats {
	c.mu.Lock()
	jobs := len(c.jobs)
	c.mu.Unlock()
	s := Stats{
		Jobs: jobs, Waiting: c.waiting.Load(), Started: c.started.Load(), Skipped: c.skipped.Load(), Missed: c.missed.Load(),
		Running: c.inProgress.Load(), Succeeded: c.succeeded.Load(), Failed: c.failed.Load(), Busy: time.Duration(c.busy.Load()), Due: c.due.Load(),
		Refreshes: c.refreshes.Load(), RefreshErrors: c.refreshErrors.Load(),
	}
	if at := c.lastRefresh.Load(); at != 0 {
		s.LastRefresh = time.Unix(0, at)
	}
	return s
}

// Healthy returns why the bot should be looked at: no refresh was complete for
// three times as long as one should take (section 7).
func (c *Collector) Healthy() error {
	last := c.Stats().LastRefresh
	if last.IsZero() {
		return errors.New("the jobs were never fetched")
	}
	if age := time.Since(last); age > 3*c.config.Refresh {
		return fmt.Errorf("the jobs were fetched last %s ago", age.Truncate(time.Second))
	}
	return nil
}

// refreshing asks for the jobs again and again (section 1.3).
func (c *Collector) refreshing(ctx context.Context) {
	for round := int64(1); ctx.Err() == nil; round++ {
		switch err := c.refresh(ctx, round); {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.refreshErrors.Add(1)
			c.log.Error("cannot refresh the jobs; those that are known go on", "error", err)
		default:
			c.refreshes.Add(1)
			c.lastRefresh.Store(time.Now().UnixNano())
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.config.Refresh):
		}
	}
}

func (c *Collector) refresh(ctx context.Context, round int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	seen := make(map[string]bool)
	for job, err := range c.config.Jobs(ctx) {
		if err != nil {
			return err
		}
		if seen[job.ID] {
			c.complain(job.ID, "two jobs have the same ID; the first one counts")
			continue
		}
		seen[job.ID] = true
		c.apply(&job, round)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.jobs {
		if e.seen != round {
			c.drop(e)
		}
	}
	for id := range c.broken {
		if !seen[id] {
			delete(c.broken, id)
		}
	}
	return nil
}

// complain logs what is wrong with a job, once until it is something else.
func (c *Collector) complain(id, what string) {
	if c.broken[id] != what {
		c.broken[id] = what
		c.log.Error("cannot do a job as it is", "job", id, "reason", what)
	}
}

// apply takes one job over.
func (c *Collector) apply(job *Job, round int64) {
	e, err := c.entry(job)
	if err != nil {
		c.complain(job.ID, err.Error())
		c.mu.Lock()
		defer c.mu.Unlock()
		if old := c.jobs[job.ID]; old != nil {
			c.drop(old) // what it was is not wanted any more, what it is cannot be done
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.jobs[job.ID]; old != nil {
		if old.fingerprint == e.fingerprint {
			old.seen = round
			return
		}
		c.drop(old)
	}
	if job.Start.After(time.Now()) {
		c.log.Warn("a job begins now, because its start lies in the future", "job", job.ID, "start", job.Start)
	}
	e.seen = round
	c.jobs[job.ID] = e
	heap.Push(&c.queue, e)
	if e.place == 0 {
		c.hurry()
	}
}

// entry is a job with its first time.
func (c *Collector) entry(job *Job) (*entry, error) {
	if job.Run == nil {
		return nil, errors.New("it has no function")
	}
	intervals, err := intervalsOf(job)
	if err != nil {
		return nil, err
	}
	mark, err := fingerprint(job.Data)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	shortest := time.Duration(intervals[0]) * time.Second
	e := &entry{Job: *job, fingerprint: mark, deadline: cmp.Or(c.config.Deadline, shortest)}
	e.intervals = intervals
	begin := now.Truncate(time.Second)
	switch {
	case job.Start.IsZero() && c.config.Spread:
		begin = begin.Add(spread(job.ID, shortest) - shortest)
	case job.Start.IsZero() || job.Start.After(now):
	default:
		begin = job.Start.Truncate(time.Second)
	}
	e.start = begin.UnixNano()
	e.due = e.next(now.UnixNano())
	return e, nil
}

// spread is a moment within interval that depends on id alone.
func spread(id string, interval time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(id))
	sum := h.Sum64()
	sum ^= sum >> 29 // similar texts differ in few bits
	sum *= 0xbf58476d1ce4e5b9
	sum ^= sum >> 32
	return time.Duration(sum % uint64(interval))
}

// drop ends a job; its runs in progress end by themselves.
func (c *Collector) drop(e *entry) {
	delete(c.jobs, e.ID)
	if e.place >= 0 {
		heap.Remove(&c.queue, e.place)
	}
}

func (c *Collector) hurry() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// longestSleep bounds the sleep of scheduling, so that a step of the clock is noticed.
const longestSleep = 10 * time.Second

// scheduling begins runs when they are due.
func (c *Collector) scheduling(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	before := time.Now()
	for {
		now := time.Now()
		if step := now.Round(0).Sub(before.Round(0)) - now.Sub(before); step.Abs() > time.Second {
			c.log.Warn("the clock was set", "by", step.Truncate(time.Millisecond))
			if step < 0 {
				c.reconsider(now)
			}
		}
		before = now
		timer.Reset(c.begin(ctx, now))
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// begin starts what is due and returns how long there is nothing to do.
func (c *Collector) begin(ctx context.Context, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := now.UnixNano()
	for len(c.queue) > 0 && c.queue[0].due <= at {
		e := c.queue[0]
		due := e.last(at) // several times that passed are one
		e.due = e.next(at)
		heap.Fix(&c.queue, 0)
		c.start(ctx, e, due)
	}
	if len(c.queue) == 0 {
		return longestSleep
	}
	return min(longestSleep, time.Duration(c.queue[0].due-at))
}

// reconsider computes all due times again after the clock was set back.
func (c *Collector) reconsider(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.queue {
		e.due = e.next(now.UnixNano())
	}
	heap.Init(&c.queue)
}

func (c *Collector) start(ctx context.Context, e *entry, due int64) {
	c.due.Add(1)
	if int(e.copies.Load()) >= c.config.Overlap {
		c.skipped.Add(1)
		if !e.late {
			e.late = true
			c.log.Warn("runs are skipped, because the last one of the job goes on", "job", e.ID)
		}
		return
	}
	e.copies.Add(1)
	e.late = false
	c.waiting.Add(1)
	c.running.Go(func() {
		defer e.copies.Add(-1)
		if !c.place(ctx, due) {
			c.waiting.Add(-1)
			c.missed.Add(1)
			if ctx.Err() == nil {
				c.log.Warn("a run is missed, because too many others go on", "job", e.ID, "places", c.config.Places)
			}
			return
		}
		c.started.Add(1)
		c.waiting.Add(-1)
		defer func() { <-c.places }()
		c.do(ctx, e, due)
	})
}

// place waits for a place, until the run is too late.
func (c *Collector) place(ctx context.Context, due int64) bool {
	select {
	case c.places <- struct{}{}:
		return true
	default:
	}
	late := time.NewTimer(misfire - time.Duration(time.Now().UnixNano()-due))
	defer late.Stop()
	select {
	case c.places <- struct{}{}:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

// do does a job once.
func (c *Collector) do(ctx context.Context, e *entry, due int64) {
	ctx, cancel := context.WithTimeout(ctx, e.deadline)
	defer cancel()
	run := Run{Due: time.Unix(0, due)}
	for _, interval := range e.affecting(make([]int64, 0, len(e.intervals)), due) {
		run.Affecting = append(run.Affecting, time.Duration(interval)*time.Second)
	}
	c.inProgress.Add(1)
	began := time.Now()
	err := call(ctx, &e.Job, run)
	c.busy.Add(int64(time.Since(began)))
	c.inProgress.Add(-1)
	if err == nil {
		c.succeeded.Add(1)
		if e.failure.Swap(nil) != nil {
			c.log.Info("a job works again", "job", e.ID)
		}
		return
	}
	c.failed.Add(1)
	text, _, _ := strings.Cut(err.Error(), "\n")                     // without the stack of a panic
	if last := e.failure.Swap(&text); last == nil || *last != text { // otherwise it has been said
		c.log.Error("a job failed", "job", e.ID, "error", err)
	}
}

func call(ctx context.Context, job *Job, run Run) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return job.Run(ctx, run)
}

// queue is a heap of jobs by due time.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(e any) {
	e.(*entry).place = len(*q)
	*q = append(*q, e.(*entry))
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	n := len(*q) - 1
	e := (*q)[n]
	(*q)[n] = nil
	*q = (*q)[:n]
	e.place = -1
	return e
}
