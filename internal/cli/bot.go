package cli

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/daemon"
)

func botCommand() *cobra.Command {
	var client collector.ClientConfig
	var tokenFile string
	refresh := 2 * time.Minute
	cmd := &cobra.Command{
		Use:   "bot NAME",
		Short: "Run a bot against a Weir elsewhere",
		Long: `Run one of Weir's bots as a program of its own, near what it polls. It asks the Weir at
--url what there is to poll for the bot with the token, and sends it what it measures.
What cannot be delivered waits in the directory --spool and is delivered later with
its times.

The token is read from --token-file, or from the environment: BOT_TOKEN, or the file
that BOT_TOKEN_FROM_FILE names. BACKEND_URL is used when --url is not given.`,
		Example: `  weir bot ping --url http://192.0.2.1:8088/api --token-file /etc/weir/bot.token --spool /var/lib/weir-bot`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client.URL = cmp.Or(client.URL, os.Getenv("BACKEND_URL"))
			if client.URL == "" {
				return errors.New("cannot run a bot: say where Weir is with --url")
			}
			if refresh < time.Second {
				return fmt.Errorf("cannot use %s for --refresh: it must be a second or more", refresh)
			}
			token, err := botToken(tokenFile)
			if err != nil {
				return err
			}
			client.Token = token
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			err = daemon.RunBot(ctx, args[0], client, refresh, newLog(cmd.ErrOrStderr(), "text", slog.LevelInfo))
			if err != nil && ctx.Err() == nil {
				return failure{err}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&client.URL, "url", "", "where Weir is, with /api: `URL`")
	flags.StringVar(&tokenFile, "token-file", "", "a `FILE` with the token of the bot")
	flags.StringVar(&client.Spool, "spool", "", "a `DIRECTORY` for what cannot be delivered now; without it that is lost, and logged")
	flags.Int64Var(&client.MaxSpool, "max-spool", 64<<20, "how many `BYTES` the spool may take; then the oldest values are dropped")
	flags.DurationVar(&refresh, "refresh", refresh, "how often to ask what there is to poll")
	return cmd
}

// botToken finds the token of a bot.
func botToken(file string) (string, error) {
	file = cmp.Or(file, os.Getenv("BOT_TOKEN_FROM_FILE"))
	if token := os.Getenv("BOT_TOKEN"); token != "" && file == "" {
		return token, nil
	}
	if file == "" {
		return "", errors.New("cannot run a bot: say what its token is with --token-file")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read the token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
