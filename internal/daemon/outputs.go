package daemon

import (
	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/statsd/prometheus"
	"github.com/weirhq/weir/internal/telemetry"
)

// scrapePath is where Prometheus finds StatsD's metrics.
const scrapePath = "/statsd/metrics"

// scraped makes the backend that Prometheus scrapes.
func scraped(cfg *config.Config, i int, ledger *telemetry.Ledger) backend.Backend {
	c := cfg.StatsD.Backends[i].Prometheus
	c.Ledger = ledger
	b, err := prometheus.New(c)
	if err != nil {
		panic("BUG: the configuration lets a rule through: " + err.Error())
	}
	return b
}

// endpoints are what backends answer over HTTP.
func (in *intake) endpoints() (all []api.Endpoint) {
	for _, b := range in.backends {
		if page, ok := b.(*prometheus.Backend); ok {
			all = append(all, api.Endpoint{Pattern: "GET " + scrapePath, Handler: page})
		}
	}
	return all
}
