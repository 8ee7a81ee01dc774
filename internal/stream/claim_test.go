package stream

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

// A queue nobody is configured for is kept and shown, makes room before anything
// is refused, and goes when somebody says so.
func TestNotConfigured(t *testing.T) {
	cfg := Config{Path: t.TempDir(), MaxBytes: 1 << 20}
	f := start(t, cfg)
	f.consumer("old")
	f.consumer("new")
	f.append(1, 10)
	f.stop()

	f = start(t, cfg)
	f.Claim([]string{"new"})
	c := f.consumer("new")
	want(t, c, 1, 10, 100)
	ack(t, c, 10)
	queues := func() (all string) {
		t.Helper()
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/queues", nil))
		var q Queues
		if err := json.Unmarshal(w.Body.Bytes(), &q); err != nil {
			t.Fatal(err)
		}
		for _, b := range q.Queues {
			all += b.Name
			if !b.Configured {
				all += "-"
			}
			all += " "
		}
		return all
	}
	if got := queues(); got != "new old- " {
		t.Errorf("queues %q", got)
	}

	// Only the old queue needs what is stored: ten times the limit passes, and the others lose nothing.
	next := 11
	for range 1000 {
		if err := f.Append(bg, big(1, 10000)); err != nil {
			t.Fatal(err)
		}
		if b, err := c.Next(bg, 10); err != nil || b.First != uint64(next) || b.Count != 1 {
			t.Fatal(b.First, b.Count, err)
		}
		ack(t, c, next)
		next++
	}
	old, others := f.balanced("stream.old"), f.balanced("stream.new")
	if old.Discarded["not_configured"] < 900 || old.Buffered < 50 || others.Lost() != 0 {
		t.Errorf("old %+v, new %+v", old, others)
	}
	// A configured one is not robbed: at the limit new events are refused as before.
	var err error
	for range 200 {
		if err = f.Append(bg, big(1, 10000)); err != nil {
			break
		}
	}
	if others = f.balanced("stream.new"); !errors.Is(err, ErrFull) || others.Lost() != 0 || others.Buffered < 50 {
		t.Errorf("%v, new %+v", err, others)
	}

	remove := func(name string, code int, text string) {
		t.Helper()
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, httptest.NewRequest("DELETE", "/api/v1/queues/"+name, nil))
		if w.Code != code || !strings.Contains(w.Body.String(), text) {
			t.Errorf("removing %q: %d %s", name, w.Code, w.Body)
		}
	}
	remove("new", 409, "it is configured")
	remove("older", 404, "there is no queue")
	remove("old", 200, `"configured":false`)
	if got := queues(); got != "new " {
		t.Errorf("queues %q", got)
	}
	f.balanced("stream.old")
	f.stop()
	f = start(t, cfg)
	if got := queues(); got != "new " {
		t.Errorf("queues %q after a restart", got)
	}
}
