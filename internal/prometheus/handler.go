package prometheus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Prefix is the path below which Handler answers: what a client is told is the
// address of Prometheus ends with it.
const Prefix = "/prometheus"

// Bounds of one question.
const (
	maxBody      = 1 << 20 // bytes of a form
	maxSamples   = 8 << 20 // that the engine may hold at a time
	maxPoints    = 11_000  // of one series in an answer, as Prometheus has it
	queryTimeout = 30 * time.Second
	placeTimeout = 10 * time.Second // to wait while others ask
	places       = 4                // questions that are answered at once
	lookback     = 5 * time.Minute  // how long a sample counts as the current one, unless the step is longer
	subqueryStep = time.Minute      // of a subquery that gives none
)

// Handler answers the HTTP API of Prometheus under Prefix, with GET and with POST.
// It is an http.Handler, which may be called from any goroutine.
type Handler struct {
	source  Source
	log     *slog.Logger
	now     func() time.Time
	engine  *promql.Engine
	parser  parser.Parser
	running chan struct{}
	mux     *http.ServeMux
	bytes   int64 // that a question may hold
	timeout time.Duration
}

// NewHandler returns a Handler that answers from source.
func NewHandler(source Source, log *slog.Logger) *Handler {
	h := &Handler{
		source: source, log: log, now: time.Now, parser: parser.NewParser(parser.Options{}),
		running: make(chan struct{}, places), mux: http.NewServeMux(), bytes: maxBytes, timeout: queryTimeout,
	}
	h.engine = promql.NewEngine(promql.EngineOpts{
		MaxSamples: maxSamples, Timeout: queryTimeout, LookbackDelta: lookback, Parser: h.parser,
		NoStepSubqueryIntervalFn: func(int64) int64 { return subqueryStep.Milliseconds() },
		EnableAtModifier:         true, EnableNegativeOffset: true,
	})
	for path, answer := range map[string]func(*request) (*result, error){
		"query":               h.query,
		"query_range":         h.queryRange,
		"query_exemplars":     h.exemplars,
		"series":              h.series,
		"labels":              h.labels,
		"label/{name}/values": h.labelValues,
		"metadata":            h.metadata,
		"format_query":        h.format,
		"status/buildinfo":    h.buildInfo,
		"rules":               h.rules,
		"alerts":              h.alerts,
	} {
		serve := h.serve(answer)
		h.mux.HandleFunc("GET "+Prefix+"/api/v1/"+path, serve)
		h.mux.HandleFunc("POST "+Prefix+"/api/v1/"+path, serve)
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeFailure(w, &failure{http.StatusNotFound, "not_found", fmt.Sprintf("there is no %s %q here: there are GET and POST of %s/api/v1/ with query, query_range, query_exemplars, series, labels, label/NAME/values, metadata, format_query, status/buildinfo, rules, alerts", r.Method, r.URL.Path, Prefix)})
	})
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// request is what was asked.
type request struct {
	*parameters
	ctx  context.Context
	read *reading // of the series, for this question
	name string   // in the path
}

// querier reads the range of time that was asked for.
func (r *request) querier(start, end int64) *querier {
	return &querier{r.read, interval(start, end)}
}

// result is an answer; what it shows is valid until close.
type result struct {
	write    func(w *bufio.Writer) // the value of "data", JSON
	warnings annotations.Annotations
	query    string // the text that warnings are about
	close    func() // may be nil
}

func (h *Handler) serve(answer func(*request) (*result, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h.ask(w, r, answer)
		if err == nil || errors.Is(r.Context().Err(), context.Canceled) {
			return // in the second case the caller went away, and nobody reads an error
		}
		known := classify(err)
		if known.status == http.StatusInternalServerError {
			h.log.Error("cannot answer", "path", r.URL.Path, "error", err)
		}
		writeFailure(w, known)
	}
}

// ask waits for a place, and writes the answer; after an error nothing is written. The
// place is taken until then, because the answer is in memory so long.
func (h *Handler) ask(w http.ResponseWriter, r *http.Request, answer func(*request) (*result, error)) error {
	p, err := readParameters(w, r, h.now())
	if err != nil {
		return err
	}
	timeout := min(p.duration("timeout", h.timeout), h.timeout)
	if p.err != nil {
		return p.err
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	wait := time.NewTimer(placeTimeout)
	defer wait.Stop()
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	case <-wait.C:
		return &failure{http.StatusServiceUnavailable, "timeout", "too many questions at once: try again later"}
	case <-ctx.Done():
		return ctx.Err()
	}
	done, err := answer(&request{p, ctx, &reading{source: h.source, limit: h.bytes}, r.PathValue("name")})
	if err != nil {
		return err
	}
	writeResult(w, done)
	if done.close != nil {
		done.close()
	}
	return nil
}

// classify turns an error of the engine or of the source into an answer.
func classify(err error) *failure {
	var known *failure
	var timeout promql.ErrQueryTimeout
	var canceled promql.ErrQueryCanceled
	var tooMany promql.ErrTooManySamples
	var limit *LimitError
	var failed stored
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return &failure{http.StatusServiceUnavailable, "timeout", "no answer in time: ask for a shorter range, for fewer series or for a longer step"}
	case errors.As(err, &canceled), errors.Is(err, context.Canceled):
		return &failure{http.StatusServiceUnavailable, "canceled", err.Error()}
	case errors.As(err, &limit):
		return &failure{http.StatusUnprocessableEntity, "execution", "cannot answer: " + limit.Error()}
	case errors.As(err, &tooMany):
		return &failure{http.StatusUnprocessableEntity, "execution", fmt.Sprintf("cannot answer: it makes more than %d million samples on the way: ask for a shorter range, for fewer series or for a longer step", maxSamples/1_000_000)}
	case errors.As(err, &failed):
		if errors.Is(err, errors.ErrUnsupported) {
			return &failure{http.StatusServiceUnavailable, "unavailable", "cannot answer: " + failed.Error()}
		}
		return &failure{http.StatusInternalServerError, "internal", "cannot answer: " + failed.Error()}
	}
	return &failure{http.StatusUnprocessableEntity, "execution", err.Error()}
}

// query answers an expression at one time.
func (h *Handler) query(r *request) (*result, error) {
	at := r.time("time", r.now)
	options, err := h.options(r, 0)
	if err != nil {
		return nil, err
	}
	q, err := h.engine.NewInstantQuery(r.ctx, r.read, options, r.get("query"), at)
	return h.run(r, q, err)
}

// queryRange answers an expression at many times.
func (h *Handler) queryRange(r *request) (*result, error) {
	for _, name := range []string{"start", "end", "step"} {
		if r.get(name) == "" {
			return nil, badParameter(name, "", "it is needed")
		}
	}
	start, end, step := r.time("start", r.now), r.time("end", r.now), r.duration("step", 0)
	switch {
	case r.err != nil:
		return nil, r.err
	case end.Before(start):
		return nil, badParameter("end", r.get("end"), "it is before start")
	case step < time.Millisecond:
		return nil, badParameter("step", r.get("step"), "it must be 0.001 seconds or more")
	case (end.UnixMilli()-start.UnixMilli())/step.Milliseconds() > maxPoints:
		return nil, badParameter("step", r.get("step"), fmt.Sprintf("the range would have more than %d points per series: take a longer step", maxPoints))
	}
	options, err := h.options(r, end.UnixMilli()-start.UnixMilli())
	if err != nil {
		return nil, err
	}
	q, err := h.engine.NewRangeQuery(r.ctx, r.read, options, r.get("query"), start, end, step)
	return h.run(r, q, err)
}

// options reads what both kinds of questions share and checks the expression, which
// is to be evaluated over that many milliseconds.
func (h *Handler) options(r *request, over int64) (promql.QueryOpts, error) {
	text := r.get("query")
	wanted := r.duration("lookback_delta", 0)
	r.limit()
	if r.err != nil {
		return nil, r.err
	}
	expression, err := h.parse(text, over)
	if err != nil {
		return nil, err
	}
	if wanted == 0 {
		if wanted, err = r.read.lookback(r.ctx, expression); err != nil {
			return nil, err
		}
	}
	return promql.NewPrometheusQueryOpts(false, wanted), nil
}

// run executes q, which could not be made when err is not nil.
func (h *Handler) run(r *request, q promql.Query, err error) (*result, error) {
	if err != nil {
		return nil, &failure{http.StatusBadRequest, "bad_data", err.Error()}
	}
	answer := q.Exec(r.ctx)
	if answer.Err != nil {
		q.Close()
		return nil, answer.Err
	}
	value, cut := truncate(answer.Value, r.limit())
	done := &result{write: func(w *bufio.Writer) { writeValue(w, value) }, warnings: answer.Warnings, query: r.get("query"), close: q.Close}
	if cut {
		done.warnings = done.warnings.Add(errTruncated)
	}
	return done, nil
}

var errTruncated = errors.New("results truncated due to limit")

// truncate cuts an answer down to limit series; 0 is no limit.
func truncate(value parser.Value, limit int) (parser.Value, bool) {
	if limit > 0 {
		switch value := value.(type) {
		case promql.Vector:
			if len(value) > limit {
				return value[:limit], true
			}
		case promql.Matrix:
			if len(value) > limit {
				return value[:limit], true
			}
		}
	}
	return value, false
}

// series answers with the labels of the series that match one of several selectors.
func (h *Handler) series(r *request) (*result, error) {
	selectors, start, end, limit, err := h.selectors(r)
	if err != nil {
		return nil, err
	}
	if len(selectors) == 0 {
		return nil, badParameter("match[]", "", "it is needed")
	}
	q, seen := r.querier(start, end), make(set)
	var list []labels.Labels
	var buffer []byte
	cut := false
	for _, matchers := range selectors {
		err := q.each(r.ctx, matchers, func(l labels.Labels) error {
			buffer = l.Bytes(buffer)
			if _, ok := seen[string(buffer)]; ok {
				return nil
			}
			if limit > 0 && len(list) == limit {
				return errTruncated
			}
			list = append(list, l)
			return seen.add(r.read, string(buffer))
		})
		if errors.Is(err, errTruncated) {
			cut = true
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return listing(func(w *bufio.Writer) { writeList(w, list, writeLabels) }, cut), nil
}

// labels answers with the names of labels.
func (h *Handler) labels(r *request) (*result, error) {
	return h.names(r, func(q storage.Querier, matchers []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelNames(r.ctx, nil, matchers...)
	})
}

// labelValues answers with the values of one label.
func (h *Handler) labelValues(r *request) (*result, error) {
	name := labelName(r.name)
	if name == "" {
		return nil, badParameter("the name of the label", r.name, "want text in UTF-8")
	}
	return h.names(r, func(q storage.Querier, matchers []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelValues(r.ctx, name, nil, matchers...)
	})
}

// names answers with the union of what ask says of several selectors.
func (h *Handler) names(r *request, ask func(storage.Querier, []*labels.Matcher) ([]string, annotations.Annotations, error)) (*result, error) {
	selectors, start, end, limit, err := h.selectors(r)
	if err != nil {
		return nil, err
	}
	if len(selectors) == 0 {
		selectors = [][]*labels.Matcher{nil}
	}
	q, union := r.querier(start, end), make(set)
	for _, matchers := range selectors {
		list, _, err := ask(q, matchers)
		if err != nil {
			return nil, err
		}
		for _, text := range list {
			if err := union.add(r.read, text); err != nil {
				return nil, err
			}
		}
	}
	list := union.sorted()
	cut := limit > 0 && len(list) > limit
	if cut {
		list = list[:limit]
	}
	return listing(func(w *bufio.Writer) { writeList(w, list, writeString) }, cut), nil
}

func listing(write func(*bufio.Writer), cut bool) *result {
	r := &result{write: write}
	if cut {
		r.warnings = r.warnings.Add(errTruncated)
	}
	return r
}

// selectors reads match[], start, end and limit.
func (h *Handler) selectors(r *request) (selectors [][]*labels.Matcher, start, end int64, limit int, err error) {
	start, end = r.time("start", time.UnixMilli(0)).UnixMilli(), r.time("end", time.Unix(latest, 0)).UnixMilli()
	limit = r.limit()
	if r.err != nil {
		return nil, 0, 0, 0, r.err
	}
	for _, text := range r.values["match[]"] {
		matchers, err := h.selector(text)
		if err != nil {
			return nil, 0, 0, 0, err
		}
		selectors = append(selectors, matchers)
	}
	return selectors, start, end, limit, nil
}
