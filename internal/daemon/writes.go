package daemon

import (
	"log/slog"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/lineprotocol"
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
