package daemon

import (
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/bot/luabot"
	"github.com/weirhq/weir/internal/config"
)

// makeLuaBot makes a bot whose jobs are in a script.
func makeLuaBot(in house, entry config.Collector) (bot.Bot, []part) {
	b := luabot.New(LuaCollector(entry), in.scripts, in.log.With("collector", entry.Name))
	return b, []part{{"collector " + entry.Name, b.Start, b.Stop, scriptPatience}}
}

// LuaCollector is what a collector in a script is made from.
func LuaCollector(entry config.Collector) luabot.Config {
	l := entry.Lua
	budget := callBudget(l.Call, int64(l.Memory))
	return luabot.Config{Protocol: l.Protocol, Budget: budget, Setup: luabot.Setup{
		Name: entry.Name, Script: l.Script, Options: l.Options, Account: int64(entry.Account), Interval: entry.Interval, Call: l.Call,
		Memory: int64(l.Memory) / 4 * 3, // the script sees an error before the process is killed
	}}
}
