package stream

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metricsTimeout bounds how long a scrape waits for a server elsewhere.
const metricsTimeout = 2 * time.Second

// Collector exports how far the consumers are, when somebody asks. While the
// stream does not run or cannot answer there are no figures.
func (s *Stream) Collector() prometheus.Collector { return collector{s} }

type collector struct{ stream *Stream }

var (
	storedDesc  = prometheus.NewDesc("weir_stream_bytes", "Stored events.", nil, nil)
	limitDesc   = prometheus.NewDesc("weir_stream_limit_bytes", "Events that may be stored.", nil, nil)
	waitingDesc = prometheus.NewDesc("weir_queue_events", "Events not acknowledged.", []string{"queue"}, nil)
	takenDesc   = prometheus.NewDesc("weir_queue_taken_events", "Events taken and not acknowledged.", []string{"queue"}, nil)
	sizeDesc    = prometheus.NewDesc("weir_queue_bytes", "Events not acknowledged, estimated.", []string{"queue"}, nil)
	ageDesc     = prometheus.NewDesc("weir_queue_oldest_age_seconds", "Age of the oldest event not acknowledged, 0 without one.", []string{"queue"}, nil)
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{storedDesc, limitDesc, waitingDesc, takenDesc, sizeDesc, ageDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), metricsTimeout)
	defer cancel()
	stats, err := c.stream.Stats(ctx)
	if err != nil {
		return
	}
	queues, err := c.stream.Backlogs(ctx)
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, x float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, x, labels...)
	}
	gauge(storedDesc, float64(stats.Bytes))
	gauge(limitDesc, float64(stats.MaxBytes))
	for _, q := range queues {
		gauge(waitingDesc, float64(q.Events), q.Name)
		gauge(takenDesc, float64(q.Unacknowledged), q.Name)
		gauge(sizeDesc, float64(q.Bytes), q.Name)
		age := 0.0
		if !q.Oldest.IsZero() {
			age = max(0, c.stream.now().Sub(q.Oldest).Seconds())
		}
		gauge(ageDesc, age, q.Name)
	}
}
