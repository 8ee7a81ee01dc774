package flow

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// TestListener: datagrams on several addresses, a restart in the middle of an export, and the ledger.
func TestListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flow", "templates.json")
	var mu sync.Mutex
	var got []string
	came := make(chan struct{}, 100)
	start := func() (*Listener, *telemetry.Registry) {
		reg := telemetry.NewRegistry()
		l := NewListener(ListenerConfig{Listen: []Listen{{"udp4", "127.0.0.1:0"}, {"udp4", "127.0.0.1:0"}}, Templates: path, ReceiveBuffer: 1 << 20},
			func(records []Record) {
				mu.Lock()
				got = append(got, lines(records))
				mu.Unlock()
				came <- struct{}{}
			}, reg, quiet)
		if err := l.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return l, reg
	}
	send := func(to net.Addr, packets ...[]byte) {
		conn, err := net.Dial("udp4", to.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, p := range packets {
			if _, err := conn.Write(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	l, _ := start()
	send(l.Addresses()[0], v9(5, 1, set(0, plain(300)), set(300, plainRecord("10.0.0.1", "10.0.0.2", 1, 1))))
	<-came
	if l.LastInput().IsZero() {
		t.Error("no time of the last input")
	}
	if err := l.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	l, reg := start()
	send(l.Addresses()[1], []byte("garbage"), v9(5, 2, set(300, plainRecord("10.0.0.1", "10.0.0.2", 2, 1))))
	select {
	case <-came:
	case <-time.After(10 * time.Second):
		t.Error("nothing was decoded after the restart")
	}
	if err := l.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if joined := strings.Join(got, "\n"); !strings.Contains(joined, ", 1 bytes") || !strings.Contains(joined, ", 2 bytes") {
		t.Errorf("records: %s", joined)
	}
	if a := reg.Ledger("flow.datagrams", "datagrams").Snapshot(); a.Received != 2 || a.Passed != 1 || a.Discarded["unknown_version"] != 1 {
		t.Errorf("ledger %+v", a)
	}
	taken, _ := start()
	defer taken.Stop(context.Background())
	other := NewListener(ListenerConfig{Listen: []Listen{{"udp4", taken.Addresses()[0].String()}}, Templates: path, ReceiveBuffer: 1 << 16}, nil, telemetry.NewRegistry(), quiet)
	if err := other.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("binding twice: %v", err)
	}
}
