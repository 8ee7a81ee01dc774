package monitor

import (
	"fmt"
	"testing"

	"github.com/weirhq/weir/internal/countergroup"
)

// Callbacks for each key of a window, and of a second, of a group with so many meters, in the process of the script.
func BenchmarkCallbacks(b *testing.B) {
	const keys = 100_000
	f := func(name, callbacks string, meters int, kind byte, mode Mode) {
		b.Run(fmt.Sprintf("%s/%d meters", name, meters), func(b *testing.B) {
			s := mustLoad(b, `local n = 0 TrisulPlugin = { id = { name = "x" }, cg_monitor = { counter_guid = "`+hostsGUID+`", `+callbacks+` } }`)
			s.start(meters)
			s.deaf = true
			var rows []countergroup.Row
			for i := range keys {
				r := countergroup.Row{Key: fmt.Sprintf("0A.%02X.%02X.%02X", i>>16, i>>8&255, i&255)}
				for m := range meters {
					r.Values = append(r.Values, float64(i*m)/60)
				}
				rows = append(rows, r)
			}
			var parts [][]byte
			for from := 0; from < keys; from += MaxRows {
				part := rows[from:min(from+MaxRows, keys)]
				if kind == KindSecond {
					parts = append(parts, AppendSecond(nil, 1, 6, meters, part))
				} else {
					parts = append(parts, AppendWindow(nil, 1, mode, First|Last, 60, meters, part))
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, p := range parts {
					if err := s.Frame(kind, p, nil); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N)*keys/b.Elapsed().Seconds(), "callbacks/s")
			if len(s.errors) > 0 {
				b.Error(s.errors)
			}
		})
	}
	for _, meters := range []int{2, 17} {
		f("onflush", `onflush = function(engine, ts, key, m) if key ~= "SYS:GROUP_TOTALS" then n = n + m[1] end end`, meters, KindWindow, ModeObserve)
		f("onupdate", `onupdate = function(engine, ts, key, m) if key ~= "SYS:GROUP_TOTALS" then n = n + m[1] end end`, meters, KindSecond, ModeObserve)
		f("onflushfilter", `onflushfilter = function(engine, ts, key, m) return m[1] > 100 end`, meters, KindWindow, ModeDecide)
		f("onflush that keeps keys", `onflush = function(engine, ts, key, m) T[key] = ts end`, meters, KindWindow, ModeObserve)
		f("onflush that posts an update", `onflush = function(engine, ts, key, m) engine:update_counter("`+ownGUID+`", key, 0, 60 * m[1]) end`, meters, KindWindow, ModeObserve)
	}
}

// Making and unloading an instance.
func BenchmarkInstance(b *testing.B) {
	s := mustLoad(b, everyCallback)
	for b.Loop() {
		s.start(17)
		var bound Bound
		s.ask(KindBind, Bind{}, &bound)
	}
}

// Flow records for a messagemonitor, and flows for an sg_monitor, in frames of 1000.
func BenchmarkFlows(b *testing.B) {
	f := func(name, block string, i Instance, event string) {
		b.Run(name, func(b *testing.B) {
			s := mustLoad(b, `TrisulPlugin = { id = { name = "x" }, `+block+` }`)
			i.Index = 1
			s.bindOne(i)
			s.deaf = true
			items := Items{Instance: 1, Event: event}
			for n := range 1000 {
				key := fmt.Sprintf("06C:0A.00.%02X.%02X:p-C350_08.08.08.08:p-01BB_0A.00.00.01_00000003_00000007", n>>8, n&255)
				items.Flows = append(items.Flows, Flow{Key: key, Start: 1_700_000_000, Last: 1_700_000_060, BytesAZ: 1500, BytesZA: 40, PacketsAZ: 3, PacketsZA: 1})
			}
			kind, payload := items.frame()
			for b.Loop() {
				if err := s.Frame(kind, payload, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "flows/s")
			if len(s.errors) > 0 {
				b.Error(s.errors)
			}
		})
	}
	f("onnewflowrecord", `messagemonitor = { onnewflowrecord = function(engine, flow, bytes) engine:update_counter("`+ownGUID+`", flow:ipa(), 0, bytes) end }`,
		Instance{Type: TypeMessageMonitor}, EventNew)
	f("onflush", `sg_monitor = { onflush = function(engine, flow) T.bytes = (T.bytes or 0) + flow:az_bytes() end }`, Instance{Type: TypeSGMonitor}, EventFlush)
}
