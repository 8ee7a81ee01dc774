package statsd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// scripted is a backend whose Flush is a function.
type scripted struct {
	name  string
	flush func(context.Context, *backend.Flush) error
}

func (s *scripted) Name() string                                      { return s.name }
func (s *scripted) Init(context.Context, backend.Environment) error   { return nil }
func (s *scripted) Flush(ctx context.Context, f *backend.Flush) error { return s.flush(ctx, f) }
func account(reg *telemetry.Registry, backend string) telemetry.Account {
	return reg.Ledger("statsd.backend."+backend, "flushes").Snapshot()
}

func TestBackendsDoNotDelayEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var slow []int64 // what the slow backend finished
		block := make(chan struct{})
		good := &recorder{}
		reg := telemetry.NewRegistry()
		s := start(t, config(), reg,
			&scripted{"hanging", func(context.Context, *backend.Flush) error { <-block; return nil }},
			&scripted{"slow", func(_ context.Context, f *backend.Flush) error {
				time.Sleep(2400 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				slow = append(slow, f.Timestamp)
				return nil
			}},
			panicking{},
			&scripted{"failing", func(context.Context, *backend.Flush) error { return errors.New("no") }},
			&scripted{"patient", func(ctx context.Context, _ *backend.Flush) error { <-ctx.Done(); return ctx.Err() }},
			good)
		t0 := s.Status().Startup.Unix()
		time.Sleep(10500 * time.Millisecond)
		synctest.Wait()
		if len(good.flushes) != 10 {
			t.Errorf("the good backend got %d flushes, want 10", len(good.flushes))
		}
		for i, at := range good.at {
			if want := time.Unix(t0+int64(i)+1, 0); !at.Equal(want) {
				t.Errorf("flush %d at %v, want %v", i, at, want)
			}
		}
		for name, want := range map[string]telemetry.Account{
			// one runs, two wait, the others were dropped, oldest first
			"hanging": {Received: 10, Buffered: 3, Discarded: map[string]int64{"queue_full": 7}},
			// done at 3.4, 5.8, 8.2 s; the fourth runs from then on
			"slow":      {Received: 10, Passed: 3, Buffered: 3, Discarded: map[string]int64{"queue_full": 4}},
			"panicking": {Received: 10, Discarded: map[string]int64{"panic": 10}},
			"failing":   {Received: 10, Discarded: map[string]int64{"error": 10}},
			// its deadline is one interval, and then the next flush is there
			"patient":  {Received: 10, Buffered: 1, Discarded: map[string]int64{"error": 9}},
			"recorder": {Received: 10, Passed: 10},
		} {
			got := account(reg, name)
			if got.Received != want.Received || got.Passed != want.Passed || got.Buffered != want.Buffered || got.Lost() != want.Lost() || !got.Balanced() {
				t.Errorf("%s: %+v, want %+v", name, got, want)
			}
			for reason, n := range want.Discarded {
				if got.Discarded[reason] != n {
					t.Errorf("%s: %+v, want %+v", name, got, want)
				}
			}
		}
		mu.Lock()
		if want := []int64{t0 + 1, t0 + 2, t0 + 4}; !slices.Equal(slow, want) {
			t.Errorf("the slow backend got %v, want %v", slow, want)
		}
		mu.Unlock()

		// Stop gives up what hangs when its time is over, and says so
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err := s.Stop(ctx)
		if err == nil || !strings.Contains(err.Error(), `the StatsD backend "hanging" did not take 3 flushes in time`) {
			t.Errorf("Stop: %v", err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Stop took %v", took)
		}
		close(block)
		synctest.Wait()
		time.Sleep(10 * time.Second) // the slow one ends
		if got := account(reg, "hanging"); got.Discarded["stopped"] != 3 || got.Discarded["queue_full"] != 8 || !got.Balanced() {
			t.Errorf("hanging: %+v", got)
		}
		for _, name := range []string{"slow", "panicking", "failing", "patient", "recorder"} {
			if got := account(reg, name); !got.Balanced() || got.Buffered != 0 || got.Received != 11 {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if len(good.flushes) != 11 || !good.stopped {
			t.Errorf("the good backend got %d flushes and stopped %v", len(good.flushes), good.stopped)
		}
	})
}

// endless is a backend that does not stop.
type endless struct{ recorder }

func (e *endless) Stop(ctx context.Context) error { select {} }

func TestBackendThatDoesNotStop(t *testing.T) {
	s := New(config(), []backend.Backend{&endless{}}, telemetry.NewRegistry(), quiet)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Stop(ctx); err == nil || !strings.Contains(err.Error(), `cannot stop the StatsD backend "recorder"`) {
		t.Errorf("Stop: %v", err)
	}
}
