package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/console"
)

const (
	statsdAddress = ":8125"
	stopTimeout   = 2 * time.Second
)

func runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Receive StatsD over UDP on port 8125 and print a flush every ten seconds",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer cancel()
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			percentiles := []float64{90}
			interval := 10 * time.Second
			aggregator := statsd.NewAggregator(statsd.Options{
				Prefix: "statsd", Sanitize: true, Statistics: statsd.NewStatistics(interval.Seconds(), percentiles, nil, nil),
			}, func(statsd.Bad) {}) // counted in statsd.bad_lines_seen
			server := statsd.NewServer(statsdAddress, interval, aggregator, []backend.Backend{console.New(cmd.OutOrStdout(), console.Config{})}, log)
			if err := server.Start(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "weir: StatsD on %s\n", server.Address())
			<-ctx.Done()
			stopping, done := context.WithTimeout(context.Background(), stopTimeout)
			defer done()
			server.Stop(stopping)
			return nil
		},
	}
}
