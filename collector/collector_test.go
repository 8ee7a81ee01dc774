package collector

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bench is a Collector over jobs that a test changes while it runs.
type bench struct {
	*testing.T
	*Collector
	mu    sync.Mutex
	jobs  []Job
	fails error // of Jobs, after those it yields
	log   strings.Builder
	runs  []string // "ID+SECONDS{AFFECTING}", seconds since the beginning
	begun time.Time
	stop  func() error
}

// Write takes the log.
func (b *bench) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(line)
}

// begin starts a Collector in a bubble of synctest. Its clock begins at a whole second.
func begin(t *testing.T, config Config, jobs ...Job) *bench {
	b := &bench{T: t, jobs: jobs, begun: time.Now()}
	config.Log = slog.New(slog.NewTextHandler(b, nil))
	config.Jobs = func(context.Context) iter.Seq2[Job, error] {
		b.mu.Lock()
		jobs, fails := slices.Clone(b.jobs), b.fails
		b.mu.Unlock()
		return func(yield func(Job, error) bool) {
			for _, job := range jobs {
				if !yield(job, nil) {
					return
				}
			}
			if fails != nil {
				yield(Job{}, fails)
			}
		}
	}
	b.Collector = New(config)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Collector.Run(ctx) }()
	b.stop = func() error { cancel(); return <-done }
	synctest.Wait()
	return b
}

// job is one that notes its runs and takes some time.
func (b *bench) job(id string, data any, takes time.Duration, seconds ...float64) Job {
	job := Job{ID: id, Data: data, Run: func(ctx context.Context, run Run) error {
		b.mu.Lock()
		var affecting []string
		for _, a := range run.Affecting {
			affecting = append(affecting, fmt.Sprint(a.Seconds()))
		}
		b.runs = append(b.runs, fmt.Sprintf("%s+%g{%s}", id, run.Due.Sub(b.begun).Seconds(), strings.Join(affecting, " ")))
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(takes):
			return nil
		}
	}}
	for _, s := range seconds {
		job.Intervals = append(job.Intervals, time.Duration(s*1e9))
	}
	return job
}

func (b *bench) set(jobs ...Job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.jobs = jobs
}

// until sleeps to a time since the beginning and compares the runs so far.
func (b *bench) until(seconds float64, want string) {
	b.Helper()
	time.Sleep(time.Duration(seconds*1e9) - time.Since(b.begun))
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := strings.Join(b.runs, " "); got != want {
		b.Errorf("after %g s: %s, want %s", seconds, got, want)
	}
	b.runs = nil
}

// end stops and compares the books.
func (b *bench) end() Stats {
	b.Helper()
	if err := b.stop(); err != nil {
		b.Error(err)
	}
	s := b.Stats()
	if s.Due != s.Started+s.Skipped+s.Missed || s.Started != s.Succeeded+s.Failed || s.Waiting != 0 || s.Running != 0 {
		b.Errorf("the figures do not fit: %+v", s)
	}
	return s
}

func (b *bench) logged(text string, times int) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := strings.Count(b.log.String(), text); got != times {
		b.Errorf("%q is logged %d times, not %d: %s", text, got, times, b.log.String())
	}
}

// refreshEvery is short, so that a change is seen before anything else happens.
const refreshEvery = 500 * time.Millisecond

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestIntervals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := begin(t, Config{Refresh: refreshEvery})
		b.set(b.job("a", nil, 0, 4, 6, 4.7), b.job("b", nil, 0, 1.9))
		b.until(0.5, "")
		b.until(3.2, "b+1{1} b+2{1} b+3{1}")
		b.set(b.job("a", nil, 0, 4, 6, 4.7))
		b.until(13, "a+4{4} a+6{6} a+8{4} a+12{4 6}")
		b.end()
	})
}

// TestRefresh has the rules of section 1.3, a row of the table each.
func TestRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := begin(t, Config{Refresh: refreshEvery})
		b.set(b.job("a", 1, 0, 10), b.job("c", nil, 0, 9))
		b.until(3.2, "")
		b.set(b.job("a", 1, 0, 2), b.job("c", nil, 0, 9)) // equal data: nothing changes, the intervals neither
		b.until(10.1, "c+9{9} a+10{10}")
		b.set(b.job("a", 2, 0, 10), b.job("c", nil, 0, 9)) // other data: time begins anew
		b.until(18.1, "c+18{9}")
		b.until(20.6, "a+20{10}")
		b.mu.Lock()
		b.fails, b.jobs = errors.New("the server is gone"), nil // an error removes nothing
		b.mu.Unlock()
		b.until(30.6, "c+27{9} a+30{10}")
		b.logged("the server is gone", 20)
		b.mu.Lock()
		b.fails, b.jobs = nil, nil // a complete refresh does
		b.mu.Unlock()
		b.until(60, "")
		if s := b.end(); s.Jobs != 0 || s.RefreshErrors != 20 || s.LastRefresh.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

func TestBadJobs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := begin(t, Config{Refresh: refreshEvery})
		good := b.job("good", nil, 0, 5)
		b.set(b.job("none", nil, 0), b.job("short", nil, 0, 0.9), b.job("minus", nil, 0, -3), Job{ID: "idle", Intervals: []time.Duration{time.Second}},
			b.job("odd", func() {}, 0, 1), good, b.job("good", "different", 0, 1))
		b.until(10.1, "good+5{5} good+10{5}")
		for _, text := range []string{"job=none reason=\"it has no intervals\"", "the interval 900ms is shorter than a second", "the interval -3s", "it has no function",
			"its data cannot be compared", "two jobs have the same ID"} {
			b.logged(text, 1)
		}
		b.end()
	})
}

func TestStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		aligned, future := Job{}, Job{}
		b := begin(t, Config{Refresh: refreshEvery})
		time.Sleep(300 * time.Millisecond)
		aligned, future = b.job("aligned", nil, 0, 60), b.job("future", nil, 0, 7)
		aligned.Start = b.begun.Add(-50*time.Second + 700*time.Millisecond)
		future.Start = b.begun.Add(time.Hour)
		b.set(aligned, future)
		b.until(20, "future+7{7} aligned+10{60} future+14{7}")
		b.logged("its start lies in the future", 1)
		b.end()
	})
}

func TestSlowJobs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := begin(t, Config{Refresh: refreshEvery, Deadline: 5 * time.Second})
		b.set(b.job("slow", nil, 2500*time.Millisecond, 1), b.job("hangs", nil, time.Hour, 8))
		b.until(8.5, "slow+1{1} slow+4{1} slow+7{1} hangs+8{8}")
		b.until(13.9, "slow+10{1} slow+13{1}")
		b.logged("a job failed", 1) // its deadline passed
		if s := b.end(); s.Skipped != 8 || s.Failed != 2 {
			t.Errorf("%+v", s)
		}
	})
	bubble(t, func(t *testing.T) { // overlapping, when that is wanted
		b := begin(t, Config{Refresh: refreshEvery, Deadline: time.Hour, Overlap: 2})
		b.set(b.job("slow", nil, 2500*time.Millisecond, 1))
		b.until(5.2, "slow+1{1} slow+2{1} slow+4{1} slow+5{1}")
		b.end()
	})
}

// TestPlaces has six jobs for two places: those that need not wait longer than a second are done.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		takes           time.Duration
		started, missed int64
	}{{700 * time.Millisecond, 4, 2}, {2 * time.Second, 2, 4}, {300 * time.Millisecond, 6, 0}} {
		bubble(t, func(t *testing.T) {
			b := begin(t, Config{Refresh: refreshEvery, Places: 2})
			var jobs []Job
			for i := range 6 {
				jobs = append(jobs, b.job(fmt.Sprint(i), nil, c.takes, 10))
			}
			b.set(jobs...)
			time.Sleep(13 * time.Second)
			if s := b.end(); s.Started != c.started || s.Missed != c.missed {
				t.Errorf("%+v", s)
			}
			b.logged("a run is missed", int(c.missed))
		})
	}
}

func TestPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := begin(t, Config{Refresh: refreshEvery})
		bad := b.job("bad", nil, 0, 2)
		bad.Run = func(context.Context, Run) error { panic("nobody expects it") }
		b.set(bad, b.job("good", nil, 0, 2))
		b.until(4.5, "good+2{2} good+4{2}")
		b.logged("nobody expects it", 1) // and not again and again
		if s := b.end(); s.Failed != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := begin(t, Config{Refresh: refreshEvery, Grace: 3 * time.Second})
		b.set(b.job("ends", nil, time.Hour, 100))
		time.Sleep(100500 * time.Millisecond)
		before := time.Now()
		b.end()
		if took := time.Since(before); took != 0 {
			t.Errorf("a run whose context ended held up the stop by %s", took)
		}
	})
	bubble(t, func(t *testing.T) {
		b := begin(t, Config{Refresh: refreshEvery, Grace: 3 * time.Second})
		deaf := b.job("deaf", nil, 0, 1)
		deaf.Run = func(context.Context, Run) error { time.Sleep(10 * time.Second); return nil }
		b.set(deaf)
		time.Sleep(1500 * time.Millisecond)
		if err := b.stop(); err == nil || err.Error() != "1 runs did not end within 3s" {
			t.Errorf("stopped with %v", err)
		}
		time.Sleep(10 * time.Second)
	})
}

// TestSpread is thousands of jobs that are met at once: none is missed, and hardly any two begin together.
func TestSpread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 10_000
		perSecond := make([]int, 11)
		var mu sync.Mutex
		b := begin(t, Config{Refresh: time.Hour, Spread: true})
		jobs := make([]Job, n)
		for i := range jobs {
			jobs[i] = Job{ID: fmt.Sprint("ping ", i), Intervals: []time.Duration{10 * time.Second}, Run: func(_ context.Context, run Run) error {
				mu.Lock()
				defer mu.Unlock()
				perSecond[run.Due.Sub(b.begun)/time.Second-3600]++
				return nil
			}}
		}
		b.set(jobs...)
		time.Sleep(3610 * time.Second)
		if s := b.end(); s.Started != n || s.Jobs != n {
			t.Errorf("%+v", s)
		}
		for second, runs := range perSecond[:10] {
			if runs < n/10*9/10 || runs > n/10*11/10 {
				t.Errorf("%d of %d begin in second %d", runs, n, second)
			}
		}
	})
}

func TestHealthy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := begin(t, Config{Refresh: 10 * time.Second})
		if err := b.Healthy(); err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		b.fails = errors.New("no")
		b.mu.Unlock()
		time.Sleep(35 * time.Second)
		if err := b.Healthy(); err == nil || err.Error() != "the jobs were fetched last 35s ago" {
			t.Error(err)
		}
		b.end()
		if err := New(Config{}).Healthy(); err == nil {
			t.Error("healthy before it began")
		}
	})
}

// BenchmarkRuns is what a run costs besides what its job does.
func BenchmarkRuns(b *testing.B) {
	const n = 10_000
	c := New(Config{Spread: true})
	for i := range n {
		c.apply(&Job{ID: fmt.Sprint(i), Intervals: []time.Duration{10 * time.Second}, Run: func(context.Context, Run) error { return nil }}, 1)
	}
	b.ReportAllocs()
	now := time.Now()
	for b.Loop() {
		now = now.Add(10 * time.Second)
		c.begin(b.Context(), now)
		c.running.Wait()
	}
	if s := c.Stats(); s.Skipped > 0 || s.Due != int64(b.N*n) {
		b.Errorf("%+v", s)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/run")
}
