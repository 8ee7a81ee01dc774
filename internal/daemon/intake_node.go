package daemon

import (
	"log/slog"
	"path/filepath"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/statsd/node"
	"github.com/weirhq/weir/internal/telemetry"
)

// nodeModules are the backends that are modules for Node.
func nodeModules(backends []config.Backend) (names []string) {
	for _, b := range backends {
		if b.Module() {
			names = append(names, b.Kind)
		}
	}
	return names
}

// nodeBackends is a backend that runs modules in a process of their own.
func nodeBackends(cfg config.StatsD, name string, modules []string, scripts *script.Registry, reg *telemetry.Registry, log *slog.Logger) *node.Host {
	c := node.Config{
		Name: name, Backends: modules, Node: cfg.Node.Path, Option: "statsd.node.path", GaugeTTL: cfg.GaugeTTL, Budget: node.DefaultBudget(),
		Options: map[string]any{
			"percentThreshold": cfg.Percentiles, "prefixStats": cfg.Prefix, "debug": cfg.Debug, "keyNameSanitize": cfg.Sanitize,
			"deleteCounters": cfg.DeleteCounters, "deleteTimers": cfg.DeleteTimers, "deleteSets": cfg.DeleteSets, "deleteGauges": cfg.DeleteGauges,
		},
	}
	beside := "."
	if cfg.Node.Config != "" {
		c.ConfigFile = absolute(cfg.Node.Config)
		beside = filepath.Dir(c.ConfigFile)
	}
	c.Roots = nodeRoots("", absolute(beside))
	return node.New(c, scripts, reg, log)
}

// absolute is path from the root, where the working directory is known.
func absolute(path string) string {
	if a, err := filepath.Abs(path); err == nil {
		return a
	}
	return path
}
