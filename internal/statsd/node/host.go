package node

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

//go:embed host.js
var hostScript string

// API is what the supervisor's figures call these scripts.
const API = "statsd"

const (
	partSize     = 8 << 20   // bytes of a frame of a flush
	maxFlush     = 256 << 20 // bytes of a flush as JSON; JavaScript's strings end at 512 MiB
	statusWait   = 2 * time.Second
	hangs        = 3 // flush intervals without a sign of life, and the process is ended
	leastHanging = 10 * time.Second
	problemEvery = 10 * time.Second
	problemBurst = 5
)

// Config says what a Host runs.
type Config struct {
	Name     string   // of the Host, among the backends and scripts: "node", or the module when it is alone
	Backends []string // modules, in the order they are loaded
	Servers  []Server // modules that receive packets

	Node   string // the program: a path, or a name to be found on PATH
	Option string // that sets Node, for messages

	// Roots are directories in which modules are looked for: relative ones in the first that has them, names as
	// require does it from each. The first one plays the part of StatsD's own directory.
	Roots      []string
	ConfigFile string         // StatsD's configuration, in JavaScript, which modules are handed; "" for an empty one
	GaugeTTL   int            // gaugesMaxTTL as the daemon understood it
	Options    map[string]any // of StatsD's, for what ConfigFile does not say

	// Receive takes what Servers received, in the order it came. It is called from one goroutine; what it is handed is
	// valid during the call. ctx ends with the Host.
	Receive func(ctx context.Context, packets [][]byte, from []backend.Remote)

	// Output, when it is set, gets what modules print and log instead of the log: see [script.Spec].
	Output func(stream, kind, text string)

	// Budget of the process. Without one of time, a process that answers nothing for three flush intervals,
	// and ten seconds at least, is ended.
	Budget script.Budget
}

// Server is a server module: start(options, callback).
type Server struct {
	Module string `json:"module"`
	Index  int    `json:"index"` // of its options in the list servers of the configuration, -1 for the configuration itself
}

// DefaultBudget is a budget that working backends do not notice. Listeners that throw do not end the process.
func DefaultBudget() script.Budget {
	b := script.DefaultBudget()
	b.Hard, b.Errors = 0, 0 // nothing can be interrupted inside of Node
	return b
}

// Host runs Node modules as one backend.
type Host struct {
	config   Config
	scripts  *script.Registry
	registry *telemetry.Registry
	log      *slog.Logger
	problems *telemetry.Limited
	packets  *packets

	supervisor *script.Supervisor
	wanted     atomic.Bool // a module listens to packets
	loaded     chan struct{}
	refused    chan *script.Exit // the first process did not load
	running    context.Context   // until Stop
	end        context.CancelFunc
	sending    sync.WaitGroup

	mu      sync.Mutex
	process *script.Process // that can be sent to, nil while there is none
	last    error           // why there is none
	changed chan struct{}   // closed and replaced when process changes
}

// New returns a Host. No process is started before Init. Its packets are accounted for in the ledger "statsd.NAME.packets" of reg.
func New(cfg Config, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger) *Host {
	running, end := context.WithCancel(context.Background())
	h := &Host{
		config: cfg, scripts: scripts, registry: reg, log: log.With("backend", cfg.Name), problems: telemetry.NewLimited(log, problemEvery, problemBurst),
		loaded: make(chan struct{}), refused: make(chan *script.Exit, 1), running: running, end: end, changed: make(chan struct{}),
	}
	h.packets = newPackets(reg.Ledger("statsd."+cfg.Name+".packets", "packets"), h.problems)
	return h
}

// Name implements [backend.Backend].
func (h *Host) Name() string { return h.config.Name }

// modules are what the Host runs, for messages.
func (h *Host) modules() string {
	var all []string
	for _, s := range h.config.Servers {
		all = append(all, s.Module)
	}
	return strings.Join(append(all, h.config.Backends...), ", ")
}

// Init implements [backend.Backend]: it starts the process and returns when every module has loaded.
func (h *Host) Init(ctx context.Context, env backend.Environment) error {
	program, err := exec.LookPath(h.config.Node)
	if err != nil {
		return fmt.Errorf("cannot load %s: it needs Node.js, and there is no program %q; install it (Debian: apt-get install nodejs) or say where it is with %s",
			h.modules(), h.config.Node, h.config.Option)
	}
	payload, err := json.Marshal(setup{
		Roots: h.config.Roots, Config: h.config.ConfigFile, Startup: env.Startup,
		Effective: effective{FlushInterval: env.Interval * 1000, GaugeTTL: h.config.GaugeTTL, Missing: notNil(h.config.Options)},
		Servers:   append([]Server{}, h.config.Servers...), Backends: append([]string{}, h.config.Backends...),
	})
	if err != nil {
		return fmt.Errorf("cannot load %s: %w", h.modules(), err)
	}
	budget := h.config.Budget
	if budget.Hard == 0 {
		budget.Hard = max(leastHanging, time.Duration(hangs*env.Interval*float64(time.Second)))
	}
	h.supervisor = script.New(script.Spec{
		Name: "statsd-" + h.config.Name, API: API, Path: h.modules(), Setup: payload, Budget: budget, LoadFirst: true, Output: h.config.Output,
		// The script is not on the command line, which people read.
		Command: []string{program, "--no-deprecation", "-e", `require("vm").runInThisContext(process.env.WEIR_NODE_HOST,{filename:"weir-node-host.js"})(require)`},
		Env:     []string{"WEIR_NODE_HOST=" + hostScript},
	}, h, h.scripts, h.log)
	if err := h.supervisor.Start(ctx); err != nil {
		return err
	}
	select {
	case <-h.loaded:
	case exit := <-h.refused:
		err = exit
		if exit.Failure != nil {
			err = exit.Failure
		}
	case <-ctx.Done():
		err = fmt.Errorf("cannot load %s: %w", h.modules(), ctx.Err())
	}
	if err != nil {
		h.end()
		stopped, cancel := context.WithCancel(ctx)
		cancel()
		_ = h.supervisor.Stop(stopped) // there is nothing to stop in order
		return err
	}
	h.sending.Go(func() { h.packets.run(h.running, h.current) })
	return nil
}

func notNil(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// OnReady implements [script.Handler].
func (h *Host) OnReady(p *script.Process) {
	h.wanted.Store(false) // the process says so when it is otherwise
	h.set(p, nil)
	select {
	case <-h.loaded:
	default:
		close(h.loaded)
	}
}

// OnFrame implements [script.Handler].
func (h *Host) OnFrame(kind byte, payload []byte) {
	switch kind {
	case kindWant:
		h.wanted.Store(bytes.Equal(payload, []byte{1}))
	case kindReceived:
		packets, from, err := parsePackets(payload)
		if err != nil {
			h.problems.Warn(err.Error(), "frame", fmt.Sprintf("%.60q", payload))
			return
		}
		if h.config.Receive != nil {
			h.config.Receive(h.running, packets, from)
		}
	default:
		h.problems.Warn("the Node process sent a frame of an unknown kind", "kind", kind)
	}
}

// OnExit implements [script.Handler].
func (h *Host) OnExit(e *script.Exit) {
	h.set(nil, e)
	select {
	case <-h.loaded:
	default:
		select {
		case h.refused <- e:
		default:
		}
	}
}

func (h *Host) set(p *script.Process, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.process, h.last = p, why
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *Host) current() *script.Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.process
}

// await is the process that runs. While one is restarted it waits, as long as ctx lets it.
func (h *Host) await(ctx context.Context) (*script.Process, error) {
	for {
		h.mu.Lock()
		p, last, changed := h.process, h.last, h.changed
		h.mu.Unlock()
		if p != nil {
			return p, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("the Node process does not run: %w", last)
		}
	}
}

// Flush implements [backend.Backend]. It returns when every listener has returned. One that takes longer than ctx
// lets it is waited for all the same, since nothing can be handed to it meanwhile; a process that hangs the supervisor ends.
func (h *Host) Flush(ctx context.Context, f *backend.Flush) error {
	p, err := h.await(ctx)
	if err != nil {
		return err
	}
	h.packets.send(h.running, p) // what came before the flush
	text := encodeFlush(make([]byte, 0, 256+64*f.Count()), f)
	if len(text) > maxFlush {
		return fmt.Errorf("cannot hand a flush of %d bytes to the Node backends: at most %d are possible; send less, or flush more often", len(text), maxFlush)
	}
	late := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			h.problems.Warn("the Node backends take longer than the flush interval", "modules", h.modules())
		}
	})
	defer late()
	for len(text) > partSize {
		if err := p.SendWait(h.running, kindPart, text[:partSize]); err != nil {
			return err
		}
		text = text[partSize:]
	}
	answer, err := p.Request(h.running, kindFlush, text)
	if err != nil {
		return err
	}
	var result flushed
	if err := json.Unmarshal(answer, &result); err != nil {
		return fmt.Errorf("cannot understand the Node process: %w", err)
	}
	if result.Failed > 0 {
		return fmt.Errorf("%d of %d listeners threw, the others got the flush", result.Failed, result.Listeners)
	}
	return nil
}

// Packet implements [backend.PacketHandler]. It never waits.
func (h *Host) Packet(packet []byte, from backend.Remote) {
	if h.wanted.Load() {
		h.packets.add(packet, from)
	}
}

// StatusText is what the modules answer to the management command stats: lines "BACKEND.STAT: VALUE"
// (specification section 3.6). now is in Unix seconds.
func (h *Host) StatusText(now int64) (string, error) {
	ctx, cancel := context.WithTimeout(h.running, statusWait)
	defer cancel()
	ask, err := json.Marshal(question{now})
	if err != nil {
		return "", err
	}
	p := h.current()
	if p == nil {
		return "", script.ErrAbsent
	}
	answer, err := p.Request(ctx, kindStatus, ask)
	return string(answer), err
}

// Stop implements [backend.Stopper]. What the modules have sent has a second to leave.
func (h *Host) Stop(ctx context.Context) error {
	h.end()
	h.sending.Wait()
	return h.supervisor.Stop(ctx)
}
