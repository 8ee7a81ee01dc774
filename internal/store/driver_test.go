package store

import (
	"log/slog"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries/drivertest"
)

// TestDriver runs the tests that all drivers pass, in the week after their points.
func TestDriver(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Driver {
		s := New(Config{Path: t.TempDir()}, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
		s.now = func() time.Time { return time.Unix(drivertest.Start+7*day, 0) }
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Stop(bg); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}
