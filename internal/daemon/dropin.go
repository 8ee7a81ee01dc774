package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/console"
	"github.com/weirhq/weir/internal/statsd/graphite"
	"github.com/weirhq/weir/internal/statsd/jsconfig"
	"github.com/weirhq/weir/internal/statsd/management"
	"github.com/weirhq/weir/internal/statsd/repeater"
	"github.com/weirhq/weir/internal/statsd/storage"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
)

// watchEvery is how often the configuration file is looked at. A change is
// taken up when two looks in a row agree, so that half a file is not read.
const watchEvery = 250 * time.Millisecond

// DropIn is what stands in for `statsd FILE.js`: the StatsD server, its
// backends and its management console as the reference daemon runs them, and the
// store with its HTTP API when the file asks for it.
type DropIn struct {
	path    string
	version string
	stdout  io.Writer
	log     *slog.Logger
	lines   *dropInLog
	created time.Time

	registry *telemetry.Registry
	scripts  *script.Registry
	file     *jsconfig.File // what the components were made from
	current  atomic.Pointer[jsconfig.File]
	store    *store.Store // nil without the backend 'store'
	server   *statsd.Server
	console  *management.Console

	made     chan struct{}                 // closed when everything runs, or will not
	running  []func(context.Context) error // what stops everything that was started
	reload   sync.Mutex
	stopping sync.Once
	watch    chan struct{} // closed to end watching
	watched  chan struct{} // closed when it has ended; nil before it began
}

// NewDropIn returns a DropIn for the configuration file at path. It prints to
// stdout what the reference daemon prints; version is shown by the HTTP API.
func NewDropIn(path string, stdout io.Writer, version string) *DropIn {
	lines := newDropInLog(stdout)
	d := &DropIn{
		path: path, version: version, stdout: lines.out, log: slog.New(lines), lines: lines, created: time.Now(),
		registry: telemetry.NewRegistry(), watch: make(chan struct{}), made: make(chan struct{}),
	}
	d.scripts = script.NewRegistry(d.registry)
	return d
}

// Start reads the file and starts everything: listeners, management console,
// backends, in this order (StatsD specification section 4.3). After an error
// everything is stopped again.
func (d *DropIn) Start(ctx context.Context) error {
	look, _ := lookAt(d.path)
	file, err := d.read()
	if err != nil {
		return err
	}
	if err := d.lines.use(file); err != nil {
		return err
	}
	d.file = file
	d.current.Store(file)
	if err := d.startAll(ctx); err != nil {
		for i := len(d.running) - 1; i >= 0; i-- {
			err = errors.Join(err, d.running[i](ctx))
		}
		return err
	}
	d.watched = make(chan struct{})
	go d.follow(look)
	return nil
}

// read reads the file and says so, as the reference daemon does.
func (d *DropIn) read() (*jsconfig.File, error) {
	d.lines.print("[%d] reading config file: %s", os.Getpid(), d.path)
	return jsconfig.Read(d.path)
}

func (d *DropIn) startAll(ctx context.Context) error {
	backends := d.backends()
	if d.store != nil {
		if err := d.startStore(ctx); err != nil {
			return err
		}
	}
	d.server = statsd.New(d.file.StatsD, backends, d.registry, d.log)
	defer close(d.made)
	d.console = management.New(d.file.StatsD.Management, d.server, backends, d.settings, d.log)
	d.console.SetHealthy(d.file.StatsD.Healthy)
	d.server.OnListening(func() error {
		if d.file.StatsD.Debug {
			for _, l := range d.file.StatsD.Listen {
				d.log.Debug("Loading server: " + jsconfig.ServerModule(l))
			}
		}
		if err := d.console.Start(); err != nil {
			return fmt.Errorf("%w (options mgmt_port and mgmt_address)", listenError("the management console", d.file.StatsD.Management, err))
		}
		d.running = append(d.running, func(context.Context) error { d.console.Stop(); return nil })
		d.lines.print("server is up INFO")
		if d.file.StatsD.Debug {
			for _, b := range d.file.Backends {
				d.log.Debug("Loading backend: " + b.Module())
			}
		}
		return nil
	})
	if err := d.server.Start(ctx); err != nil {
		var unbound *statsd.ListenError
		if errors.As(err, &unbound) {
			l := d.file.StatsD.Listen[unbound.Index]
			return fmt.Errorf("%w (%s)", listenError("StatsD over "+l.Network, l.Address, unbound.Err), d.file.ListenOption(unbound.Index))
		}
		return err
	}
	d.running = append(d.running, d.server.Stop)
	return nil
}

// backends makes the backends in the order of the file. Those for Node are one,
// where the first of them stands, unless each has a process of its own.
func (d *DropIn) backends() []backend.Backend {
	var all []backend.Backend
	seen := make(map[jsconfig.Backend]int)
	modules := d.nodeModules()
	if len(d.file.Servers) > 0 && len(modules) == 0 {
		all = append(all, d.nodeHost("node", nil, d.file.Servers))
	}
	servers := d.file.Servers // the first process runs them
	for _, b := range d.file.Backends {
		ledger := "statsd." + string(b)
		if seen[b]++; seen[b] > 1 {
			ledger = fmt.Sprintf("%s.%d", ledger, seen[b]) // two of a kind have two ledgers
		}
		switch b {
		case jsconfig.Graphite:
			c := d.file.Graphite
			c.SanitizeNames = true // keyNameSanitize can change while it runs
			c.Ledger = d.registry.Ledger(ledger, "flushes")
			all = append(all, graphite.New(c))
		case jsconfig.Console:
			all = append(all, console.New(d.stdout, d.file.Console))
		case jsconfig.Repeat:
			c := repeater.Config{Targets: d.file.Repeater.Targets, Protocol: d.file.Repeater.Protocol}
			c.Ledger = d.registry.Ledger(ledger, "packets")
			all = append(all, repeater.New(c))
		case jsconfig.Stored:
			if d.store == nil {
				d.store = store.New(store.Config{Path: d.file.Store.Data}, d.registry, d.log)
			}
			all = append(all, storage.New(d.store, d.registry))
		default:
			switch {
			case d.file.Node.Isolate:
				all = append(all, d.nodeHost(strings.TrimPrefix(ledger, "statsd."), []string{b.Module()}, servers))
			case modules != nil:
				all = append(all, d.nodeHost("node", modules, servers))
				modules = nil
			}
			servers = nil
		}
	}
	return all
}

// startStore opens the store and serves questions about it.
func (d *DropIn) startStore(ctx context.Context) error {
	if err := d.store.Start(ctx); err != nil {
		return fmt.Errorf("cannot open the store in %q (option weir.data): %w", d.file.Store.Data, err)
	}
	d.running = append(d.running, d.store.Stop)
	upkeep := newUpkeep(d.store, d.log)
	if err := upkeep.start(ctx); err != nil {
		return err
	}
	d.running = append(d.running, upkeep.stop)
	listener, err := net.Listen("tcp", d.file.Store.HTTP)
	if err != nil {
		return fmt.Errorf("%w (option weir.http)", listenError("HTTP", d.file.Store.HTTP, err))
	}
	server := api.NewServer(api.New(api.Dependencies{
		Driver: d.store, Catalog: d.store, Registry: d.registry, Log: d.log, Version: d.version, Started: d.created,
		Ready: func() error { return nil },
		Stats: func() api.Stats {
			s := d.store.Stats()
			return api.Stats{Series: s.Series, DiskBytes: s.DiskBytes, MemoryBytes: s.MemoryBytes, Failure: s.Failure}
		},
	}), d.log)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("cannot go on serving HTTP", "address", d.file.Store.HTTP, "error", err)
		}
	}()
	d.running = append(d.running, server.Shutdown)
	return nil
}

// settings is what the management command config prints.
func (d *DropIn) settings() []management.Setting {
	var all []management.Setting
	for _, s := range d.current.Load().Settings(!d.server.Status().LastFlush.IsZero()) {
		all = append(all, management.Setting(s))
	}
	return all
}

// Address is where the management console listens, and Addresses where lines
// arrive; valid after Start.
func (d *DropIn) Address() net.Addr     { return d.console.Address() }
func (d *DropIn) Addresses() []net.Addr { return d.server.Addresses() }

// Stop takes in what has arrived, sends a last flush and stops everything,
// bounded by ctx. What failed is logged only: a backend that cannot be reached any
// more does not make stopping a failure, as in the reference daemon.
func (d *DropIn) Stop(ctx context.Context) { d.stopping.Do(func() { d.stop(ctx) }) }

func (d *DropIn) stop(ctx context.Context) {
	if d.file.StatsD.Debug {
		d.lines.print("Starting Final Flush")
	}
	close(d.watch)
	<-d.watched
	for i := len(d.running) - 1; i >= 0; i-- {
		if err := d.running[i](ctx); err != nil {
			d.log.Warn("not everything could be stopped in order", "error", err)
		}
	}
	d.running = nil
}

// look is what shows that a file changed, also when it was replaced by another.
type look struct {
	info os.FileInfo
}

func lookAt(path string) (look, error) {
	info, err := os.Stat(path)
	return look{info}, err
}

func (l look) same(other look) bool {
	return l.info != nil && other.info != nil && os.SameFile(l.info, other.info) && l.info.Size() == other.info.Size() && l.info.ModTime().Equal(other.info.ModTime())
}

// follow reloads the file when it changes, until Stop. read is how the file
// looked when it was read.
func (d *DropIn) follow(read look) {
	defer close(d.watched)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := read
	for {
		select {
		case <-d.watch:
			return
		case <-tick.C:
		}
		now, err := lookAt(d.path)
		if err != nil { // it is being replaced; without it everything stays as it is
			continue
		}
		settled := now.same(last)
		last = now
		if settled && !now.same(read) {
			read = now
			if d.current.Load().Reload {
				d.Reload()
			}
		}
	}
}

// Reload reads the file again and applies what can change while the server runs
// (StatsD specification section 4.3). With an error in the file everything stays
// as it was. The log says what needs a restart.
func (d *DropIn) Reload() {
	d.reload.Lock()
	defer d.reload.Unlock()
	file, err := d.read()
	if err == nil {
		err = d.lines.use(file)
	}
	if err != nil {
		d.log.Error("cannot reload: the configuration stays as it was: " + err.Error())
		return
	}
	ignored := d.server.Reload(file.StatsD)
	d.current.Store(file)
	for name, change := range map[string][2]any{
		"Backends": {d.file.Backends, file.Backends}, "Graphite": {d.file.Graphite, file.Graphite}, "Console": {d.file.Console, file.Console},
		"Repeater": {d.file.Repeater, file.Repeater}, "Store": {d.file.Store, file.Store},
		"Node": {d.file.Node, file.Node}, "Servers": {d.file.Servers, file.Servers},
	} {
		if !reflect.DeepEqual(change[0], change[1]) {
			ignored = append(ignored, name)
		}
	}
	if len(ignored) > 0 {
		d.log.Warn("these options changed and need a restart: " + jsconfig.OptionNames(ignored))
	}
}
