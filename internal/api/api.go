// Package api is how people and programs ask Weir: the native HTTP API under
// /api/v1/, self metrics, health, and a status page. docs/queries.md describes it.
package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Dependencies are what the API answers from. Only Registry and Log are required.
// The functions are called from any goroutine.
type Dependencies struct {
	Driver   timeseries.Driver  // nil when no store is configured: questions are answered with 503
	Catalog  timeseries.Catalog // names the schemas; nil like Driver
	Registry *telemetry.Registry
	Log      *slog.Logger

	Version string
	Started time.Time       // when the daemon started
	Ready   func() error    // why the daemon is not ready yet, nil when it is
	Sources func() []Source // what takes data in
	Stats   func() Stats    // what the store holds
	Groups  Groups          // answers /api/v1/groups and below, nil when nothing counts in groups

	Endpoints []Endpoint // what other packages answer

	// Token is what callers must show, "" for no check. /-/healthy and /-/ready stay open.
	Token string
}

// Endpoint is a path that another package answers.
type Endpoint struct {
	Pattern string // as http.ServeMux has it, with the method: "GET /api/v1/scripts"
	Handler http.Handler
	Open    bool // the token is not asked for

	// Password is the parameter of the URL that may hold the token, for clients
	// that know no other way; "" for none.
	Password string
}

// Source is one thing that takes data in.
type Source struct {
	Name      string // "statsd"
	Listen    []string
	Connect   string    // where it connects to, "" for a source that only listens
	Waiting   string    // why it is not connected there now, "" when it is
	LastInput time.Time // when data arrived last; zero for never
	LastFlush time.Time // zero for a source that does not flush, or has not yet
	NextFlush time.Time

	Connections []bbdo.ConnectionStatus // of pollers
}

// Stats are figures of the store.
type Stats struct {
	Series      int64
	DiskBytes   int64
	MemoryBytes int64 // of points that are not in blocks on disk yet; the log on disk has them
	Failure     error // why nothing can be stored now, nil when all is well
}

// Bounds of one request.
const (
	maxBody      = 1 << 20 // bytes of a request body
	maxHeader    = 1 << 16 // bytes of a request line with its headers
	queryTimeout = 30 * time.Second
	listTimeout  = 10 * time.Minute
	placeTimeout = 10 * time.Second // to wait while many others ask
	writeTimeout = 60 * time.Second // for an answer, and for every part of one that streams
)

// NewServer returns an http.Server for the handler with bounds on time and
// header size; the caller listens and shuts it down.
func NewServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // broken clients
	}
}

type server struct{ Dependencies }

// answer writes an answer, or returns why there is none and has written nothing.
type answer func(http.ResponseWriter, *http.Request, *parameters) error

// New returns the handler of everything Weir serves over HTTP. It starts nothing.
func New(d Dependencies) http.Handler {
	s := &server{d}
	closed := http.NewServeMux() // behind the token
	running := make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	listing := make(chan struct{}, 4) // apart: a client that reads slowly holds its place long
	ask := func(path string, known []string, places chan struct{}, timeout time.Duration, answer answer) {
		handler := s.question(known, places, timeout, answer)
		closed.HandleFunc("GET "+path, handler)
		closed.HandleFunc("POST "+path, handler)
	}
	ask("/api/v1/query", queryParameters, running, queryTimeout, s.stored(s.query))
	ask("/api/v1/total", totalParameters, running, queryTimeout, s.stored(s.total))
	ask("/api/v1/topk", topkParameters, running, queryTimeout, s.stored(s.topk))
	ask("/api/v1/schemas", nil, running, queryTimeout, s.stored(s.schemas))
	ask("/api/v1/series", seriesParameters, listing, listTimeout, s.stored(s.series))
	closed.HandleFunc("GET /api/v1/status", s.status)
	closed.Handle("GET /metrics", d.Registry.Handler())
	ask("/api/v1/groups", nil, running, queryTimeout, s.counted(s.groups))
	ask("/api/v1/groups/{group}/top", topParameters, running, queryTimeout, s.counted(s.groupTop))
	closed.HandleFunc("GET /{$}", s.page)
	closed.HandleFunc("/", unknownPath)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "healthy\n") })
	mux.HandleFunc("GET /-/ready", s.ready)
	for _, e := range d.Endpoints {
		if e.Open {
			mux.Handle(e.Pattern, e.Handler)
		} else {
			mux.Handle(e.Pattern, s.guard(e.Handler, e.Password))
		}
	}
	mux.Handle("/", s.guard(closed, ""))
	return secure(collapse(mux))
}

func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.notReady(); err != nil {
		writeText(w, http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
		return
	}
	writeText(w, http.StatusOK, "ready\n")
}

func (s *server) notReady() error {
	if s.Ready == nil {
		return nil
	}
	return s.Ready()
}

// guard lets only requests with the token through: as a bearer token, as InfluxDB's
// clients send it, as the password of basic authentication, which is what a browser
// can offer, or in the parameter named password.
func (s *server) guard(next http.Handler, password string) http.Handler {
	if s.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(s.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Get("Authorization")
		shown, ok := strings.CutPrefix(header, "Bearer ")
		if !ok {
			shown, ok = strings.CutPrefix(header, "Token ")
			if user, password, both := strings.Cut(shown, ":"); both && user != "" && shown != s.Token {
				shown = password // version 2 of InfluxDB's clients, told to write to version 1
			}
		}
		if !ok {
			_, shown, ok = r.BasicAuth()
		}
		if !ok && password != "" {
			shown = r.URL.Query().Get(password)
		}
		got := sha256.Sum256([]byte(shown))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Add("WWW-Authenticate", `Bearer realm="weir"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="weir"`)
			const kind, reason = "unauthorized", "a token is needed: send the header Authorization: Bearer TOKEN"
			writeJSON(w, http.StatusUnauthorized, struct {
				Error
				Code string `json:"code"` // and message are where version 2 of InfluxDB has them
				Text string `json:"message"`
			}{Error{http.StatusUnauthorized, kind, reason}, kind, reason})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// collapse makes one slash of several below /api: bots whose address of Weir ends
// with a slash send two, and do not follow a redirection of a POST as they should.
func collapse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Path; strings.Contains(path, "//") && strings.HasPrefix(strings.TrimLeft(path, "/"), "api/") {
			short := *r.URL
			short.Path, short.RawPath = severalSlashes.ReplaceAllString(path, "/"), ""
			r = r.WithContext(r.Context())
			r.URL = &short
		}
		next.ServeHTTP(w, r)
	})
}

var severalSlashes = regexp.MustCompile("//+")

// secure adds what keeps a browser from guessing and from running anything.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// question wraps an answer: parameters read and checked, a bound on how many are
// computed at once (the capacity of places) and for how long, errors as JSON.
func (s *server) question(names []string, places chan struct{}, timeout time.Duration, answer answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		err := s.ask(w, r.WithContext(ctx), names, places, answer)
		if err == nil || errors.Is(r.Context().Err(), context.Canceled) {
			return // in the second case the caller went away, and nobody reads an error
		}
		var known *Error
		if !errors.As(err, &known) {
			known = classify(err, timeout)
		}
		if known.Status == http.StatusInternalServerError {
			s.Log.Error("cannot answer", "path", r.URL.Path, "error", err)
		}
		writeError(w, known)
	}
}

// stored is an answer that needs the store.
func (s *server) stored(next answer) answer {
	return func(w http.ResponseWriter, r *http.Request, p *parameters) error {
		if s.Driver == nil || s.Catalog == nil {
			return &Error{http.StatusServiceUnavailable, "no_store", "there is no store to ask: the configuration writes to none"}
		}
		return next(w, r, p)
	}
}

// counted is an answer that needs counter groups.
func (s *server) counted(next answer) answer {
	return func(w http.ResponseWriter, r *http.Request, p *parameters) error {
		if s.Groups == nil {
			return &Error{http.StatusServiceUnavailable, "no_groups", "there are no counter groups to ask: the configuration has neither sources.netflow nor counter_groups.groups"}
		}
		return next(w, r, p)
	}
}

func (s *server) ask(w http.ResponseWriter, r *http.Request, names []string, places chan struct{}, answer answer) error {
	p, err := readParameters(w, r, names)
	if err != nil {
		return err
	}
	if err := s.notReady(); err != nil {
		return &Error{http.StatusServiceUnavailable, "not_ready", "not ready: " + err.Error()}
	}
	wait := time.NewTimer(placeTimeout)
	defer wait.Stop()
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
		return answer(w, r, p)
	case <-wait.C:
		return &Error{http.StatusServiceUnavailable, "busy", "too many questions at once: try again later"}
	case <-r.Context().Done():
		return r.Context().Err()
	}
}
