package bbdo

import "github.com/prometheus/client_golang/prometheus"

// Source is what a [Listener] and a [Dialer] tell about themselves.
type Source interface {
	Status() []ConnectionStatus
	Stats() Stats
}

// Collector exports figures of the sources there are when somebody asks. It is
// registered once for all of them.
func Collector(sources func() []Source) prometheus.Collector { return collector{sources} }

type collector struct{ sources func() []Source }

var (
	connectionsDesc = prometheus.NewDesc("weir_bbdo_connections", "Pollers connected.", []string{"source"}, nil)
	unackedDesc     = prometheus.NewDesc("weir_bbdo_unacknowledged", "Events taken from pollers and not acknowledged.", []string{"source"}, nil)
	stalledDesc     = prometheus.NewDesc("weir_bbdo_stalled", "Pollers from which nothing is read because events cannot be stored.", []string{"source"}, nil)
	openedDesc      = prometheus.NewDesc("weir_bbdo_connections_total", "Connections that got through the negotiation.", []string{"source"}, nil)
	failedDesc      = prometheus.NewDesc("weir_bbdo_failed_connections_total", "Connections that did not get through the negotiation.", []string{"source"}, nil)
	abortedDesc     = prometheus.NewDesc("weir_bbdo_aborted_connections_total", "Sessions that ended in an error.", []string{"source"}, nil)
	incompleteDesc  = prometheus.NewDesc("weir_bbdo_incomplete_events_total", "Events whose last packet did not come.", []string{"source"}, nil)
	skippedDesc     = prometheus.NewDesc("weir_bbdo_skipped_bytes_total", "Bytes that were no part of a packet.", []string{"source"}, nil)
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connectionsDesc, unackedDesc, stalledDesc, openedDesc, failedDesc, abortedDesc, incompleteDesc, skippedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, source := range c.sources() {
		stats, connections := source.Stats(), source.Status()
		unacked, stalled := int64(0), 0
		for _, s := range connections {
			unacked += s.Unacknowledged
			if s.Stalled != "" {
				stalled++
			}
		}
		gauge := func(d *prometheus.Desc, x float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, x, stats.Source)
		}
		total := func(d *prometheus.Desc, n int64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), stats.Source)
		}
		gauge(connectionsDesc, float64(len(connections)))
		gauge(unackedDesc, float64(unacked))
		gauge(stalledDesc, float64(stalled))
		total(openedDesc, stats.Connections)
		total(failedDesc, stats.Failed)
		total(abortedDesc, stats.Aborted)
		total(incompleteDesc, stats.Incomplete)
		total(skippedDesc, stats.SkippedBytes)
	}
}
