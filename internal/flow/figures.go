package flow

import "github.com/prometheus/client_golang/prometheus"

var (
	lostDesc      = prometheus.NewDesc("weir_flow_lost_total", "What exporters sent and never arrived, by their sequence numbers: records of NetFlow v5 and IPFIX, datagrams of NetFlow v9 and sFlow.", nil, nil)
	refusedDesc   = prometheus.NewDesc("weir_flow_templates_refused_total", "Templates that were not kept: malformed, or too many of one exporter.", nil, nil)
	templatesDesc = prometheus.NewDesc("weir_flow_templates", "Templates known.", nil, nil)
	exportersDesc = prometheus.NewDesc("weir_flow_exporters", "Exporters and domains known.", nil, nil)
	followedDesc  = prometheus.NewDesc("weir_flow_followed", "Flows that are followed, to count connections.", nil, nil)
	prunedDesc    = prometheus.NewDesc("weir_flow_pruned_total", "Flows that were ended because there were too many.", nil, nil)
)

// Describe implements prometheus.Collector.
func (l *Listener) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lostDesc, refusedDesc, templatesDesc, exportersDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (l *Listener) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	templates := 0
	for _, e := range l.decoder.exporters {
		templates += len(e.templates)
	}
	ch <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, float64(l.decoder.Lost))
	ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(l.decoder.Refused))
	ch <- prometheus.MustNewConstMetric(templatesDesc, prometheus.GaugeValue, float64(templates))
	ch <- prometheus.MustNewConstMetric(exportersDesc, prometheus.GaugeValue, float64(len(l.decoder.exporters)))
}

// Describe implements prometheus.Collector.
func (m *Meter) Describe(ch chan<- *prometheus.Desc) {
	ch <- followedDesc
	ch <- prunedDesc
}

// Collect implements prometheus.Collector.
func (m *Meter) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(followedDesc, prometheus.GaugeValue, float64(m.table.Len()))
	ch <- prometheus.MustNewConstMetric(prunedDesc, prometheus.CounterValue, float64(m.table.Pruned))
}
