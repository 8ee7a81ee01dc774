package telemetry

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLedger(t *testing.T) {
	r := NewRegistry()
	l := r.Ledger("statsd.intake", "values")
	if r.Ledger("statsd.intake", "values") != l {
		t.Error("a second ledger of the same component")
	}
	l.Received(10)
	l.Passed(6)
	l.Reason("bad_line").Add(1)
	if l.Snapshot().Balanced() {
		t.Error("three items are missing, yet the ledger balances")
	}
	l.Hold(func() int64 { return 3 })
	if a := l.Snapshot(); !a.Balanced() || a.Buffered != 3 || a.Discarded["bad_line"] != 1 {
		t.Errorf("%+v", a)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`weir_received_total{component="statsd.intake",unit="values"} 10`, `weir_passed_total{component="statsd.intake",unit="values"} 6`,
		`weir_buffered{component="statsd.intake",unit="values"} 3`, `weir_discarded_total{component="statsd.intake",reason="bad_line",unit="values"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := NewLimited(slog.New(slog.NewTextHandler(&out, nil)), time.Second, 2)
		for range 5 {
			l.Warn("bad line")
		}
		if n := strings.Count(out.String(), "bad line"); n != 2 {
			t.Errorf("%d lines written, want 2", n)
		}
		time.Sleep(time.Second)
		l.Warn("bad line")
		if !strings.Contains(out.String(), "left_out=3") {
			t.Errorf("%s", out.String())
		}
	})
}
