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
	"github.com/weirhq/weir/internal/telemetry"
)

const stopTimeout = 2 * time.Second

func runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Receive StatsD over UDP on port 8125 and print a flush every ten seconds",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer cancel()
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			server := statsd.New(statsd.DefaultConfig(), []backend.Backend{console.New(cmd.OutOrStdout(), console.Config{})}, telemetry.NewRegistry(), log)
			if err := server.Start(ctx); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "weir: StatsD on %s\n", server.Addresses())
			<-ctx.Done()
			stopping, done := context.WithTimeout(context.Background(), stopTimeout)
			defer done()
			return server.Stop(stopping)
		},
	}
}
