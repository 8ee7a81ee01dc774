package config

import (
	"math"
	"slices"
	"time"

	"github.com/weirhq/weir/internal/statsd/prometheus"
)

// timerTypes are what a timer can be to Prometheus.
var timerTypes = []string{"summary", "histogram"}

func defaultScrape() prometheus.Config {
	return prometheus.Config{Timers: "summary", Buckets: prometheus.DefaultBuckets()}
}

// outputKinds are the backends that StatsD does not have, one line for each.
func outputKinds(b *Backend) []namedCase {
	return append([]namedCase{
		{name: "prometheus", doc: "Shows what was counted at `/statsd/metrics` of `http.listen`, for Prometheus to scrape. See [outputs](statsd.md#prometheus).", section: scrapeSection(&b.Prometheus)},
	}, spooledKinds(b)...)
}

func scrapeSection(p *prometheus.Config) section {
	const forever = 36500 * 24 * time.Hour
	return section{options: []option{
		{name: "timers", value: choice{&p.Timers, timerTypes}, doc: "What timers are shown as: quantiles of the last flush, which are `statsd.percentiles`, or buckets."},
		{name: "buckets", value: list[float64]{to: &p.Buckets, what: "numbers", some: true, entry: func(f *float64) value {
			return number{f, "a finite number", func(f float64) (string, string) {
				if math.IsInf(f, 0) || math.IsNaN(f) {
					return "it must be finite; there is always a bucket for the rest", ""
				}
				return "", ""
			}}
		}}, doc: "Upper bounds of histograms, ascending, in the unit of the timers."},
		{name: "ttl", value: duration{to: &p.TTL, least: time.Second, max: forever, off: "for ever"}, example: "1h",
			doc: "How long a series is shown after its last value. Gauges are shown as long as StatsD holds them: see `delete_gauges`."},
		{name: "rules", value: list[prometheus.Rule]{to: &p.Rules, what: "rules", entry: func(r *prometheus.Rule) value {
			return section{options: []option{
				{name: "match", value: text{to: &r.Match, check: filled}, required: true, example: `"api.*.*.time"`,
					doc: "A name without tags; `*` stands for one or more characters that are not `.`."},
				{name: "type", value: choice{&r.Type, []string{"counter", "gauge", "timer", "set", ""}}, example: "timer", doc: "Which metrics it is about; `\"\"` is all."},
				{name: "drop", value: flag{&r.Drop}, doc: "Leave them out, counted."},
				{name: "name", value: text{to: &r.Name}, example: "api_seconds", doc: "The new name; `$1` is what the first `*` stands for, `$2` the second. `\"\"` keeps the name."},
				{name: "labels", value: texts{to: &r.Labels}, example: "{route: $1, code: $2}", doc: "Labels besides the metric's own tags, whose place they take when the names are the same."},
				{name: "timers", value: choice{&r.Timers, []string{"summary", "histogram", ""}}, example: "histogram", doc: "What timers are shown as; `\"\"` is as above."},
				{name: "scale", value: number{&r.Scale, "a number other than 0", func(f float64) (string, string) {
					if f == 0 || math.IsInf(f, 0) || math.IsNaN(f) {
						return "it must be finite and not 0", "1"
					}
					return "", ""
				}}, example: "0.001", doc: "What values are multiplied with; `0.001` makes seconds of milliseconds."},
				{name: "ttl", value: duration{to: &r.TTL, least: time.Second, max: forever, off: "as above"}, example: "5m", doc: "How long a series is shown after its last value."},
			}}
		}, fresh: prometheus.Rule{Scale: 1}}, example: "[{match: \"api.*.time\", name: api_seconds, labels: {route: $1}, scale: 0.001}]",
			doc: "What becomes of names, of which Prometheus wants few and with labels. The first rule that matches counts. Without one a metric keeps its name, with `_` for what Prometheus does not take; tags become labels."},
	}}
}

// checkOutputs finds what is wrong together in the backends that StatsD does not have.
func (c *Config) checkOutputs(d *decoder) {
	for i := range c.StatsD.Backends {
		b := &c.StatsD.Backends[i]
		path := index("statsd.backends", i) + "." + b.Kind
		c.checkSpooled(d, i, path)
		if b.Kind != "prometheus" {
			continue
		}
		if !slices.IsSorted(b.Prometheus.Buckets) || len(slices.Compact(slices.Clone(b.Prometheus.Buckets))) < len(b.Prometheus.Buckets) {
			d.complain(path+".buckets", "cannot use "+path+".buckets: they must be in ascending order")
		}
		for k, rule := range b.Prometheus.Rules {
			if err := rule.Check(); err != nil {
				d.complain(index(path+".rules", k), err.Error())
			}
		}
	}
}
