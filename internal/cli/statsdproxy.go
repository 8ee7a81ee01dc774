package cli

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/daemon"
)

func statsdProxyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "statsd-proxy FILE.js",
		Short: "Stand in for StatsD's cluster proxy: same configuration file, same placement",
		Long: `Run what ` + "`node proxy.js FILE.js`" + ` runs: lines are spread over several StatsD daemons by the names
of their metrics, each name always to the same one, with the placement of StatsD's own proxy.
A node whose management console does not answer "health: up" gets no lines until it does.
docs/statsd.md says what differs.

SIGTERM and SIGINT end it. The exit code is 0 after a stop in order and 1 when it could not start.`,
		Example: "  weir statsd-proxy /etc/statsd/proxy.js",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return failure{fmt.Errorf("%d arguments: weir statsd-proxy takes one, the configuration file, as in weir statsd-proxy /etc/statsd/proxy.js", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := runProxy(cmd.Context(), args[0], cmd.OutOrStdout()); err != nil {
				return failure{err}
			}
			return nil
		},
	}
}

func runProxy(ctx context.Context, path string, stdout io.Writer) error {
	running, cancel := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	d := daemon.NewProxyDropIn(path, stdout)
	if err := d.Start(running); err != nil {
		return err
	}
	<-running.Done()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropInStopTimeout)
	defer cancel()
	return d.Stop(stopping)
}
