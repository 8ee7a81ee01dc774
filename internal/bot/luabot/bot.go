package luabot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/script"
)

// Config is a collector of the configuration.
type Config struct {
	Setup    Setup
	Protocol string        // of the devices that fetch_job_configs returns, "" for none
	Budget   script.Budget // of its process
}

// Bot lets a script say what there is to do, and do it. Its methods may be called from any
// goroutine, between Start and Stop.
type Bot struct {
	cfg        Config
	log        *slog.Logger
	supervisor *script.Supervisor
	cancel     context.CancelFunc
	watching   sync.WaitGroup

	mu      sync.Mutex
	process *script.Process // that runs, nil while there is none
	news    chan struct{}   // closed and replaced when one runs, or could not
	exit    *script.Exit    // why there is none, nil when none ended
}

var _ bot.Bot = (*Bot)(nil)

// New returns a bot. Nothing runs before Start.
func New(cfg Config, scripts *script.Registry, log *slog.Logger) *Bot {
	b := &Bot{cfg: cfg, log: log, news: make(chan struct{})}
	b.supervisor = script.New(cfg.spec(), b, scripts, log)
	return b
}

func (cfg *Config) spec() script.Spec {
	payload, err := json.Marshal(cfg.Setup)
	if err != nil {
		panic("BUG: cannot encode a setup: " + err.Error())
	}
	return script.Spec{Name: "collector." + cfg.Setup.Name, API: API, Path: cfg.Setup.Script, Setup: payload, Budget: cfg.Budget}
}

// Start starts the script. It does not wait until it has loaded.
func (b *Bot) Start(ctx context.Context) error {
	if err := b.supervisor.Start(ctx); err != nil {
		return err
	}
	watching, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	b.watching.Go(func() { b.watch(watching, lookEvery) })
	return nil
}

// Stop ends the script in order.
func (b *Bot) Stop(ctx context.Context) error {
	b.cancel()
	b.watching.Wait()
	return b.supervisor.Stop(ctx)
}

// lookEvery is how often the file of the script is looked at.
const lookEvery = 3 * time.Second

// watch loads a changed script anew; one that cannot be used does not take the place of the one that runs.
func (b *Bot) watch(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for seen := b.stamp(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := b.stamp()
		if now == seen || now == (stamp{}) { // it may be about to be written
			continue
		}
		seen = now
		if err := b.supervisor.Reload(ctx, b.cfg.spec()); err != nil && ctx.Err() == nil {
			b.log.Error("cannot use the changed script: the one before goes on", "script", b.cfg.Setup.Script, "error", err)
		}
	}
}

// stamp changes when the file of a script does.
type stamp struct{ size, time int64 }

func (b *Bot) stamp() stamp {
	info, err := os.Stat(b.cfg.Setup.Script)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime().UnixNano()}
}

// OnReady implements script.Handler.
func (b *Bot) OnReady(p *script.Process) { b.enter(p, nil) }

// OnExit implements script.Handler.
func (b *Bot) OnExit(e *script.Exit) { b.enter(nil, e) }

// OnFrame implements script.Handler: there are none.
func (*Bot) OnFrame(byte, []byte) {}

func (b *Bot) enter(p *script.Process, e *script.Exit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.process, b.exit = p, e
	close(b.news)
	b.news = make(chan struct{})
}

// running waits until the script runs, or could not be loaded.
func (b *Bot) running(ctx context.Context) (*script.Process, error) {
	for {
		b.mu.Lock()
		p, exit, news := b.process, b.exit, b.news
		b.mu.Unlock()
		switch {
		case p != nil:
			return p, nil
		case exit != nil && !exit.Asked:
			return nil, exit
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, fmt.Errorf("the script does not run: %w", ctx.Err())
		}
	}
}

// ask asks the script.
func (b *Bot) ask(ctx context.Context, kind byte, question, answer any) error {
	p, err := b.running(ctx)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(question)
	if err != nil {
		return err
	}
	text, err := p.Request(ctx, kind, payload)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("the script's process answered with something that makes no sense: %w", err)
	}
	return nil
}

// Protocol implements bot.Bot.
func (b *Bot) Protocol() string { return b.cfg.Protocol }

// Jobs implements bot.Bot: they are those that jobs() of the script returns. A job is replaced when its
// intervals or its params are other ones than at the last refresh.
func (b *Bot) Jobs(ctx context.Context, from collector.Source, to collector.Sink) iter.Seq2[collector.Job, error] {
	return func(yield func(collector.Job, error) bool) {
		all, err := b.jobs(ctx, from)
		if err != nil {
			yield(collector.Job{}, fmt.Errorf("cannot ask the collector %q for its jobs: %w", b.cfg.Setup.Name, err))
			return
		}
		for _, j := range all {
			made := collector.Job{ID: j.ID, Start: at(j.Start), Data: []any{j.Intervals, j.Params}, Run: func(ctx context.Context, run collector.Run) error {
				return b.perform(ctx, &j, run, to)
			}}
			for _, seconds := range j.Intervals {
				made.Intervals = append(made.Intervals, time.Duration(seconds*float64(time.Second)))
			}
			if !yield(made, nil) {
				return
			}
		}
	}
}

func (b *Bot) jobs(ctx context.Context, from collector.Source) ([]job, error) {
	q := jobsRequest{Devices: []json.RawMessage{}}
	if b.cfg.Protocol != "" {
		for device, err := range from.FetchJobConfigs(ctx, b.cfg.Protocol) {
			if err != nil {
				return nil, err
			}
			text, err := json.Marshal(device)
			if err != nil {
				return nil, fmt.Errorf("the device %q: %w", device.Name, err)
			}
			q.Devices = append(q.Devices, text)
		}
	}
	var answer jobsAnswer
	err := b.ask(ctx, kindJobs, &q, &answer)
	return answer.Jobs, err
}

// perform lets the script do a job, and sends what it measured, also when it failed afterwards.
func (b *Bot) perform(ctx context.Context, j *job, run collector.Run, to collector.Sink) error {
	q := performRequest{ID: j.ID, Params: j.Params, Affecting: []int64{}}
	for _, interval := range run.Affecting {
		q.Affecting = append(q.Affecting, int64(interval/time.Second))
	}
	if until, ok := ctx.Deadline(); ok {
		q.Until = until.UnixMilli()
	}
	var answer performAnswer
	if err := b.ask(ctx, kindPerform, &q, &answer); err != nil {
		return err
	}
	byAccount := make(map[int64][]collector.Value)
	for _, v := range answer.Values {
		byAccount[v.Account] = append(byAccount[v.Account], collector.Value{Path: v.Path, Value: v.Value, Time: at(v.Time)})
	}
	var failed []error
	if answer.Error != "" {
		failed = append(failed, errors.New(answer.Error))
	}
	for _, account := range slices.Sorted(maps.Keys(byAccount)) {
		failed = append(failed, to.SendResults(context.WithoutCancel(ctx), account, byAccount[account]))
	}
	return errors.Join(failed...)
}

// Inspect loads a script as Start would, in a process with its budget, calls neither of its functions, and ends the process.
// The error is that of the script where it cannot be loaded: a *script.Error, with its place. ctx bounds the whole.
func Inspect(ctx context.Context, cfg Config) error {
	_, stop, err := script.Load(ctx, cfg.spec())
	stop()
	return err
}
