package daemon

import (
	"log/slog"
	"path/filepath"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/statsd/bridge"
	"github.com/weirhq/weir/internal/statsd/influxdb"
	"github.com/weirhq/weir/internal/statsd/opentsdb"
	"github.com/weirhq/weir/internal/statsd/outbox"
	"github.com/weirhq/weir/internal/statsd/post"
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

// spooled makes a backend whose flushes wait on disk until they are delivered. stream is nil when there is none.
func spooled(cfg *config.Config, i int, name string, stream bridge.Stream, reg *telemetry.Registry, log *slog.Logger) backend.Backend {
	b := &cfg.StatsD.Backends[i]
	box := func(maxBytes int64, unit string) outbox.Config {
		return outbox.Config{
			Name: name, Dir: filepath.Join(cfg.Data, "backends", name), MaxBytes: maxBytes, Ledger: reg.Ledger("statsd."+name, unit), Registry: reg, Log: log,
		}
	}
	switch b.Kind {
	case "influxdb":
		return influxdb.New(b.InfluxDB, box(b.InfluxDB.MaxQueue, "metrics"))
	case "opentsdb":
		return opentsdb.New(b.OpenTSDB, box(b.OpenTSDB.MaxQueue, "points"))
	case "http":
		return post.New(b.HTTP, box(b.HTTP.MaxQueue, "documents"))
	default:
		return bridge.New(stream, box(b.Events.MaxQueue, "events"))
	}
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
