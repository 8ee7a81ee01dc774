package daemon

import (
	"path/filepath"
	"strings"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/tsdriver"
	"github.com/weirhq/weir/timeseries"
)

// makeLuaDriver makes a driver in a script.
func makeLuaDriver(entry config.Driver, in surroundings) (timeseries.Driver, []part) {
	d := tsdriver.New(LuaDriver(in.config, entry), in.scripts, in.registry, in.log)
	return d, []part{{"timeseries driver " + entry.Name, d.Start, d.Stop, scriptPatience}}
}

// LuaDriver is what a driver in a script is made from.
func LuaDriver(cfg *config.Config, entry config.Driver) tsdriver.Config {
	l := entry.Lua
	budget := callBudget(l.Call, int64(l.Memory))
	preferences := make(map[string]string)
	for name, v := range l.Preferences {
		preferences["ntopng.prefs."+strings.TrimPrefix(name, "ntopng.prefs.")] = v
	}
	return tsdriver.Config{Budget: budget, Query: l.Query, QueueBytes: int64(l.Queue), Setup: tsdriver.Setup{
		Name: entry.Name, Script: tsdriver.DriverFile(l.Script, l.Installation), Options: l.Options, Preferences: preferences,
		Interfaces: l.Interfaces, Installation: l.Installation, Parity: l.Parity(),
		Directory: filepath.Join(cfg.Data, "drivers", entry.Name), Definitions: cfg.Timeseries.Definitions(),
		SpoolBytes: int64(l.Queue), Call: l.Call,
		Memory: int64(l.Memory) / 4 * 3, // the script sees an error before the process is killed
	}}
}
