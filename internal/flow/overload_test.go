package flow

import (
	"context"
	"math"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/telemetry"
)

// sums is a stage that adds up the packets of Aggregates: all of them, and those of the directions.
type sums struct {
	countergroup.Nothing
	packets float64
}

func (s *sums) Window(w *countergroup.Window) {
	if n := len(w.Rows); w.Group.GUID == guidAggregates && n > 0 {
		s.packets += math.Round(w.Rows[n-1].Values[1] * float64(w.Seconds)) // a rate
	}
}

// TestOverload sends far more datagrams than can be counted into a small receive buffer: what was sent is what was counted and
// what was reported as dropped, to the last one, in the ledgers and in the groups.
func TestOverload(t *testing.T) {
	const datagrams, records = 20_000, 20
	reg, groups := telemetry.NewRegistry(), countergroup.NewRegistry()
	for _, d := range countergroup.Builtin() {
		if _, err := groups.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	engine, seen := countergroup.New(countergroup.Config{}, groups, reg, quiet), new(sums)
	homes, err := NewHomes(DefaultHomes)
	if err != nil {
		t.Fatal(err)
	}
	meter := NewMeter(MeterConfig{Homes: homes}, groups, engine.Batch(), reg)
	engine.SetStages(seen)
	engine.Tick(noon.Unix())
	l := NewListener(ListenerConfig{Listen: []Listen{{"udp4", "127.0.0.1:0"}}, Templates: filepath.Join(t.TempDir(), "templates.json"), ReceiveBuffer: 64 << 10},
		func(records []Record) {
			time.Sleep(20 * time.Microsecond) // as if much more were counted
			meter.Count(records, true)
		}, reg, quiet)
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp4", l.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var body []any
	for range records {
		body = append(body, plainRecord("10.0.0.1", "192.0.2.9", 100, 1))
	}
	send := func(b []byte) {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	send(v9(5, 0, set(0, plain(300))))
	for reg.Ledger("flow.datagrams", "datagrams").Snapshot().Passed == 0 {
		time.Sleep(time.Millisecond)
	}
	for i := range uint32(datagrams) {
		send(v9(5, 1+i, set(300, body...)))
	}
	if err := l.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	engine.Finish()
	balanced(t, reg, l.decoder)
	a := reg.Ledger("flow.datagrams", "datagrams").Snapshot()
	if a.Discarded["kernel_drop"] == 0 {
		t.Errorf("nothing was dropped, this tests nothing: %+v", a)
	}
	if a.Received != datagrams+1 || a.Received != a.Passed+a.Lost() {
		t.Errorf("%d datagrams were sent, %+v", datagrams+1, a)
	}
	if r := reg.Ledger("flow.records", "records").Snapshot(); r.Passed != (a.Passed-1)*records {
		t.Errorf("%d datagrams were decoded, %+v", a.Passed, r)
	}
	if want := float64(2 * (a.Passed - 1) * records); seen.packets != want { // all of them, and their direction
		t.Errorf("the groups hold %v packets, want %v", seen.packets, want)
	}
	t.Logf("sent %d, counted %d, dropped by the kernel %d; lost by sequence numbers %d", datagrams+1, a.Passed, a.Discarded["kernel_drop"], l.decoder.Lost)
}
