package monitor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

// TestMain makes the test binary the process of a script when the daemon half starts it as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == script.Command {
		host, err := script.NewHost(os.Args[2])
		if err == nil {
			err = script.Serve(host)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// rig is both halves with real processes, on data time.
type rig struct {
	t         *testing.T
	dir       string
	groups    *countergroup.Registry
	engine    *countergroup.Engine
	meter     *flow.Meter
	monitors  *Monitors
	reg       *telemetry.Registry
	out       *passing
	mu        sync.Mutex
	log       bytes.Buffer
	alerts    []Alert
	resources []Resource
	toppers   []string
	now       int64
}

func (r *rig) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`msg="script attached"`)) {
		if a := r.monitors.attached.Load(); a == nil || len(a.processes) == 0 {
			r.t.Errorf("this is said before the script is shown anything: %s", p)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *rig) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// passing is a stage behind the monitors: what is left for the store.
type passing struct {
	countergroup.Nothing
	lines []string
}

func (p *passing) Window(w *countergroup.Window) {
	for _, row := range w.Rows {
		if row.Key != countergroup.TotalsKey {
			p.lines = append(p.lines, fmt.Sprintf("%d %s %s %v", w.End, w.Group.Title, row.Key, row.Values))
		}
	}
}

const (
	begin    = 6_000_000 // of a window
	ownGroup = "{C0FFEE00-0000-4000-8000-000000000001}"
)

// sayer is what scripts of these tests begin with: say writes a line to a file.
const sayer = `local f = assert(io.open(T.env.get_config("Test>Seen"), "a"))
f:setvbuf("line")
local function say(...) local w = {} for i = 1, select("#", ...) do w[i] = tostring((select(i, ...))) end f:write(table.concat(w, " "), "\n") f:flush() end
`

// newRig starts scripts: name, text, ... Change may change what the monitors are configured with; nil for nothing.
func newRig(t *testing.T, change func(*Config), scripts ...string) *rig {
	t.Helper()
	r := &rig{t: t, groups: countergroup.NewRegistry(), reg: telemetry.NewRegistry(), out: new(passing), now: begin}
	for i := 1; i < len(scripts); i += 2 {
		scripts[i] = sayer + scripts[i]
	}
	r.dir = write(t, scripts...)
	for _, d := range countergroup.Builtin() {
		if _, err := r.groups.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.groups.Register(countergroup.Definition{GUID: ownGroup, Title: "Own", Meters: []countergroup.Meter{{Type: countergroup.Counter, Name: "n"}}}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(r), nil))
	r.engine = countergroup.New(countergroup.Config{}, r.groups, r.reg, log)
	homes, err := flow.NewHomes(flow.DefaultHomes)
	if err != nil {
		t.Fatal(err)
	}
	r.meter = flow.NewMeter(flow.MeterConfig{Homes: homes}, r.groups, r.engine.Batch(), r.reg)
	budget := script.DefaultBudget()
	cfg := Config{
		Entries:  []Entry{{Path: r.dir, Budget: budget, Setup: Setup{Call: 10_000, Popen: true, Context: "default", ProbeID: "probe0", Env: map[string]string{"Test>Seen": filepath.Join(r.dir, "seen")}}}},
		DataTime: true, Resources: func(all []Resource) { r.resources = append(r.resources, all...) },
		Toppers: func(l *countergroup.Toppers) {
			for _, item := range l.Items {
				r.toppers = append(r.toppers, fmt.Sprintf("%s %d-%d %s %v", l.Group.Title, l.Start-begin, l.End-begin, item.Key, item.Value))
			}
		},
	}
	if change != nil {
		change(&cfg)
	}
	r.monitors = New(cfg, r.engine, r.groups, script.NewRegistry(r.reg), r.reg, log, func(all []Alert) { r.alerts = append(r.alerts, all...) })
	r.monitors.Follow(r.meter)
	r.engine.SetStages(r.meter.Stage(), r.monitors, r.out)
	if err := r.monitors.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("seen:\n%s\nlog:\n%s", strings.Join(r.seen(), "\n"), r.logged())
		}
	})
	select {
	case <-r.monitors.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the scripts do not load")
	}
	r.engine.Tick(begin) // what is watched is watched from here on
	for _, p := range r.monitors.attached.Load().processes {
		if _, err := p.process.Request(t.Context(), KindSync, nil); err != nil {
			t.Fatal(err)
		}
	}
	r.seen() // of the flush of nothing
	return r
}

func (r *rig) stop() {
	if r.monitors != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.monitors.Stop(ctx); err != nil {
			r.t.Error(err)
		}
		r.monitors = nil
	}
}

// tick ends seconds, as a replay does.
func (r *rig) tick(seconds int64) {
	for range seconds {
		r.now++
		r.monitors.ShowRecords()
		r.engine.Tick(r.now)
	}
}

// add counts in the group of the tests.
func (r *rig) add(key string, value float64) {
	b := r.engine.Batch()
	b.Add(r.groups.Lookup(ownGroup), []byte(key), 0, value)
	b.Send()
}

// seen are the lines that scripts said since the last call.
func (r *rig) seen() []string {
	text, err := os.ReadFile(filepath.Join(r.dir, "seen"))
	if err != nil {
		return nil
	}
	if err := os.Truncate(filepath.Join(r.dir, "seen"), 0); err != nil {
		r.t.Error(err)
	}
	return strings.FieldsFunc(string(text), func(c rune) bool { return c == '\n' })
}

// want compares what scripts said since the last call.
func (r *rig) want(what string, lines ...string) {
	r.t.Helper()
	r.compare(what, lines, r.seen())
}

// wantOf is want for lines of several scripts, which come in no order but that of each: it compares those that begin with a name.
func (r *rig) wantOf(what string, names []string, lines ...string) {
	r.t.Helper()
	var got []string
	seen := r.seen()
	for _, name := range names {
		for _, line := range seen {
			if strings.HasPrefix(line, name+" ") {
				got = append(got, line)
			}
		}
	}
	r.compare(what, lines, got)
}

func (r *rig) compare(what string, lines, seen []string) {
	r.t.Helper()
	got := strings.Join(seen, "\n")
	if diff := cmp.Diff(strings.Join(lines, "\n"), got); diff != "" {
		r.t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

// says checks that the log has so many lines that match.
func (r *rig) says(n int, pattern string) {
	r.t.Helper()
	if got := len(regexp.MustCompile(pattern).FindAllString(r.logged(), -1)); got != n {
		r.t.Errorf("the log has %d lines %q, want %d", got, pattern, n)
	}
}

// count counts a record; forward is from the client 10.0.0.5:50000 to 8.8.8.8:443.
func (r *rig) count(forward bool, n uint64, flags uint8) {
	a, z := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("8.8.8.8")
	one := flow.Record{Time: r.now * 1e9, First: r.now * 1e3, Exporter: netip.MustParseAddr("10.0.0.1"), Source: a, Destination: z, SourcePort: 50000, DestinationPort: 443, Protocol: 6, Flags: flags, Bytes: n, Packets: 1, In: 3, Out: 7, HasIn: true, HasOut: true}
	if !forward {
		one.Source, one.Destination, one.SourcePort, one.DestinationPort, one.In, one.Out = z, a, 443, 50000, 7, 3
	}
	r.meter.Count([]flow.Record{one}, true)
}

const flowKey = "06C:0A.00.00.05:p-C350_08.08.08.08:p-01BB_0A.00.00.01_00000003_00000007"

// accounts checks that a ledger is balanced and how much was discarded.
func (r *rig) accounts(ledger string, discarded int64) telemetry.Account {
	r.t.Helper()
	a := r.reg.Ledger(ledger, "").Snapshot()
	sum := int64(0)
	for _, n := range a.Discarded {
		sum += n
	}
	if sum != discarded || a.Received != a.Passed+sum {
		r.t.Errorf("%s: %d are discarded, want %d: %+v", ledger, sum, discarded, a)
	}
	return a
}
