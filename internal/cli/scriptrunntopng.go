package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/daemon"
)

// runTimeseries is weir script run --api ntopng: over the drivers of a configuration, or over a store that is
// removed at the end.
func runTimeseries(cmd *cobra.Command, script, configuration string) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cfg := config.Default()
	if configuration != "" {
		var err error
		if cfg, err = config.Load(configuration); err != nil {
			return err
		}
	} else {
		dir, err := os.MkdirTemp("", "weir-store-")
		if err != nil {
			return failure{err}
		}
		defer os.RemoveAll(dir)
		cfg.Data = dir
	}
	out := &scriptOutput{out: cmd.OutOrStdout(), messages: cmd.ErrOrStderr()}
	err := daemon.RunTimeseries(ctx, cfg, script, newLog(cmd.ErrOrStderr(), cfg.Log.Format, slog.LevelWarn), out)
	switch {
	case err != nil:
		return failure{err}
	case out.failed != nil:
		return failure{out.failed}
	case out.raised > 0:
		return failure{fmt.Errorf("%d errors in the script", out.raised)}
	}
	return nil
}

// scriptOutput prints what a script prints, and its messages elsewhere.
type scriptOutput struct {
	out, messages io.Writer
	raised        int
	failed        error // of writing to out
}

// Print implements tsdriver.Output.
func (o *scriptOutput) Print(line string) {
	if _, err := fmt.Fprintln(o.out, line); err != nil && o.failed == nil {
		o.failed = err
	}
}

// Log implements tsdriver.Output.
func (o *scriptOutput) Log(level slog.Level, text string) {
	fmt.Fprintf(o.messages, "%s: %s\n", level, text)
}

// Error implements tsdriver.Output.
func (o *scriptOutput) Error(err error) {
	o.raised++
	o.Log(slog.LevelError, err.Error())
}
