package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/bridge"
	"github.com/weirhq/weir/internal/statsd/console"
	"github.com/weirhq/weir/internal/statsd/graphite"
	"github.com/weirhq/weir/internal/statsd/management"
	"github.com/weirhq/weir/internal/statsd/repeater"
	"github.com/weirhq/weir/internal/statsd/storage"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// intake is the StatsD server with its management console.
type intake struct {
	config   *config.Config
	log      *slog.Logger
	server   *statsd.Server
	console  *management.Console // nil when none is configured
	open     bool                // the console listens
	backends []backend.Backend
	shown    atomic.Pointer[config.Config] // what the command config prints
}

// newIntake makes the server with the configured backends, and more.
func newIntake(cfg *config.Config, driver timeseries.Driver, stream bridge.Stream, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger, stdout io.Writer, more ...backend.Backend) *intake {
	backends := append(backends(cfg, driver, stream, scripts, reg, log, stdout), more...)
	in := &intake{config: cfg, log: log, backends: backends, server: statsd.New(cfg.StatsD.Config, backends, reg, log)}
	in.shown.Store(cfg)
	if cfg.StatsD.Management != "" {
		in.console = management.New(cfg.StatsD.Management, in.server, backends, in.settings, log)
		in.server.OnListening(func() error {
			if err := in.console.Start(); err != nil {
				return cfg.Fail("statsd.management.listen", listenError("the management console", cfg.StatsD.Management, err))
			}
			in.open = true
			return nil
		})
	}
	return in
}

// backends makes the backends in the order of the configuration. Those for Node are
// one, where the first of them stands, unless each has a process of its own.
func backends(cfg *config.Config, driver timeseries.Driver, stream bridge.Stream, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger, stdout io.Writer) []backend.Backend {
	var all []backend.Backend
	seen := make(map[string]int)
	modules := nodeModules(cfg.StatsD.Backends)
	for i, b := range cfg.StatsD.Backends {
		name := "statsd." + b.Kind
		if seen[b.Kind]++; seen[b.Kind] > 1 {
			name = fmt.Sprintf("%s.%d", name, seen[b.Kind]) // two of a kind have two ledgers
		}
		switch b.Kind {
		case "store":
			all = append(all, storage.New(driver, reg))
		case "graphite":
			c := b.Graphite
			c.SanitizeNames = !cfg.StatsD.Sanitize
			c.Ledger = reg.Ledger(name, "flushes")
			all = append(all, graphite.New(c))
		case "console":
			all = append(all, console.New(stdout, b.Console))
		case "prometheus":
			all = append(all, scraped(cfg, i, reg.Ledger(name, "metrics")))
		case "influxdb", "opentsdb", "http", "events":
			all = append(all, spooled(cfg, i, strings.TrimPrefix(name, "statsd."), stream, reg, log))
		case "repeater":
			c := b.Repeater
			c.Ledger = reg.Ledger(name, "packets")
			all = append(all, repeater.New(c))
		default:
			switch {
			case cfg.StatsD.Node.Isolate:
				all = append(all, nodeBackends(cfg.StatsD, strings.TrimPrefix(name, "statsd."), []string{b.Kind}, scripts, reg, log))
			case modules != nil:
				all = append(all, nodeBackends(cfg.StatsD, "node", modules, scripts, reg, log))
				modules = nil
			}
		}
	}
	return all
}

func (in *intake) start(ctx context.Context) error {
	err := in.server.Start(ctx)
	if err == nil {
		return nil
	}
	if in.open {
		in.console.Stop()
	}
	var unbound *statsd.ListenError
	if errors.As(err, &unbound) {
		return in.config.Fail(fmt.Sprintf("sources.statsd[%d].listen", unbound.Index), err)
	}
	if known := new(config.Error); errors.As(err, &known) {
		return err
	}
	return in.config.Fail("statsd.backends", err) // what is left that can fail is loading them
}

// stop fails only when it takes too long: what a backend could not deliver any
// more is logged and counted, and no reason to call the stop a failure.
func (in *intake) stop(ctx context.Context) error {
	err := in.server.Stop(ctx)
	if in.open {
		in.console.Stop()
	}
	if err != nil && ctx.Err() == nil {
		in.log.Error("flushes were lost at the end", "error", err)
		return nil
	}
	return err
}

// reload hands the new options to the server. What it could change and the
// backends could not follow stays as it was at the start.
func (in *intake) reload(started, cfg *config.Config) {
	server := cfg.StatsD.Config
	server.Sanitize = started.StatsD.Sanitize
	in.server.Reload(server)
	in.shown.Store(cfg)
}

// listening is where StatsD lines arrive, as URLs.
func (in *intake) listening() []string {
	var urls []string
	for i, address := range in.server.Addresses() {
		urls = append(urls, in.config.StatsD.Listen[i].Network+"://"+address.String())
	}
	return urls
}

func (in *intake) management() string {
	if !in.open {
		return ""
	}
	return in.console.Address().String()
}

func (in *intake) source() api.Source {
	s := in.server.Status()
	source := api.Source{Name: "statsd", Listen: in.listening(), LastFlush: s.LastFlush, NextFlush: s.NextFlush}
	if s.LastPacket.After(s.Startup) {
		source.LastInput = s.LastPacket
	}
	return source
}

// settings is what the management command config prints.
func (in *intake) settings() []management.Setting {
	var all []management.Setting
	for _, s := range in.shown.Load().Settings("statsd") {
		name, sub, _ := strings.Cut(s.Path, ".")
		all = append(all, management.Setting{Name: name, Sub: sub, Value: s.Value})
	}
	return all
}
