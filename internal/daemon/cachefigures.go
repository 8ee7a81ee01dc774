package daemon

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/internal/broker"
)

// cacheFigures exports how the broker caches do: those of the daemon, called
// "broker" and, with installations, "broker@NAME", and those of the scripts, called
// as their connectors.
type cacheFigures struct{ events *events }

var cacheDescriptions = struct{ misses, unknown, refused, objects *prometheus.Desc }{
	misses: prometheus.NewDesc("weir_cache_misses_total",
		"Questions of scripts for names and objects that the broker cache does not know. When they grow, restart or reload the engines of the pollers, so that they send their configuration.", []string{"cache"}, nil),
	unknown: prometheus.NewDesc("weir_cache_unknown_total",
		"Statuses of hosts and services that the broker cache does not know. When they grow, restart or reload the engines of the pollers.", []string{"cache"}, nil),
	refused: prometheus.NewDesc("weir_cache_refused_total", "Events that the broker cache could not keep: too large or damaged.", []string{"cache"}, nil),
	objects: prometheus.NewDesc("weir_cache_objects", "Objects in the broker cache.", []string{"cache", "kind"}, nil),
}

// Describe implements prometheus.Collector.
func (cacheFigures) Describe(ch chan<- *prometheus.Desc) {
	d := &cacheDescriptions
	for _, one := range []*prometheus.Desc{d.misses, d.unknown, d.refused, d.objects} {
		ch <- one
	}
}

// Collect implements prometheus.Collector.
func (f cacheFigures) Collect(ch chan<- prometheus.Metric) {
	for name, i := range f.events.installations {
		f.send(ch, strings.TrimSuffix("broker@"+name, "@"), i.stats())
	}
	for name, m := range f.events.connectors.members() {
		f.send(ch, name, m.connector.CacheStats())
	}
}

func (f cacheFigures) send(ch chan<- prometheus.Metric, name string, s broker.Stats) {
	d := &cacheDescriptions
	count := func(desc *prometheus.Desc, n int64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), name)
	}
	count(d.misses, s.Misses)
	count(d.unknown, s.Unknown)
	count(d.refused, s.Refused)
	for kind, n := range map[string]int{"host": s.Hosts, "service": s.Services, "poller": s.Instances, "index": s.IndexMappings, "metric": s.MetricMappings} {
		ch <- prometheus.MustNewConstMetric(d.objects, prometheus.GaugeValue, float64(n), name, kind)
	}
}
