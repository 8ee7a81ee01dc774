package broker

import (
	"math"
	"unsafe"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Points makes the series that are kept of an installation, from the statuses of
// checks:
//
//	centreon:status  tags host, service; metric state: the last one counts
//	centreon:metric  tags host, service, metric; metrics value, warning_low,
//	                 warning_high, critical_low, critical_high, min, max
//
// The tag service of a host's own check is empty. A threshold that is missing or
// infinite is a metric without a value. Points belongs to one goroutine at a time,
// with the Cache it takes names from.
type Points struct {
	cache          *Cache
	status, metric *timeseries.Schema
	prefix         string // of hosts
	prefixed       map[string]string

	// Room for the points of one call.
	points  []timeseries.Point
	tags    []string
	values  []float64
	metrics []Metric

	statuses, items                *telemetry.Ledger
	unknown, unreadable, badStatus *telemetry.Discard
	noValue, badItem               *telemetry.Discard
}

// NewPoints returns a Points whose series have a step in seconds: the usual time
// between two checks. What it drops is in the ledgers centreon.statuses and
// centreon.perfdata of reg.
func NewPoints(cache *Cache, step int64, reg *telemetry.Registry) *Points {
	p := &Points{
		cache: cache,
		status: &timeseries.Schema{
			Name: "centreon:status", Step: step, Tags: []string{"host", "service"}, Metrics: []string{"state"},
			Type: timeseries.Gauge, Aggregation: timeseries.Last,
		},
		metric: &timeseries.Schema{
			Name: "centreon:metric", Step: step, Tags: []string{"host", "service", "metric"},
			Metrics: []string{"value", "warning_low", "warning_high", "critical_low", "critical_high", "min", "max"},
			Type:    timeseries.Gauge, Aggregation: timeseries.Mean,
		},
		statuses: reg.Ledger("centreon.statuses", "statuses"),
		items:    reg.Ledger("centreon.perfdata", "metrics"),
	}
	p.unknown = p.statuses.Reason("unknown_name")
	p.unreadable = p.statuses.Reason("unreadable")
	p.badStatus = p.statuses.Reason("invalid_point")
	p.noValue = p.items.Reason("no_value")
	p.badItem = p.items.Reason("invalid_point")
	return p
}

// Of returns the points of the statuses of checks among events. They are valid
// until the next call, and as long as the payloads of events are. The cache must
// have seen events already.
func (p *Points) Of(events []event.Event) []timeseries.Point {
	p.points, p.tags, p.values = p.points[:0], p.tags[:0], p.values[:0]
	for i := range events {
		switch e := &events[i]; e.Type {
		case pbServiceStatus:
			p.add(e, &pbServiceStatusFields)
		case legacyServiceStatus:
			p.add(e, &legacyServiceStatusFields)
		case pbHostStatus:
			p.add(e, &pbHostStatusFields)
		case legacyHostStatus:
			p.add(e, &legacyHostStatusFields)
		}
	}
	return p.points
}

func (p *Points) add(e *event.Event, f *statusFields) {
	checked, ok := e.Int(f.checked)
	if ok && checked == 0 {
		return // a change of state without a check
	}
	p.statuses.Received(1)
	state, stateOK := e.Int(f.state)
	perfdata, textOK := e.Text(f.perfdata)
	if !ok || !stateOK || !textOK {
		p.unreadable.Add(1)
		return
	}
	t, _ := e.Int(f.lastCheck)
	host, service, ok := p.names(e)
	if !ok {
		p.unknown.Add(1)
		return
	}
	if !p.point(p.status, t, []string{host, service}, []float64{float64(state)}) {
		p.badStatus.Add(1)
		return
	}
	p.statuses.Passed(1)
	p.metrics = ParsePerfdata(p.metrics[:0], perfdata)
	p.items.Received(len(p.metrics))
	for i := range p.metrics {
		m := &p.metrics[i]
		value := finite(m.Value)
		if math.IsNaN(value) {
			p.noValue.Add(1)
			continue
		}
		values := []float64{
			value, finite(m.Warning.Low), finite(m.Warning.High), finite(m.Critical.Low), finite(m.Critical.High), finite(m.Min), finite(m.Max),
		}
		if !p.point(p.metric, t, []string{host, service, borrow(m.Label)}, values) {
			p.badItem.Add(1)
			continue
		}
		p.items.Passed(1)
	}
}

// names returns the names of the host and service a status is about. Legacy
// statuses of services carry them, so those do not need the cache.
func (p *Points) names(e *event.Event) (host, service string, ok bool) {
	if e.Type == pbHostStatus || e.Type == legacyHostStatus {
		o := p.cache.hosts[hostOf(e)]
		if o == nil {
			return "", "", false
		}
		return p.host(borrow(o.name)), "", true
	}
	id := serviceOf(e)
	h, s := p.cache.hosts[id.host], p.cache.services[id]
	if h != nil && s != nil {
		return p.host(borrow(h.name)), borrow(s.name), true
	}
	if e.Type != legacyServiceStatus {
		return "", "", false
	}
	hostName, _ := e.Text(legacyStatusHost)
	description, _ := e.Text(legacyStatusService)
	return p.host(borrow(hostName)), borrow(description), len(hostName) > 0 && len(description) > 0
}

var (
	legacyStatusHost    = event.Lookup(legacyServiceStatus).Field("host_name")
	legacyStatusService = event.Lookup(legacyServiceStatus).Field("service_description")
)

// point adds a point and reports whether a driver may take it.
func (p *Points) point(s *timeseries.Schema, t int64, tags []string, values []float64) bool {
	n, m := len(p.tags), len(p.values)
	p.tags, p.values = append(p.tags, tags...), append(p.values, values...)
	x := timeseries.Point{Schema: s, Time: t, Tags: p.tags[n:len(p.tags):len(p.tags)], Values: p.values[m:len(p.values):len(p.values)]}
	if t == 0 || x.Validate() != nil {
		p.tags, p.values = p.tags[:n], p.values[:m]
		return false
	}
	p.points = append(p.points, x)
	return true
}

// finite returns x, or NaN where it is infinite.
func finite(x float64) float64 {
	if math.IsInf(x, 0) {
		return math.NaN()
	}
	return x
}

// borrow returns a string of bytes that do not change while it is used.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
