package cli

import (
	"context"
	"fmt"

	"github.com/weirhq/weir/internal/bot/luabot"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/daemon"
)

// inspectCollectors loads the collectors that are scripts, each in a process of its own. The error holds what is
// wrong, with places.
func inspectCollectors(ctx context.Context, cfg *config.Config) error {
	var mistakes config.Errors
	for i, entry := range cfg.Collectors {
		if entry.Kind != config.LuaKind {
			continue
		}
		made := daemon.LuaCollector(entry)
		made.Setup.Call = min(made.Setup.Call, checkCall)
		made.Budget.Hard = made.Setup.Call + checkKill
		bounded, cancel := context.WithTimeout(ctx, checkAll)
		err := luabot.Inspect(bounded, made)
		cancel()
		if err != nil {
			mistakes = append(mistakes, cfg.Fail(fmt.Sprintf("collectors[%d].lua.script", i), fmt.Errorf("cannot load the collector %q: %w", entry.Name, err)))
		}
	}
	if len(mistakes) > 0 {
		return mistakes
	}
	return nil
}
