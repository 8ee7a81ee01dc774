package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/daemon"
)

// stopTimeout bounds the whole of an ordered stop; parts have bounds of their own.
const stopTimeout = 10 * time.Second

// together is how close signals are that count as one: some programs signal
// both a process and its group.
const together = 300 * time.Millisecond

func runCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the pipeline",
		Long: `Run the pipeline: StatsD over UDP and TCP on port 8125, the embedded store, and the
HTTP API on http://127.0.0.1:8088, unless a configuration says otherwise. What it
listens on and everything else goes to the log on standard error.

SIGTERM and SIGINT stop it in order: what has arrived is flushed and stored. That takes
ten seconds at most; a second signal ends it at once. SIGHUP reads the configuration again.

The exit code is 0 after a stop in order, 1 when something failed, and 2 when the
configuration is wrong or cannot be used, such as when a port is taken.`,
		Example: `  weir run
  weir run -c /etc/weir/weir.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDaemon(cmd.Context(), file, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	registerConfig(cmd, &file)
	return cmd
}

// registerConfig adds the flag that names the configuration.
func registerConfig(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "the configuration, a YAML file; without it every option has its default")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // for completion; the flag exists
}

func runDaemon(ctx context.Context, file string, stdout, stderr io.Writer) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	cfg, err := load(file)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level)
	log := newLog(stderr, cfg.Log.Format, level)
	sayWarnings(cfg, log)
	d := daemon.New(cfg, log, daemon.Options{Version: version, Stdout: stdout, Level: level})
	if err := d.Start(ctx); err != nil {
		return err
	}
	failed := serve(ctx, d, file, signals, log)
	asked := time.Now()
	go func() {
		for s := range signals {
			if s != syscall.SIGHUP && time.Since(asked) > together {
				log.Error("a second signal: ending at once, what was not stored is lost", "signal", s.String())
				os.Exit(exitFailure)
			}
		}
	}()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := d.Stop(stopping); err != nil {
		return failure{err}
	}
	if failed != nil {
		return failure{failed}
	}
	return nil
}

// serve returns when it is time to stop, with the error when a component failed.
func serve(ctx context.Context, d *daemon.Daemon, file string, signals <-chan os.Signal, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-d.Failed():
			log.Error("stopping because a component failed", "error", err)
			return err
		case s := <-signals:
			if s != syscall.SIGHUP {
				log.Info("stopping", "signal", s.String())
				return nil
			}
			reload(d, file, log)
		}
	}
}

func reload(d *daemon.Daemon, file string, log *slog.Logger) {
	if file == "" {
		log.Warn("cannot reload: weir was started without a configuration file")
		return
	}
	cfg, err := load(file)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			log.Error("cannot reload: the configuration stays as it was", "error", line)
		}
		return
	}
	sayWarnings(cfg, log)
	d.Reload(cfg)
}

// sayWarnings says what is left out of the configuration.
func sayWarnings(cfg *config.Config, log *slog.Logger) {
	for _, w := range cfg.Warnings {
		log.Warn("the configuration is used without a part of it", "warning", w.Error())
	}
}

// load reads the configuration, or takes the defaults when there is no file.
func load(file string) (*config.Config, error) {
	if file == "" {
		return config.Default(), nil
	}
	return config.Load(file)
}

func newLog(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options))
	case "json":
		return slog.New(slog.NewJSONHandler(w, options))
	}
	panic(fmt.Sprintf("BUG: the configuration lets the log format %q through", format))
}
