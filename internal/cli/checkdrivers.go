package cli

import (
	"context"
	"fmt"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/daemon"
	"github.com/weirhq/weir/internal/tsdriver"
)

// inspectDrivers loads the timeseries drivers that are scripts, each in a process of its own. The error holds what is
// wrong, with places.
func inspectDrivers(ctx context.Context, cfg *config.Config) error {
	var mistakes config.Errors
	for i, entry := range cfg.Timeseries.Write {
		if entry.Kind != config.LuaKind {
			continue
		}
		driver := daemon.LuaDriver(cfg, entry)
		driver.Setup.Call = min(driver.Setup.Call, checkCall)
		driver.Budget.Hard = driver.Setup.Call + checkKill
		bounded, cancel := context.WithTimeout(ctx, checkAll)
		_, err := tsdriver.Inspect(bounded, driver)
		cancel()
		if err != nil {
			path := fmt.Sprintf("timeseries.write[%d].lua.script", i)
			mistakes = append(mistakes, cfg.Fail(path, fmt.Errorf("cannot load the timeseries driver %q: %w", entry.Name, err)))
		}
	}
	if len(mistakes) > 0 {
		return mistakes
	}
	return nil
}
