package daemon

import (
	"path/filepath"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers"
	"github.com/weirhq/weir/internal/drivers/clickhouse"
	"github.com/weirhq/weir/internal/drivers/influxdb"
	"github.com/weirhq/weir/internal/drivers/prometheus"
	"github.com/weirhq/weir/timeseries"
)

// makeRemote returns a maker of the drivers of one kind of remote store.
func makeRemote(remote func(*config.Remote) drivers.Remote) func(config.Driver, surroundings) (timeseries.Driver, []part) {
	return func(entry config.Driver, in surroundings) (timeseries.Driver, []part) {
		d := drivers.New(drivers.Config{
			Name: entry.Name, Dir: filepath.Join(in.config.Data, "remotes", entry.Name), MaxBytes: entry.Remote.MaxQueue,
		}, remote(&entry.Remote), in.registry, in.log)
		return d, []part{{"queue of " + entry.Name, d.Start, d.Stop, delivery.StopPatience}}
	}
}

func makeInfluxDB(r *config.Remote) drivers.Remote   { return influxdb.New(r.InfluxDB) }
func makePrometheus(r *config.Remote) drivers.Remote { return prometheus.New(r.Prometheus) }
func makeClickHouse(r *config.Remote) drivers.Remote { return clickhouse.New(r.ClickHouse) }
