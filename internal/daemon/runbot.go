package daemon

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/config"
)

// RunBot runs one of the bots of the configuration against a Weir elsewhere, which says what there is
// to poll and gets the values, until ctx ends.
func RunBot(ctx context.Context, kind string, client collector.ClientConfig, refresh time.Duration, log *slog.Logger) error {
	if houseBots[kind] != nil {
		return fmt.Errorf("cannot run the bot %q as a program of its own: it lives on what is in the daemon; give it an entry of collectors in its configuration", kind)
	}
	maker := botMakers[kind]
	if maker == nil {
		return fmt.Errorf("there is no bot %q; there are %s", kind, strings.Join(slices.Sorted(maps.Keys(botMakers)), ", "))
	}
	client.Log = log
	c, err := collector.Dial(ctx, client)
	if err != nil {
		return err
	}
	log.Info("the bot runs", "bot", kind, "user", c.UserID())
	entry := config.NewCollector(kind)
	made := maker(entry)
	err = collector.New(collector.Config{
		Jobs:    func(ctx context.Context) iter.Seq2[collector.Job, error] { return made.Jobs(ctx, c, c) },
		Refresh: refresh, Places: bot.Places(made), Spread: true, Grace: collectorPatience, Log: log,
	}).Run(ctx)
	return errors.Join(err, c.Close())
}
