package lineprotocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/internal/writes"
	"github.com/weirhq/weir/timeseries"
)

// maxBody is how many bytes a body may have, before and after compression. It is never in memory as a whole.
const maxBody = 64 << 20

// Handler takes in line protocol. Its ledger "writes.influxdb" counts points: every
// field of a measurement made on demand is one, a line of a declared schema is one, and so is
// a line that is bad. Its methods may be called from any goroutine.
type Handler struct {
	intake     *writes.Intake
	schemas    *writes.Schemas
	dictionary *writes.Dictionary[series]
	gate       *writes.Gate
	log        *slog.Logger
	version    string
	now        func() time.Time
	sessions   *writes.Spare[session]

	badLine, badSeries, badField, texts *telemetry.Discard
	warnTexts                           *telemetry.Limited
}

// New returns a Handler that writes to driver. A measurement with the name of a
// schema that known has is points of that schema, its fields are their metrics.
func New(driver timeseries.Driver, known writes.Known, version string, reg *telemetry.Registry, log *slog.Logger) *Handler {
	h := &Handler{
		intake: writes.NewIntake("influxdb", driver, reg, log), schemas: writes.NewSchemas(model, known),
		dictionary: writes.NewDictionary[series](), gate: writes.NewGate(), sessions: writes.NewSpare[session](), log: log, version: version, now: time.Now,
		warnTexts: telemetry.NewLimited(log, time.Hour, 1),
	}
	h.badLine, h.badSeries, h.badField, h.texts = h.intake.Reason("bad_line"), h.intake.Reason("bad_series"), h.intake.Reason("bad_field"), h.intake.Reason("text")
	return h
}

// V1 answers "/write" as InfluxDB 1 does.
func (h *Handler) V1() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.write(w, r, precisions, func(status int, _, message string) {
			h.answer(w, status, struct {
				Error string `json:"error"`
			}{message})
		})
	})
}

// precisions2 are the units that version 2 knows.
var precisions2 = map[string]precision{"": precisions["ns"], "ns": precisions["ns"], "us": precisions["us"], "ms": precisions["ms"], "s": precisions["s"]}

// V2 answers "/api/v2/write" as InfluxDB 2 does.
func (h *Handler) V2() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.write(w, r, precisions2, func(status int, code, message string) {
			h.answer(w, status, struct {
				Code    string `json:"code"`
				Message string `json:"message"`
			}{code, message})
		})
	})
}

// Ping answers "/ping".
func (h *Handler) Ping() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.introduce(w)
		w.WriteHeader(http.StatusNoContent)
	})
}

// Query answers "/query": clients make their database before they write, and any is there.
func (h *Handler) Query() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		q := r.FormValue("q")
		if words := strings.Fields(strings.ToUpper(q)); len(words) > 2 && words[0] == "CREATE" && (words[1] == "DATABASE" || words[1] == "RETENTION") {
			h.answer(w, http.StatusOK, json.RawMessage(`{"results":[{"statement_id":0}]}`))
			return
		}
		h.answer(w, http.StatusBadRequest, struct {
			Error string `json:"error"`
		}{fmt.Sprintf("cannot answer %.100q: Weir takes what InfluxDB's clients write, and answers questions at /api/v1/query", q)})
	})
}

// introduce says who answers, where clients look for a version.
func (h *Handler) introduce(w http.ResponseWriter) {
	w.Header().Set("X-Influxdb-Build", "Weir")
	w.Header().Set("X-Influxdb-Version", h.version)
}

func (h *Handler) answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings only
	}
	h.introduce(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that went away needs no answer
}

// write takes in a request; fail answers with a status, the code of version 2 for it, and a message.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, units map[string]precision, fail func(status int, code, message string)) {
	name := r.URL.Query().Get("precision")
	unit, ok := units[name]
	if !ok {
		fail(http.StatusBadRequest, "invalid", fmt.Sprintf("cannot use precision=%.20q: it must be ns, us, ms or s", name))
		return
	}
	later := func(message string) {
		w.Header().Set("Retry-After", writes.RetryAfter)
		fail(http.StatusServiceUnavailable, "unavailable", message)
	}
	leave, ok := h.gate.Enter()
	if !ok {
		later("too many clients write at once: try again later")
		return
	}
	defer leave()
	body, err := writes.OpenBody(w, r, r.Header.Get("Content-Encoding"), maxBody)
	if err != nil {
		fail(http.StatusBadRequest, "invalid", err.Error())
		return
	}
	defer body.Close()
	s := h.session(unit)
	defer h.sessions.Give(s)
	err = s.take(r.Context(), body)
	var failure *writes.Failure
	switch {
	case errors.As(err, &failure):
		later(failure.Error())
	case errors.Is(err, writes.ErrTooLarge):
		fail(http.StatusRequestEntityTooLarge, "request too large", err.Error())
	case err != nil:
		fail(http.StatusBadRequest, "invalid", "cannot read the body: "+err.Error())
	case s.problems.dropped > 0:
		fail(http.StatusBadRequest, "invalid", s.problems.String())
	default:
		h.introduce(w)
		w.WriteHeader(http.StatusNoContent)
	}
}

// session returns one that is ready for a request.
func (h *Handler) session(unit precision) *session {
	s := h.sessions.Take()
	if s == nil {
		s = &session{handler: h, buffer: make([]byte, chunkSize)}
	}
	s.batch.Reset()
	s.unit, s.now, s.before, s.skipping, s.problems = unit, h.now().Unix(), 0, false, problems{}
	return s
}

// String is what is wrong, as InfluxDB says it: the good lines of a request are stored.
func (p *problems) String() string {
	more := ""
	if len(p.texts) == maxProblems {
		more = "\n(further ones are not listed)"
	}
	return fmt.Sprintf("partial write: %s%s dropped=%d", strings.Join(p.texts, "\n"), more, p.dropped)
}
