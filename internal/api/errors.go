package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weirhq/weir/timeseries"
)

// Error is an answer that says why there is none: as JSON {"error", "kind"}.
type Error struct {
	Status  int    `json:"-"`     // of HTTP
	Kind    string `json:"kind"`  // stable, for programs: docs/queries.md lists them
	Message string `json:"error"` // for people
}

func (e *Error) Error() string { return e.Message }

// badParameter is a parameter that cannot be used: what it is, as it was sent, and what would be right.
func badParameter(name, value, right string) *Error {
	if len(value) > 100 {
		value = value[:100] + "..."
	}
	return &Error{http.StatusBadRequest, "bad_parameter", fmt.Sprintf("cannot use %s=%q: %s", name, value, right)}
}

// classify turns an error of a driver into an answer.
func classify(err error, timeout time.Duration) *Error {
	switch {
	case errors.Is(err, timeseries.ErrUnknownSchema):
		return &Error{http.StatusNotFound, "unknown_schema", err.Error()}
	case errors.Is(err, timeseries.ErrNoSeries):
		return &Error{http.StatusNotFound, "no_series", err.Error()}
	case errors.Is(err, timeseries.ErrUnknownTag):
		return &Error{http.StatusBadRequest, "unknown_tag", err.Error()}
	case errors.Is(err, timeseries.ErrBadRange):
		return &Error{http.StatusBadRequest, "bad_parameter", err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{http.StatusServiceUnavailable, "timeout", fmt.Sprintf("no answer within %s: ask for less (a shorter range, more tags)", timeout)}
	}
	return &Error{http.StatusInternalServerError, "internal", "cannot answer: " + err.Error()}
}

func unknownPath(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, HEAD, POST")
		writeError(w, &Error{http.StatusMethodNotAllowed, "bad_method", fmt.Sprintf("cannot %s: use GET or POST", r.Method)})
		return
	}
	writeError(w, &Error{http.StatusNotFound, "unknown_path", fmt.Sprintf("there is no %q here: there are /, /metrics, /-/healthy, /-/ready and /api/v1/ with schemas, series, query, total, topk, groups, status", r.URL.Path)})
}

func writeError(w http.ResponseWriter, e *Error) { writeJSON(w, e.Status, e) }

func writeJSON(w http.ResponseWriter, status int, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		text, status = []byte(`{"error":"cannot render the answer","kind":"internal"}`), http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that went away needs no answer
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
