package connector

import (
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// TestAcknowledged: a process, which may be hostile, acknowledges what it was sent and nothing else.
func TestAcknowledged(t *testing.T) {
	c := &Connector{limited: telemetry.NewLimited(slog.New(slog.DiscardHandler), time.Minute, 5), wake: make(chan struct{}, 1), proved: make(chan struct{}, 1)}
	c.taken.Store(10)
	f := func(through, want uint64) {
		t.Helper()
		c.OnFrame(kindAck, binary.BigEndian.AppendUint64(nil, through))
		if got := c.acked.Load(); got != want {
			t.Errorf("%d are acknowledged after %d, want %d", got, through, want)
		}
	}
	f(4, 4)
	f(11, 4)
	f(1<<63, 4)
	f(3, 4)
	f(10, 10)
}
