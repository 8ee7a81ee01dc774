package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

// Replayed is what a replay has counted.
type Replayed struct {
	First, Last   int64 // Unix seconds of the first and the last record; 0 when there was none
	Late          int64 // records older than the second they were counted in
	Windows       int   // that held anything
	Packets       int64 // read from captures
	Strange       int64 // of them neither IP nor, in a capture of exports, an export
	Undecodable   int64 // sets of records whose template never came
	Groups        []GroupReplayed
	Records       telemetry.Account
	Datagrams     telemetry.Account
	Points        telemetry.Account // written to the store; empty without one
	WindowSeconds int
}

// GroupReplayed is one group in which something was counted.
type GroupReplayed struct {
	Group *countergroup.Group
	Keys  int64   // a key that was forgotten at the high-water mark and came back is there twice
	Total float64 // of meter 0 over all keys: what was added up, or the last value of a meter that does not add up
}

// Replay counts files of flows in the counter groups of cfg as if their records came in now, on data time: seconds and
// windows end as the times of the records go on. At the end the running window is flushed, and one more for
// what scripts made of it. Windows go to the store of cfg. A file that cannot be read ends the replay; what was counted before is
// flushed and returned all the same. It is for one goroutine and returns when everything is stored.
func Replay(ctx context.Context, cfg *config.Config, contents flow.Contents, files []string, log *slog.Logger) (*Replayed, error) {
	reg := telemetry.NewRegistry()
	scripts := script.NewRegistry(reg)
	s := newSeries(cfg, scripts, reg, log)
	stop, err := s.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w; a replay writes to the store itself: stop the weir that runs on it, or give another configuration, or none to store nothing", err)
	}
	c := newCounting(cfg, s.driver(), scripts, reg, log, "", true)
	r := &replay{counting: c, reader: flow.File{Contents: contents, Decoder: flow.NewDecoder(cfg.Flows.Rates(), reg, log)}}
	r.reader.Packet = r.packet
	reg.Ledger("flow.held", "sets").Hold(r.reader.Decoder.Held)
	tally := &tally{totals: make(map[*countergroup.Group]float64), windows: make(map[int64]bool)}
	c.engine.SetStages(append([]countergroup.Stage{tally}, c.stages...)...)
	if err := c.monitors.Start(ctx); err != nil {
		return nil, errors.Join(err, stop(context.WithoutCancel(ctx)))
	}
	select {
	case <-c.monitors.Ready():
	case <-ctx.Done():
	}
	var failed error
	for _, file := range files {
		if failed = r.reader.Read(file, func(records []flow.Record, exported bool) error {
			r.count(records, exported)
			return ctx.Err()
		}); failed != nil {
			break
		}
	}
	c.monitors.ShowRecords()
	c.engine.Finish()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), scriptPatience)
	defer cancel()
	_ = c.monitors.Stop(ending) // scripts that do not end are killed
	out := &Replayed{
		First: r.first, Last: r.last, Late: r.late, Windows: len(tally.windows), WindowSeconds: c.engine.Window(),
		Packets: r.reader.Packets, Strange: r.reader.Strange, Undecodable: r.reader.Decoder.Held(),
		Records: reg.Ledger("flow.records", "records").Snapshot(), Datagrams: reg.Ledger("flow.datagrams", "datagrams").Snapshot(),
		Points: reg.Ledger("countergroup.storage", "points").Snapshot(),
	}
	for _, stats := range c.engine.Stats() {
		if total, counted := tally.totals[stats.Group]; counted {
			out.Groups = append(out.Groups, GroupReplayed{stats.Group, stats.Created, total})
		}
	}
	failed = errors.Join(failed, stop(context.WithoutCancel(ctx)))
	return out, failed
}

// replay hands records to the groups and keeps their time.
type replay struct {
	counting    *counting
	reader      flow.File
	now         int64 // the running second; 0 before the first
	first, last int64
	late        int64
}

// packet shows a packet to scripts that count packets, in the second of its time.
func (r *replay) packet(p *flow.Packet) {
	if !r.counting.monitors.WantsPackets() {
		return
	}
	if t := p.Time / 1e9; t > r.now && t < math.MaxUint32 {
		r.now = t
		r.counting.monitors.ShowRecords()
		r.counting.engine.Tick(t)
	}
	r.counting.monitors.ShowPacket(p)
}

// count counts records, each in the second of its time. One that is older than what came before counts in the running second.
func (r *replay) count(records []flow.Record, exported bool) {
	from := 0
	for i := range records {
		t := records[i].Time / 1e9
		dated := t > 0 && t < math.MaxUint32
		if r.first == 0 && dated {
			r.first = t
		}
		switch {
		case dated && t > r.now || r.now == 0:
			r.counting.meter.Count(records[from:i], exported)
			from = i
			if !dated { // nothing before has a time either
				t = 1
				r.late++
			}
			r.now = t
			r.counting.monitors.ShowRecords()
			r.counting.engine.Tick(t)
		case t < r.now || !dated:
			r.late++
		}
	}
	r.last = max(r.last, r.now)
	r.counting.meter.Count(records[from:], exported)
}

// tally is a stage that adds up what all windows held.
type tally struct {
	countergroup.Nothing
	totals  map[*countergroup.Group]float64
	windows map[int64]bool // that held anything, by their end
}

// Window implements countergroup.Stage.
func (t *tally) Window(w *countergroup.Window) {
	rows := w.Stored()
	if len(rows) == 0 || rows[len(rows)-1].Key != countergroup.TotalsKey {
		return
	}
	t.windows[w.End] = true
	value := rows[len(rows)-1].Values[0]
	switch w.Group.Meters[0].Type {
	case countergroup.Rate, countergroup.DeltaRate:
		t.totals[w.Group] += value * float64(w.Seconds)
	case countergroup.Counter:
		t.totals[w.Group] += value
	default:
		t.totals[w.Group] = value
	}
}
