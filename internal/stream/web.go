package stream

import (
	"encoding/json"
	"net/http"
)

// Queues is the answer of GET /api/v1/queues.
type Queues struct {
	Stream Stats     `json:"stream"`
	Queues []Backlog `json:"queues"`
}

// Handler serves GET /api/v1/queues, how far the consumers are, and
// GET /api/v1/queues/verify, which reads everything stored. Errors are
// {"error", "kind"}, as everywhere in the HTTP API.
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
