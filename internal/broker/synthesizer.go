package broker

import (
	"log/slog"
	"math"

	"github.com/weirhq/weir/internal/event"
)

// Seconds of the units and defaults a central broker uses.
const (
	intervalLength = 60                 // of one unit of check_interval
	retention      = 180 * 24 * 60 * 60 // announced as rrd_len
)

// Synthesizer makes the storage events that pollers do not send from the statuses
// of services (4.9). Indexes (a service each) and metrics (a label of an index
// each) get numbers that are durable before the events that carry them are
// returned, stay the same after a restart, and are never given twice.
//
// A Synthesizer belongs to one goroutine at a time, with the Cache it reads.
type Synthesizer struct {
	cache   *Cache
	numbers *numbers
	metrics []Metric // room for one status
	fresh   []*bool  // marks of the mappings announced by the last Append
	maker   maker
}

// OpenSynthesizer reads the numbers given so far from path, which is made if it
// does not exist. Check intervals come from cache where statuses do not carry
// them.
func OpenSynthesizer(path string, cache *Cache, log *slog.Logger) (*Synthesizer, error) {
	n, err := openNumbers(path, log)
	if err != nil {
		return nil, err
	}
	return &Synthesizer{cache: cache, numbers: n}, nil
}

// Append appends events to dst, each service status of a check followed by its
// storage events in the generation of the status: IndexMapping at the first sight
// of the index since the start, Status, and for each label of the performance
// data MetricMapping at first sight and Metric. The cache must have seen events
// already. After an error, which is one of writing new numbers, nothing was
// appended and the same events may be tried again.
func (s *Synthesizer) Append(dst, events []event.Event) ([]event.Event, error) {
	s.fresh, s.maker.room = s.fresh[:0], nil // payloads handed out are not written again
	first := len(dst)
	for _, e := range events {
		dst = append(dst, e)
		switch e.Type {
		case legacyServiceStatus, pbServiceStatus:
			dst = s.status(dst, &e)
		}
	}
	if err := s.numbers.flush(); err != nil {
		s.Undo()
		return dst[:first], err
	}
	return dst, nil
}

// Undo takes back that mappings were announced: for when the events of the last
// Append could not be handed on.
func (s *Synthesizer) Undo() {
	for _, done := range s.fresh {
		*done = false
	}
	s.fresh = s.fresh[:0]
}

// Close closes the file of numbers.
func (s *Synthesizer) Close() error { return s.numbers.close() }

// statusFields are the members of a status that storage events come from.
type statusFields struct{ checked, lastCheck, lastHardState, state, interval, perfdata *event.Field }

func fieldsOf(t event.Type) statusFields {
	d := event.Lookup(t)
	return statusFields{d.Field("checked"), d.Field("last_check"), d.Field("last_hard_state"), d.Field("state"), d.Field("check_interval"), d.Field("perfdata")}
}

var (
	legacyServiceStatusFields = fieldsOf(legacyServiceStatus)
	pbServiceStatusFields     = fieldsOf(pbServiceStatus)
	legacyHostStatusFields    = fieldsOf(legacyHostStatus)
	pbHostStatusFields        = fieldsOf(pbHostStatus)
)

func (s *Synthesizer) status(dst []event.Event, e *event.Event) []event.Event {
	f := &pbServiceStatusFields
	if e.Type == legacyServiceStatus {
		f = &legacyServiceStatusFields
	}
	if checked, _ := e.Int(f.checked); checked == 0 {
		return dst
	}
	of := serviceOf(e)
	if of.host == 0 || of.service == 0 {
		return dst
	}
	t, _ := e.Int(f.lastCheck)
	state, _ := e.Int(f.lastHardState)
	perfdata, _ := e.Text(f.perfdata)
	interval := s.interval(of, e, f)
	index := s.numbers.index(of)
	m := &s.maker
	m.legacy, m.source, m.destination = e.Type == legacyServiceStatus, e.Source, e.Destination
	m.of, m.time, m.interval = of, t, interval
	if s.announce(&index.announced) {
		dst = append(dst, m.indexMapping(index.id))
	}
	dst = append(dst, m.status(index.id, state))
	s.metrics = ParsePerfdata(s.metrics[:0], perfdata)
	for i := range s.metrics {
		metric := s.numbers.metric(of, index, s.metrics[i].Label)
		if s.announce(&metric.announced) {
			dst = append(dst, m.metricMapping(index.id, metric.id))
		}
		dst = append(dst, m.metric(metric.id, &s.metrics[i]))
	}
	return dst
}

// announce reports whether a mapping is still to be sent, and notes that it is.
func (s *Synthesizer) announce(done *bool) bool {
	if *done {
		return false
	}
	*done = true
	s.fresh = append(s.fresh, done)
	return true
}

// interval returns the seconds between checks of a service, 0 when not known.
func (s *Synthesizer) interval(of pair, e *event.Event, f *statusFields) int64 {
	minutes := 0.0
	if f.interval != nil {
		minutes, _ = e.Float(f.interval)
	} else if o := s.cache.services[of]; o != nil {
		minutes = o.checkInterval()
	}
	seconds := math.Round(minutes * intervalLength)
	if !(seconds > 0) || seconds > math.MaxInt32 {
		return 0
	}
	return int64(seconds)
}

var (
	adaptiveServiceInterval = event.Lookup(pbAdaptiveService).Field("check_interval")
	pbServiceInterval       = event.Lookup(pbService).Field("check_interval")
	legacyServiceInterval   = event.Lookup(legacyService).Field("check_interval")
)

// checkInterval returns the check interval of a service in minutes.
func (o *object) checkInterval() float64 {
	if o.more != nil {
		e := event.Event{Type: pbAdaptiveService, Payload: o.more.settings}
		if n, ok := e.Int(adaptiveServiceInterval); ok {
			return float64(n)
		}
	}
	e := event.Event{Type: o.configType, Payload: o.config}
	if o.configType == legacyService {
		x, _ := e.Float(legacyServiceInterval)
		return x
	}
	n, _ := e.Int(pbServiceInterval)
	return float64(n)
}
