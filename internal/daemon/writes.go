package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/lineprotocol"
	"github.com/weirhq/weir/internal/plaintext"
	"github.com/weirhq/weir/internal/remotewrite"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// declared is the schema that is declared under a name, for those who write to it; nil when there is none.
func (s *series) declared(name string) *timeseries.Schema {
	if of := s.definitions.Lookup(name); of != nil && !of.Virtual() {
		return of.Schema
	}
	return nil
}

// writeEndpoints are the paths at which programs made for InfluxDB and Prometheus write to s.
func writeEndpoints(s *series, version string, reg *telemetry.Registry, log *slog.Logger) []api.Endpoint {
	influx := lineprotocol.New(s.driver(), s.declared, version, reg, log)
	prometheus := remotewrite.New(s.driver(), s.declared, reg, log)
	const password = "p" // of InfluxDB 1
	return []api.Endpoint{
		{Pattern: "POST /write", Handler: influx.V1(), Password: password},
		{Pattern: "POST /api/v2/write", Handler: influx.V2()},
		{Pattern: "GET /ping", Handler: influx.Ping(), Open: true},
		{Pattern: "GET /query", Handler: influx.Query(), Password: password},
		{Pattern: "POST /query", Handler: influx.Query(), Password: password},
		{Pattern: "POST /api/v1/write", Handler: prometheus},
		{Pattern: "POST /prometheus/api/v1/write", Handler: prometheus},
	}
}

// carbonPatience is how long the listener for Graphite's lines may take to stop.
const carbonPatience = 2 * time.Second

// carbon is what takes in Graphite's lines.
type carbon struct {
	config   *config.Config
	listener *plaintext.Listener
}

func newCarbon(cfg *config.Config, s *series, reg *telemetry.Registry, log *slog.Logger) *carbon {
	var addresses []plaintext.Listen
	for _, g := range cfg.Graphite {
		addresses = append(addresses, plaintext.Listen{Network: g.Listen.Network, Address: g.Listen.Address})
	}
	return &carbon{cfg, plaintext.New(addresses, s.driver(), s.declared, reg, log)}
}

func (c *carbon) start(ctx context.Context) error {
	err := c.listener.Start(ctx)
	var unbound *plaintext.ListenError
	if errors.As(err, &unbound) {
		at := c.config.Graphite[unbound.Index].Listen
		return c.config.Fail(fmt.Sprintf("sources.graphite[%d].listen", unbound.Index), listenError("Graphite's lines over "+at.Network, at.Address, unbound.Err))
	}
	return err
}

// where is where lines arrive, as URLs.
func (c *carbon) where() []string {
	var urls []string
	for i, address := range c.listener.Addresses() {
		urls = append(urls, c.config.Graphite[i].Listen.Network+"://"+address.String())
	}
	return urls
}

func (c *carbon) source() api.Source {
	return api.Source{Name: "graphite", Listen: c.where(), LastInput: c.listener.LastInput()}
}
