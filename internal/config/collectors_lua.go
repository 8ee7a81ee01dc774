package config

import (
	"time"

	"github.com/weirhq/weir/collector"
)

// LuaCollector is an entry of collectors of the kind lua: jobs in a script.
type LuaCollector struct {
	Script   string
	Options  map[string]any
	Protocol string // of the devices the script is told
	Call     time.Duration
	Memory   int // bytes of its process
}

func newLuaCollector() LuaCollector {
	return LuaCollector{Call: 10 * time.Second, Memory: 256 << 20}
}

func luaCollectorOptions(c *Collector) []option {
	l := &c.Lua
	return []option{
		{name: "script", value: text{to: &l.Script, what: "a file", check: filled, expand: true}, required: true, example: "/etc/weir/collectors/load.lua",
			doc: "The file, with the functions `jobs` and `perform_job`. A changed file is noticed within seconds."},
		{name: "options", value: scalars{&l.Options}, example: `{url: "http://192.0.2.1/status"}`, doc: "What the script finds in the table `options`."},
		{name: "protocol", value: text{to: &l.Protocol, check: plainName}, example: "mine", doc: "With `inventory`: the protocol of the devices that `fetch_job_configs()` returns."},
		{name: "call_timeout", value: duration{to: &l.Call, least: 100 * time.Millisecond, max: time.Hour}, doc: "How long one call of `jobs` or `perform_job` may take; then an error is raised in it."},
		{name: "memory", value: size{&l.Memory}, doc: "How much memory its process may take; then it is started again."},
	}
}

// luaDevices are none: the script knows what it polls.
func luaDevices(*Collector) []*collector.JobConfig { return nil }

// checkLua says what is wrong with an entry of the kind lua.
func (c *Collector) checkLua() string {
	switch {
	case c.Kind != LuaKind:
	case c.Inventory && c.Lua.Protocol == "":
		return "inventory is true, and protocol does not say which devices the script is told"
	case !c.Inventory && c.Lua.Protocol != "":
		return "protocol says which devices the script is told, and inventory is not true"
	}
	return ""
}
