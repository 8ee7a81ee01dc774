package drivers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// figures are what /metrics says about a queue.
type figures struct {
	queue                                               *queue
	records, bytes, limit, age, failing, sends, retries *prometheus.Desc
}

func newFigures(q *queue) *figures {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, nil, prometheus.Labels{"driver": q.cfg.Name})
	}
	return &figures{
		queue:   q,
		records: desc("weir_remote_queue_records", "Records of points that wait for a remote store."),
		bytes:   desc("weir_remote_queue_bytes", "What the records take on disk."),
		limit:   desc("weir_remote_queue_limit_bytes", "What the records may take."),
		age:     desc("weir_remote_queue_age_seconds", "How long the oldest record has waited."),
		failing: desc("weir_remote_failing", "1 when points could not be delivered to a remote store at the last attempt."),
		sends:   desc("weir_remote_sends_total", "Requests to store points."),
		retries: desc("weir_remote_failures_total", "Requests to store points that failed and are made again."),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(f, ch) }

// Collect implements prometheus.Collector.
func (f *figures) Collect(ch chan<- prometheus.Metric) {
	stats := f.queue.stats()
	age, failing := 0.0, 0.0
	if !stats.Oldest.IsZero() {
		age = time.Since(stats.Oldest).Seconds()
	}
	if f.queue.lastFailure() != nil {
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
	ch <- prometheus.MustNewConstMetric(f.sends, prometheus.CounterValue, float64(f.queue.sends.Load()))
	ch <- prometheus.MustNewConstMetric(f.retries, prometheus.CounterValue, float64(f.queue.failures.Load()))
}
