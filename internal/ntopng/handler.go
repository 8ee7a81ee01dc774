// Package ntopng answers the timeseries endpoints of ntopng's HTTP API (specification of
// the timeseries contract, section 5), so that its clients and charts work on the series of Weir.
package ntopng

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/timeseries"
)

// The paths; each is asked with GET or POST.
const (
	pathV2     = "/lua/rest/v2/get/timeseries/ts.lua"
	pathV1     = "/lua/rest/v1/get/timeseries/ts.lua"
	pathOldest = "/lua/rest/get/timeseries/ts.lua"
	pathMulti  = "/lua/pro/rest/v2/get/timeseries/ts_multi.lua"
	pathConsts = "/lua/rest/v2/get/timeseries/type/consts.lua"
	pathDate   = "/lua/rest/v2/get/timeseries/date_format.lua"
)

// Patterns are what a Handler answers, as http.ServeMux has them.
func Patterns() []string {
	var all []string
	for _, path := range []string{pathV2, pathV1, pathOldest, pathMulti, pathConsts, pathDate} {
		all = append(all, "GET "+path, "POST "+path)
	}
	return all
}

// Bounds of one request (R32).
const (
	maxLimit    = timeseries.MaxSlots // points per line
	maxRequests = 100                 // of ts_multi.lua
	maxPoints   = 1 << 20             // of all lines of all requests of ts_multi.lua
	maxBody     = 1 << 20             // bytes
	timeout     = 30 * time.Second
)

// Handler answers. It is an http.Handler for the paths of Patterns.
type Handler struct {
	front  *front.Front
	ready  func() error
	log    *slog.Logger
	places chan struct{} // a bound on how many answers are computed at once
	now    func() time.Time
}

// New returns a Handler that asks f; ready says why that cannot be done yet.
func New(f *front.Front, ready func() error, log *slog.Logger) *Handler {
	return &Handler{front: f, ready: ready, log: log, places: make(chan struct{}, 4*runtime.GOMAXPROCS(0)), now: time.Now}
}

// reply is what every answer is wrapped in.
type reply struct {
	Code  int    `json:"rc"`
	Name  string `json:"rc_str"`
	Human string `json:"rc_str_hr"`
	Value any    `json:"rsp"`
}

// The codes of a reply with their statuses of HTTP.
var (
	succeeded = reply{0, "OK", "Success", nil}
	invalid   = reply{-5, "INVALID_ARGUMENTS", "Invalid arguments", nil}
	internal  = reply{-6, "INTERNAL_ERROR", "Internal error", nil}
)

// problem is an error that says what is wrong with a request.
type problem struct{ text string }

func (p *problem) Error() string { return p.text }

// failed is the value of a reply with an error.
type failed struct {
	LastError string `json:"tsLastError,omitempty"` // the code of the contract
	Error     string `json:"error"`
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	value, err := h.answer(ctx, w, r)
	if errors.Is(r.Context().Err(), context.Canceled) {
		return // the caller went away
	}
	out, status := succeeded, http.StatusOK
	out.Value = value
	if err != nil {
		out, status = h.explain(err)
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic("BUG: an answer cannot be JSON: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that went away needs no answer
}

// explain is the reply to an error.
func (h *Handler) explain(err error) (reply, int) {
	var p *problem
	var missing *front.MissingTagError
	if errors.As(err, &p) || errors.As(err, &missing) || errors.Is(err, timeseries.ErrUnknownSchema) || errors.Is(err, front.ErrTooMuch) {
		out := invalid
		out.Value = failed{Error: err.Error()}
		return out, http.StatusBadRequest
	}
	out, value := internal, failed{Error: "cannot answer: " + err.Error()}
	switch {
	case errors.Is(err, errNotReady):
		out.Value = value
		return out, http.StatusServiceUnavailable
	case front.CodeOf(err) == front.CodeTooSlow:
		value = failed{front.CodeTooSlow, "no answer within " + timeout.String() + ": ask for less (a shorter range, fewer items)"}
	default:
		h.log.Error("cannot answer a timeseries endpoint", "error", err)
	}
	out.Value = value
	return out, http.StatusInternalServerError
}

var errNotReady = errors.New("not ready")

// answer computes the value of a reply.
func (h *Handler) answer(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error) {
	p, err := read(w, r)
	if err != nil {
		return nil, err
	}
	p.now = h.now().Unix()
	if err := h.ready(); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotReady, err)
	}
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch r.URL.Path {
	case pathV2:
		return h.modern(ctx, p)
	case pathMulti:
		return h.multi(ctx, p)
	case pathConsts:
		return h.consts(p)
	case pathDate:
		return dateFormat, nil
	}
	return h.legacy(ctx, p)
}

// dateFormat is that of everything Weir shows: year, month, day.
const dateFormat = "big_endian"

// known turns errors that mean "no data" into a nil answer (R19, R30b).
func known(a *front.Answer, err error) (*front.Answer, error) {
	if errors.Is(err, timeseries.ErrNoSeries) || errors.Is(err, timeseries.ErrBadRange) {
		return nil, nil
	}
	return a, err
}
