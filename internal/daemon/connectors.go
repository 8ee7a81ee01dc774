package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"sync"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/script"
)

// connectors are the scripts that get events. They change while Weir runs: reload
// says how, and a goroutine of their own does it, because a script may take long to load and to end.
type connectors struct {
	config *config.Config // of the start
	make   func(config.Connector) *connector.Connector
	setup  func(config.Connector) (connector.Setup, script.Budget)
	claim  func(queues []string)
	log    *slog.Logger

	changes chan *config.Config // the newest one that was not applied
	cancel  context.CancelFunc
	applied sync.WaitGroup

	mu      sync.Mutex
	running map[string]*member
}

// member is a connector that runs, and what it was made from.
type member struct {
	connector *connector.Connector
	config    config.Connector
	stamp     uint64 // of its files
}

func (c *connectors) start(ctx context.Context) error {
	c.running = make(map[string]*member)
	c.changes = make(chan *config.Config, 1)
	for i, wanted := range c.config.Events.Connectors {
		if err := c.add(ctx, wanted); err != nil {
			return c.config.Fail(fmt.Sprintf("connectors[%d]", i), errors.Join(err, c.stopAll(ctx)))
		}
	}
	applying, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	c.applied.Go(func() {
		for {
			select {
			case cfg := <-c.changes:
				c.apply(applying, cfg)
			case <-applying.Done():
				return
			}
		}
	})
	return nil
}

func (c *connectors) stop(ctx context.Context) error {
	c.cancel()
	c.applied.Wait()
	return c.stopAll(ctx)
}

// stopAll stops all of them at the same time: each may have a last flush to do.
func (c *connectors) stopAll(ctx context.Context) error {
	var stopping sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for _, m := range c.running {
		stopping.Go(func() {
			if err := m.connector.Stop(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		})
	}
	stopping.Wait()
	return errors.Join(failed...)
}

func (c *connectors) add(ctx context.Context, wanted config.Connector) error {
	m := &member{c.make(wanted), wanted, connector.Stamp(wanted.Script)}
	if err := m.connector.Start(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[wanted.Name] = m
	return nil
}

// reload lets the connectors become those of cfg, soon. Scripts whose files have changed are
// loaded anew also when their configuration has not.
func (c *connectors) reload(cfg *config.Config) {
	select {
	case <-c.changes: // nobody needs it any more
	default:
	}
	c.changes <- cfg
}

// apply lets the connectors become those of cfg. What fails is in the log and stays as it was.
func (c *connectors) apply(ctx context.Context, cfg *config.Config) {
	wanted := make(map[string]bool)
	var working sync.WaitGroup
	var failed []string
	note := func(name, what string, err error) {
		if err != nil {
			c.log.Error("cannot "+what+" a connector", "connector", name, "error", err)
			c.mu.Lock()
			defer c.mu.Unlock()
			failed = append(failed, name)
		}
	}
	var added, changed, removed []string
	before := make(map[string]*member)
	for name, m := range c.running {
		before[name] = m
	}
	for _, w := range cfg.Events.Connectors {
		wanted[w.Name] = true
		m := before[w.Name]
		if m == nil {
			added = append(added, w.Name)
			working.Go(func() { note(w.Name, "add", c.add(ctx, w)) })
			continue
		}
		stamp := connector.Stamp(w.Script)
		if stamp == m.stamp && reflect.DeepEqual(w, m.config) {
			continue
		}
		changed = append(changed, w.Name)
		working.Go(func() {
			setup, budget := c.setup(w)
			err := m.connector.Reload(ctx, setup, budget)
			if err == nil {
				m.config, m.stamp = w, stamp
			}
			note(w.Name, "reload", err)
		})
	}
	for name, m := range before {
		if wanted[name] {
			continue
		}
		removed = append(removed, name)
		working.Go(func() {
			bounded, cancel := context.WithTimeout(ctx, scriptPatience)
			defer cancel()
			if err := m.connector.Stop(bounded); err != nil { // it has ended all the same
				c.log.Warn("a connector did not stop in order", "connector", name, "error", err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.running, name)
		})
	}
	working.Wait()
	if ctx.Err() != nil {
		return
	}
	c.claim(queues(cfg))
	list := func(names []string) string { return strings.Join(names, " ") }
	c.log.Info("connectors reloaded", "added", list(added), "changed", list(changed), "removed", list(removed), "failed", list(failed))
}

// members are the connectors that run, by name.
func (c *connectors) members() map[string]*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.running)
}

// queues are the positions in the stream of the connectors that are configured.
func queues(cfg *config.Config) []string {
	var names []string
	for _, c := range cfg.Events.Connectors {
		names = append(names, connector.QueuePrefix+c.Name)
	}
	return names
}
