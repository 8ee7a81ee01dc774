package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/internal/tsdriver"
)

// RunTimeseries runs a script with ts_utils in this process, on the drivers of cfg, which no other process may use
// meanwhile. It returns when the script has ended, and is for one goroutine.
func RunTimeseries(ctx context.Context, cfg *config.Config, path string, log *slog.Logger, out tsdriver.Output) (err error) {
	reg := telemetry.NewRegistry()
	s := newSeries(cfg, script.NewRegistry(reg), reg, log)
	if s == nil {
		return errors.New("cannot run the script: timeseries.write names no driver")
	}
	stop, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience+scriptPatience)
		defer cancel()
		err = errors.Join(err, stop(ending))
	}()
	if err := s.Setup(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "weir-script-") // for its cache and its working files
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return tsdriver.Run(ctx, tsdriver.Setup{Name: "script", Script: path, Directory: dir}, s.front, out)
}
