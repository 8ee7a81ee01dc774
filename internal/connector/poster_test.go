package connector

import (
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
)

// The JSON poster of the examples acknowledges after an answer of 2xx, not before.
func TestPosterAcknowledges(t *testing.T) {
	var code atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(int(code.Load())) }))
	defer server.Close()
	text, err := os.ReadFile("../../examples/connectors/http-json-poster.lua")
	if err != nil {
		t.Fatal(err)
	}
	s, r := load(t, string(text), func(s *Setup) {
		s.Parameters = []Parameter{{Name: "url", Text: server.URL}, {Name: "batch", Number: 2, Numeric: true}}
	})
	code.Store(http.StatusOK)
	deliver(t, s, 1, statuses(t, 3)) // a full batch, and one event that waits
	if r.last() != 2 {
		t.Errorf("acknowledged through %d after a batch of 2", r.last())
	}
	f := func(answer int, want string, acknowledged uint64) {
		t.Helper()
		code.Store(int64(answer))
		got, err := s.FlushOne()
		if err != nil {
			t.Fatal(err)
		}
		if got != want || r.last() != acknowledged {
			t.Errorf("flush returned %s after the answer %d, and %d are acknowledged; want %s and %d", got, answer, r.last(), want, acknowledged)
		}
	}
	f(http.StatusInternalServerError, "false", 2)
	f(http.StatusNotFound, "false", 2)
	f(http.StatusFound, "false", 2)
	f(http.StatusNoContent, "true", 3)
	if len(r.errors) > 0 {
		t.Error(r.errors)
	}
}
