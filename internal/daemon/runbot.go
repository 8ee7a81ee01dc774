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

// remoteBots make bots that need more of a Weir elsewhere than jobs and a place for values, with what is
// called in the end; one line for each kind.
var remoteBots = map[string]func(*collector.Client, collector.ClientConfig) (bot.Bot, func() error){
	"snmp": makeRemoteSNMPBot,
}

// RunBot runs one of the bots of the configuration against a Weir elsewhere, which says what there is
// to poll and gets the values, until ctx ends.
func RunBot(ctx context.Context, kind string, client collector.ClientConfig, refresh time.Duration, log *slog.Logger) error {
	remote := remoteBots[kind]
	if houseBots[kind] != nil && remote == nil {
		return fmt.Errorf("cannot run the bot %q as a program of its own: it lives on what is in the daemon; give it an entry of collectors in its configuration", kind)
	}
	maker := botMakers[kind]
	if maker == nil && remote == nil {
		all := slices.Concat(slices.Collect(maps.Keys(botMakers)), slices.Collect(maps.Keys(remoteBots)))
		slices.Sort(all)
		return fmt.Errorf("there is no bot %q; there are %s", kind, strings.Join(all, ", "))
	}
	client.Log = log
	c, err := collector.Dial(ctx, client)
	if err != nil {
		return err
	}
	log.Info("the bot runs", "bot", kind, "user", c.UserID())
	var made bot.Bot
	end := func() error { return nil }
	if remote != nil {
		made, end = remote(c, client)
	} else {
		made = maker(config.NewCollector(kind))
	}
	err = collector.New(collector.Config{
		Jobs:    func(ctx context.Context) iter.Seq2[collector.Job, error] { return made.Jobs(ctx, c, c) },
		Refresh: refresh, Places: bot.Places(made), Spread: true, Grace: collectorPatience, Log: log,
	}).Run(ctx)
	return errors.Join(err, end(), c.Close())
}
