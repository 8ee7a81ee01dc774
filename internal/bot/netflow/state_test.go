package netflow

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/telemetry"
)

// life is a bot from one start of the daemon to the next.
func life(t *testing.T, path string, to collector.Sink) (*Bot, collector.Job) {
	t.Helper()
	b := New(NewFlows(telemetry.NewRegistry()), nil, 0, path, quiet)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, jobs(t, b, to, device("192.0.2.1"))["aggr/1min/7"]
}

// TestRestart lets windows go on after a stop and after a kill.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "collectors", "netflow.state")
	synctest.Test(t, func(t *testing.T) {
		const sum, ip = "netflow.1min.ingress.entity.311", "netflow.1min.ingress.entity.311.topip.10%2e0%2e0%2e1"
		to := new(sink)
		one := []flow.Record{record("192.0.2.1", "10.0.0.1", "10.0.0.2")}
		b, minute := life(t, path, to)
		do(t, minute) // begins the window
		b.flows.Take(one)
		do(t, minute) // the first run with records
		b.flows.Take(one)
		b.flows.Take(one)
		if err := b.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}

		time.Sleep(time.Hour)
		b, minute = life(t, path, to)
		if got := b.flows.unseen; got != time.Hour {
			t.Error("unseen:", got)
		}
		do(t, minute) // nothing new must come
		if got := to.take(); got[sum] != 200 || got[ip] != 200 {
			t.Error("after a stop:", got)
		}
		b.flows.Take(one)
		time.Sleep(keepEvery + time.Second)
		synctest.Wait()
		b.flows.Take(one) // which the kill costs
		b.end()           // no more is kept

		b, minute = life(t, path, to)
		b.flows.Take(one)
		do(t, minute)
		if got := to.take(); got[sum] != 200 {
			t.Error("after a kill:", got)
		}
		synctest.Wait() // that it was sent is kept at once
		b.end()
		b, minute = life(t, path, to)
		do(t, minute)
		if got := to.take(); len(got) != 0 {
			t.Error("sent again:", got)
		}
		if err := b.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDamagedState sets a file aside that nobody can read, and begins anew.
func TestDamagedState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netflow.state")
	b, minute := life(t, path, new(sink))
	b.flows.Take([]flow.Record{record("192.0.2.1", "10.0.0.1", "10.0.0.2")})
	do(t, minute)
	if err := b.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 4
	for _, text := range [][]byte{nil, []byte("abc"), good[:len(good)/2], flipped} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		flows := NewFlows(telemetry.NewRegistry())
		if err := flows.load(path); err == nil || !strings.Contains(err.Error(), path+".damaged") || len(flows.windows) != 0 {
			t.Error(len(text), err)
		}
		if aside, err := os.ReadFile(path + ".damaged"); err != nil || !bytes.Equal(aside, text) {
			t.Error(err)
		}
	}
}

// FuzzWindows reads files with the right checksum and any content.
func FuzzWindows(f *testing.F) {
	var text bytes.Buffer
	s := savedSummary{Exporter: netip.MustParseAddr("192.0.2.1"), Bytes: 1, Ports: map[uint16]uint64{1: 1}}
	if err := gob.NewEncoder(&text).Encode(savedWindows{Windows: []savedWindow{{Account: 7, Label: "1min", Summaries: []savedSummary{s}}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(text.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		saved, err := parseWindows(binary.BigEndian.AppendUint32(bytes.Clone(text), crc32.ChecksumIEEE(text)))
		if err == nil {
			NewFlows(telemetry.NewRegistry()).restart(saved)
		}
	})
}
