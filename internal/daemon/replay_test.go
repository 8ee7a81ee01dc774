package daemon

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/telemetry"
)

// windowLines is a stage that writes down the totals of Aggregates.
type windowLines struct {
	countergroup.Nothing
	lines []string
}

func (w *windowLines) Window(of *countergroup.Window) {
	if n := len(of.Rows); of.Group.Title == "Aggregates" && n > 0 {
		w.lines = append(w.lines, fmt.Sprintf("%d-%d %v", of.Start, of.End, of.Rows[n-1].Values[0]*60/2)) // each byte is in all and in its direction
	}
}

// TestReplayTime: records are counted in the windows of their own times; late and undated ones in the running second.
func TestReplayTime(t *testing.T) {
	f := func(late int64, times []int64, want ...string) {
		t.Helper()
		c := newCounting(config.Default(), nil, nil, telemetry.NewRegistry(), slog.New(slog.DiscardHandler), "", true)
		r := &replay{counting: c}
		seen := new(windowLines)
		c.engine.SetStages(append(c.stages, seen)...)
		var records []flow.Record
		for i, at := range times {
			records = append(records, flow.Record{Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("192.0.2.1"),
				Time: at * 1e9, Bytes: 1 << i, Packets: 1, Rate: 1, Exporter: netip.MustParseAddr("192.0.2.7")})
		}
		half := len(records) / 2
		r.count(records[:half], true)
		r.count(records[half:], true)
		c.engine.Finish()
		if diff := cmp.Diff(want, seen.lines); diff != "" || r.late != late {
			t.Errorf("%v: %d late (-want +got):\n%s", times, r.late, diff)
		}
	}
	const at = 6_000_000 // the beginning of a window
	f(0, []int64{at, at + 59, at + 60}, fmt.Sprint(at, "-", at+60, " 3"), fmt.Sprint(at+60, "-", at+120, " 4"))
	f(1, []int64{at + 59, at + 61, at + 30, at + 62}, fmt.Sprint(at, "-", at+60, " 1"), fmt.Sprint(at+60, "-", at+120, " 14"))
	f(0, []int64{at + 1, at + 1_000_000}, fmt.Sprint(at, "-", at+60, " 1"), fmt.Sprint(at+999_960, "-", at+1_000_020, " 2"))
	f(1, []int64{at + 1, 0, at + 2}, fmt.Sprint(at, "-", at+60, " 7"))
	f(2, []int64{0, 0}, "0-60 3")
	f(1, []int64{at, 1 << 33}, fmt.Sprint(at, "-", at+60, " 3"))
}
