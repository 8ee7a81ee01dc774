package telemetry

import (
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry knows every ledger and metric of one process.
type Registry struct {
	prometheus *prometheus.Registry

	mu        sync.Mutex
	ledgers   []*Ledger
	overflows []*Overflow
}

// NewRegistry returns a Registry that holds the metrics of the process and the Go runtime.
func NewRegistry() *Registry {
	r := &Registry{prometheus: prometheus.NewRegistry()}
	r.prometheus.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), accounts{r}, overflows{r})
	return r
}

// Ledger returns the ledger of component, making it at the first call.
func (r *Registry) Ledger(component, unit string) *Ledger {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.ledgers {
		if l.component == component {
			return l
		}
	}
	l := NewLedger(component, unit)
	r.ledgers = append(r.ledgers, l)
	return l
}

// Gauge exports a figure that is read when somebody asks. name follows the
// rules of Prometheus, such as "weir_store_series"; it may be registered once.
func (r *Registry) Gauge(name, help string, read func() float64) {
	r.prometheus.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// Counter exports a total that only grows, read when somebody asks; the name
// ends in "_total".
func (r *Registry) Counter(name, help string, read func() float64) {
	r.prometheus.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, read))
}

// Register exports what c collects: figures with labels, of things that come and go.
func (r *Registry) Register(c prometheus.Collector) { r.prometheus.MustRegister(c) }

// Accounts returns every ledger as of now, sorted by component.
func (r *Registry) Accounts() []Account {
	r.mu.Lock()
	ledgers := slices.Clone(r.ledgers)
	r.mu.Unlock()
	all := make([]Account, 0, len(ledgers))
	for _, l := range ledgers {
		all = append(all, l.Snapshot())
	}
	slices.SortFunc(all, func(a, b Account) int { return strings.Compare(a.Component, b.Component) })
	return all
}

// Handler serves /metrics.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prometheus, promhttp.HandlerOpts{})
}

// accounts exports the ledgers of a Registry.
type accounts struct{ registry *Registry }

var (
	receivedDesc  = prometheus.NewDesc("weir_received_total", "Items a component took in.", []string{"component", "unit"}, nil)
	passedDesc    = prometheus.NewDesc("weir_passed_total", "Items a component handed on.", []string{"component", "unit"}, nil)
	bufferedDesc  = prometheus.NewDesc("weir_buffered", "Items a component holds.", []string{"component", "unit"}, nil)
	discardedDesc = prometheus.NewDesc("weir_discarded_total", "Items a component dropped, by reason.", []string{"component", "unit", "reason"}, nil)
)

func (accounts) Describe(ch chan<- *prometheus.Desc) {
	ch <- receivedDesc
	ch <- passedDesc
	ch <- bufferedDesc
	ch <- discardedDesc
}

func (a accounts) Collect(ch chan<- prometheus.Metric) {
	for _, account := range a.registry.Accounts() {
		ch <- prometheus.MustNewConstMetric(receivedDesc, prometheus.CounterValue, float64(account.Received), account.Component, account.Unit)
		ch <- prometheus.MustNewConstMetric(passedDesc, prometheus.CounterValue, float64(account.Passed), account.Component, account.Unit)
		ch <- prometheus.MustNewConstMetric(bufferedDesc, prometheus.GaugeValue, float64(account.Buffered), account.Component, account.Unit)
		for reason, n := range account.Discarded {
			ch <- prometheus.MustNewConstMetric(discardedDesc, prometheus.CounterValue, float64(n), account.Component, account.Unit, reason)
		}
	}
}
