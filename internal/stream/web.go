package stream

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Queues is the answer of GET /api/v1/queues.
type Queues struct {
	Stream Stats     `json:"stream"`
	Queues []Backlog `json:"queues"`
}

// Handler serves GET /api/v1/queues, how far the consumers are,
// GET /api/v1/queues/verify, which reads everything stored, and
// DELETE /api/v1/queues/{name}, which forgets a consumer that nobody claims and
// answers with the Backlog it had. Errors are {"error", "kind"}, as everywhere in the HTTP API.
func (s *Stream) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/queues", func(w http.ResponseWriter, r *http.Request) {
		stats, err := s.Stats(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		queues, err := s.Backlogs(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, Queues{stats, queues})
	})
	mux.HandleFunc("GET /api/v1/queues/verify", func(w http.ResponseWriter, r *http.Request) {
		report, err := s.Verify(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, report)
	})
	mux.HandleFunc("DELETE /api/v1/queues/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		s.mu.Lock()
		c, claimed := s.consumers[name], s.isClaimed(name)
		s.mu.Unlock()
		switch {
		case c == nil:
			answer(w, http.StatusNotFound, map[string]string{"kind": "not_found", "error": fmt.Sprintf("there is no queue %q", name)})
			return
		case claimed:
			answer(w, http.StatusConflict, map[string]string{"kind": "conflict", "error": fmt.Sprintf("cannot remove the queue %q: it is configured, take it out of the configuration first", name)})
			return
		}
		b, err := c.Backlog(r.Context())
		if err == nil {
			err = s.Delete(r.Context(), name)
		}
		if err != nil {
			refuse(w, err)
			return
		}
		s.log.Warn("stream: a queue was removed", "consumer", name, "events", b.Events)
		answer(w, http.StatusOK, b)
	})
	return mux
}

func refuse(w http.ResponseWriter, err error) {
	answer(w, http.StatusServiceUnavailable, map[string]string{"kind": "unavailable", "error": err.Error()})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // an error means that nobody listens
}
