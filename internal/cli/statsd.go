package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/daemon"
)

// dropInStopTimeout bounds the last flush of weir statsd: who replaces a daemon
// that ends at once is not patient.
const dropInStopTimeout = 2 * time.Second

func statsdCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "statsd FILE.js",
		Short: "Stand in for StatsD: same configuration file, ports and output",
		Long: `Run what ` + "`statsd FILE.js`" + ` runs: the configuration file of an existing StatsD is read as it
is, and defaults, ports, output on standard output and the management console are the
same. docs/statsd.md says what differs.

SIGTERM and SIGINT send a last flush and end it, within two seconds. SIGHUP reads the
file again, and so does a change of the file unless automaticConfigReload is false.

The exit code is 0 after a stop in order and 1 when it could not start.`,
		Example: "  weir statsd /etc/statsd/config.js",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return failure{fmt.Errorf("%d arguments: weir statsd takes one, the configuration file, as in weir statsd /etc/statsd/config.js", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := runDropIn(cmd.Context(), args[0], cmd.OutOrStdout()); err != nil {
				return failure{err}
			}
			return nil
		},
	}
}

func runDropIn(ctx context.Context, path string, stdout io.Writer) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	d := daemon.NewDropIn(path, stdout, version)
	if err := d.Start(ctx); err != nil {
		return err
	}
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case s := <-signals:
			if running = s == syscall.SIGHUP; running {
				d.Reload()
			}
		}
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropInStopTimeout)
	defer cancel()
	d.Stop(stopping)
	return nil
}
