package delivery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/internal/spool"
)

// figures are what /metrics says about a queue.
type figures struct {
	queue interface {
		stats() (waiting spool.Stats, sends, failures int64)
		Failure() error
	}
	records, bytes, limit, age, failing, sends, retries *prometheus.Desc
}

func newFigures[T any](q *Queue[T]) *figures {
	c := &q.cfg
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(c.Figures+"_"+name, help, nil, prometheus.Labels{c.Label: c.Name})
	}
	return &figures{
		queue:   q,
		records: desc("queue_records", "Records of "+c.Items+" that wait for "+c.Target+"."),
		bytes:   desc("queue_bytes", "What the records take on disk."),
		limit:   desc("queue_limit_bytes", "What the records may take."),
		age:     desc("queue_age_seconds", "How long the oldest record has waited."),
		failing: desc("failing", "1 when "+c.Items+" could not be delivered to "+c.Target+" at the last attempt."),
		sends:   desc("sends_total", "Requests to store "+c.Items+"."),
		retries: desc("failures_total", "Requests to store "+c.Items+" that failed and are made again."),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(f, ch) }

// Collect implements prometheus.Collector.
func (f *figures) Collect(ch chan<- prometheus.Metric) {
	stats, sends, failures := f.queue.stats()
	age, failing := 0.0, 0.0
	if !stats.Oldest.IsZero() {
		age = time.Since(stats.Oldest).Seconds()
	}
	if f.queue.Failure() != nil {
		failing = 1
	}
	gauge := func(desc *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v)
	}
	gauge(f.records, float64(stats.Records))
	gauge(f.bytes, float64(stats.Bytes))
	gauge(f.limit, float64(stats.MaxBytes))
	gauge(f.age, age)
	gauge(f.failing, failing)
	ch <- prometheus.MustNewConstMetric(f.sends, prometheus.CounterValue, float64(sends))
	ch <- prometheus.MustNewConstMetric(f.retries, prometheus.CounterValue, float64(failures))
}
