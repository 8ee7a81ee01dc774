package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/klauspost/compress/s2"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/internal/writes"
	"github.com/weirhq/weir/timeseries"
)

// Bounds of one request. Prometheus sends some 100 KB.
const (
	maxBody     = 8 << 20
	maxMessage  = 32 << 20 // the body without its compression
	maxKept     = 4 << 20  // bytes of memory that are kept for the next request
	maxProblems = 10       // that an answer quotes
)

// Handler takes in remote write, versions 1 and 2. Its ledger "writes.prometheus"
// counts points: a sample is one, and so are a native histogram and what is lost where a
// message is damaged. It may be called from any goroutine.
type Handler struct {
	intake     *writes.Intake
	schemas    *writes.Schemas
	dictionary *writes.Dictionary[series]
	gate       *writes.Gate
	sessions   *writes.Spare[session]

	badMessage, badSeries, stale, nan, infinite, histogram *telemetry.Discard
}

// New returns a Handler that writes to driver.
func New(driver timeseries.Driver, known writes.Known, reg *telemetry.Registry, log *slog.Logger) *Handler {
	h := &Handler{
		intake: writes.NewIntake("prometheus", driver, reg, log), schemas: writes.NewSchemas(model, known),
		dictionary: writes.NewDictionary[series](), gate: writes.NewGate(), sessions: writes.NewSpare[session](),
	}
	h.badSeries, h.stale, h.nan = h.intake.Reason("bad_series"), h.intake.Reason("stale"), h.intake.Reason("nan")
	h.badMessage, h.infinite, h.histogram = h.intake.Reason("bad_message"), h.intake.Reason("infinite"), h.intake.Reason("native_histogram")
	return h
}

// session takes in one request. It is used by one goroutine, and then by the next one.
type session struct {
	handler *Handler
	body    bytes.Buffer
	message []byte
	symbols [][]byte // of version 2
	series  timeSeries
	scratch []byte // labels of version 2
	batch   writes.Batch

	accepted int // samples that are stored, or need not be
	problems []string
	dropped  int // points
}

// version2 reports whether a request is of version 2 of the protocol; an error says why it is of none.
func version2(r *http.Request) (bool, error) {
	kind := r.Header.Get("Content-Type")
	media, parameters, err := mime.ParseMediaType(kind)
	if err != nil || media != "application/x-protobuf" {
		return false, fmt.Errorf("cannot read a body with Content-Type %.100q: send application/x-protobuf", kind)
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "snappy") {
		return false, fmt.Errorf("cannot read a body with Content-Encoding %.100q: send snappy", encoding)
	}
	switch parameters["proto"] {
	case "", "prometheus.WriteRequest":
		return false, nil
	case "io.prometheus.write.v2.Request":
		return true, nil
	}
	return false, fmt.Errorf("cannot read a body with Content-Type %.100q: send prometheus.WriteRequest or io.prometheus.write.v2.Request", kind)
}

// ServeHTTP implements http.Handler. It answers 204 when all samples are stored, 400
// when some never will be (the others are stored), 503 when they can be sent again later.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	second, err := version2(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
		return
	}
	later := func(message string) {
		w.Header().Set("Retry-After", writes.RetryAfter)
		http.Error(w, message, http.StatusServiceUnavailable)
	}
	leave, ok := h.gate.Enter()
	if !ok {
		later("too many clients write at once: try again later")
		return
	}
	defer leave()
	s := h.sessions.Take()
	if s == nil {
		s = &session{handler: h}
	}
	defer s.release()
	err = s.take(r.Context(), w, r, second)
	if second {
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(s.accepted))
		w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", "0")
		w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", "0")
	}
	var failure *writes.Failure
	switch {
	case errors.As(err, &failure):
		later(failure.Error())
	case errors.Is(err, writes.ErrTooLarge):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case err != nil:
		http.Error(w, "cannot take the request: "+err.Error(), http.StatusBadRequest)
	case s.dropped > 0:
		http.Error(w, fmt.Sprintf("%d points were dropped: %s", s.dropped, strings.Join(s.problems, "\n")), http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// release gives s to the next request.
func (s *session) release() {
	if s.body.Cap() > maxKept {
		s.body = bytes.Buffer{}
	}
	if cap(s.message) > maxKept {
		s.message = nil
	}
	s.body.Reset()
	clear(s.symbols)
	s.symbols, s.series.labels = s.symbols[:0], nil
	s.batch.Reset()
	s.accepted, s.dropped, s.problems = 0, 0, nil
	s.handler.sessions.Give(s)
}

// take reads a request and stores it. An error is why not all of it could be read or stored.
func (s *session) take(ctx context.Context, w http.ResponseWriter, r *http.Request, second bool) error {
	body, err := writes.OpenBody(w, r, "", maxBody) // snappy is of the whole, no stream
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := s.body.ReadFrom(body); err != nil {
		return err
	}
	defer s.handler.gate.Work()()
	size, err := s2.DecodedLen(s.body.Bytes())
	if err != nil {
		return errors.New("the body is not compressed with snappy")
	}
	if size > maxMessage {
		return writes.ErrTooLarge
	}
	if s.message, err = s2.Decode(s.message[:cap(s.message)], s.body.Bytes()); err != nil {
		return errors.New("the body is not compressed with snappy")
	}
	if second {
		err = s.request2(ctx)
	} else {
		err = s.request(ctx)
	}
	if err == errWire {
		s.handler.intake.Discard(s.handler.badMessage, 1)
		s.handler.intake.Warn("a request was dropped from where it is damaged", "from", r.RemoteAddr)
	}
	// What came before a damage is stored.
	if failed := s.append(ctx); failed != nil {
		return failed
	}
	return err
}

// request stores the series of a message of version 1.
func (s *session) request(ctx context.Context) error {
	for rest := s.message; len(rest) > 0; {
		f, after, err := next(rest)
		if err != nil {
			return err
		}
		rest = after
		if f.id != requestSeries {
			continue
		}
		data, err := f.bytes()
		if err != nil {
			return err
		}
		if err := s.series.parse(data); err != nil {
			return err
		}
		if err := s.store(ctx); err != nil {
			return err
		}
	}
	return nil
}

// request2 stores the series of a message of version 2, whose symbols come first wherever they stand.
func (s *session) request2(ctx context.Context) error {
	for rest := s.message; len(rest) > 0; {
		f, after, err := next(rest)
		if err != nil {
			return err
		}
		if rest = after; f.id == requestSymbols {
			symbol, err := f.bytes()
			if err != nil {
				return err
			}
			s.symbols = append(s.symbols, symbol)
		}
	}
	for rest := s.message; len(rest) > 0; {
		f, after, err := next(rest)
		if err != nil {
			return err
		}
		if rest = after; f.id != requestSeries2 {
			continue
		}
		data, err := f.bytes()
		if err != nil {
			return err
		}
		if err := s.series.parse2(data, s.symbols, s.scratch); err != nil {
			return err
		}
		s.scratch = s.series.labels
		if err := s.store(ctx); err != nil {
			return err
		}
	}
	return nil
}

// staleMarker is the NaN with which Prometheus says that a series has ended.
const staleMarker = 0x7ff0000000000002

// store adds the samples of the series to the batch.
func (s *session) store(ctx context.Context) error {
	h := s.handler
	if s.series.histograms > 0 {
		h.intake.Discard(h.histogram, s.series.histograms)
		h.intake.Warn("native histograms are dropped: series hold numbers; send classic ones", "histograms", s.series.histograms)
	}
	if len(s.series.samples) == 0 {
		return nil
	}
	of := h.dictionary.Find(s.series.labels)
	if of == nil {
		of = h.dictionary.Add(s.series.labels, newSeries(s.series.labels, s.series.kind, h.schemas))
	}
	if of.err != nil {
		h.intake.Discard(h.badSeries, len(s.series.samples))
		s.drop(len(s.series.samples), of.err)
		return nil
	}
	for _, one := range s.series.samples {
		switch {
		case math.Float64bits(one.value) == staleMarker:
			s.accepted++ // that nothing comes any more needs no point
			h.intake.Discard(h.stale, 1)
		case one.value != one.value:
			s.accepted++ // neither does a number that is none
			h.intake.Discard(h.nan, 1)
		case math.IsInf(one.value, 0):
			h.intake.Discard(h.infinite, 1)
			s.drop(1, fmt.Errorf("a sample of %s is infinite", of.schema.Name))
		default:
			s.batch.Add(of.schema, of.tags, seconds(one.time))[0] = one.value
		}
	}
	if s.batch.Full() {
		return s.append(ctx)
	}
	return nil
}

// seconds is a time in milliseconds, rounded down.
func seconds(milliseconds int64) int64 {
	at := milliseconds / 1000
	if milliseconds%1000 < 0 {
		at--
	}
	return at
}

// drop notes points that are lost, for the answer and the log.
func (s *session) drop(points int, err error) {
	s.dropped += points
	if len(s.problems) < maxProblems {
		s.problems = append(s.problems, err.Error())
		s.handler.intake.Warn("samples were dropped", "points", points, "error", err)
	}
}

// append stores the batch.
func (s *session) append(ctx context.Context) error {
	n := s.batch.Len()
	refused, err := s.handler.intake.Append(ctx, &s.batch)
	if err != nil {
		return err
	}
	if refused != nil {
		n -= refused.Refused
		s.dropped += refused.Refused
		s.problems = append(s.problems, refused.First.Error())
	}
	s.accepted += n
	return nil
}
