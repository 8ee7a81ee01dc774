// Package exec has the bot that runs commands which check something, in the way of Nagios plugins: the
// exit code is the status, and what they print may end with performance data.
package exec

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// Bot runs commands that it is made with, and no others: whoever may write to an inventory chooses
// among them, but does not say what they are. Details of a sensor:
//
//	command       the name of a command
//	output_path   where values go below exec; the name of the command when it is not given
//
// {ipv4} in the words of a command is the address, or the name, that ipv4 in the details of the entity gives.
//
// Values: status (0 fine, 1 warning, 2 critical, 3 unknown), seconds that it took, and perf.LABEL for
// every item of its performance data. A command that cannot be run, takes too long, ends by a signal or with
// another exit code is an error, and its status is 3.
type Bot struct {
	commands map[string]Command
	slots    chan struct{}
}

var _ bot.Bot = (*Bot)(nil)

// Command is something to run.
type Command struct {
	Name    string
	Words   []string // the program and its arguments
	Timeout time.Duration
}

// atOnce is how many commands run at the same time; the others wait.
const atOnce = 64

// New returns a Bot that may run some commands.
func New(commands []Command) *Bot {
	b := &Bot{commands: make(map[string]Command), slots: make(chan struct{}, atOnce)}
	for _, c := range commands {
		b.commands[c.Name] = c
	}
	return b
}

// Protocol implements bot.Bot.
func (*Bot) Protocol() string { return "exec" }

// Jobs implements bot.Bot.
func (b *Bot) Jobs(ctx context.Context, from collector.Source, to collector.Sink) iter.Seq2[collector.Job, error] {
	return bot.EachDevice(ctx, from, "exec", func(ctx context.Context, device *collector.JobConfig, run collector.Run) error {
		found := make([][]collector.Value, len(device.Sensors))
		failed := make([]error, len(device.Sensors), len(device.Sensors)+1)
		var all sync.WaitGroup
		for i := range device.Sensors {
			if run.Affects(device.Sensors[i].Interval) {
				all.Go(func() { found[i], failed[i] = b.check(ctx, device, &device.Sensors[i]) })
			}
		}
		all.Wait()
		for i, err := range failed {
			if err != nil {
				failed[i] = fmt.Errorf("sensor %d of %s: %w", i+1, device.Name, err)
			}
		}
		if values := slices.Concat(found...); len(values) > 0 {
			failed = append(failed, to.SendResults(context.WithoutCancel(ctx), device.AccountID, values))
		}
		return errors.Join(failed...)
	})
}

// check does what a sensor says. There may be values and an error.
func (b *Bot) check(ctx context.Context, device *collector.JobConfig, sensor *collector.SensorConfig) ([]collector.Value, error) {
	var d struct {
		Command    string  `json:"command"`
		OutputPath *string `json:"output_path"`
	}
	if err := bot.Details(sensor.Details, &d); err != nil {
		return nil, err
	}
	command, ok := b.commands[d.Command]
	if !ok {
		return nil, fmt.Errorf("cannot run %q: the configuration of the bot has no such command; it has %s", d.Command, strings.Join(slices.Sorted(maps.Keys(b.commands)), ", "))
	}
	words, err := filled(command.Words, device)
	if err != nil {
		return nil, fmt.Errorf("cannot run %q: %w", d.Command, err)
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot run %q: %d others run, and the next run is due", d.Command, atOnce)
	}
	defer func() { <-b.slots }()
	at := time.Now()
	outcome, err := run(ctx, words, command.Timeout)
	if errors.Is(err, context.Canceled) { // Weir stops, which says nothing about the device
		return nil, nil
	}
	if err != nil {
		err = fmt.Errorf("command %q: %w", d.Command, err)
	}
	below := bot.Segment(d.Command)
	if d.OutputPath != nil {
		below = *d.OutputPath
	}
	prefix := bot.Prefix(device) + ".exec."
	if below != "" {
		prefix += below + "."
	}
	return outcome.values(prefix, at), err
}

// hostLike is an address or a name, and nothing that a command could take for an option.
var hostLike = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$`)

// filled is words with {ipv4} replaced.
func filled(words []string, device *collector.JobConfig) ([]string, error) {
	const place = "{ipv4}"
	if !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(word, place) }) {
		return words, nil
	}
	var details struct {
		Host string `json:"ipv4"`
	}
	if err := bot.Details(device.Details, &details); err != nil {
		return nil, err
	}
	if address, err := netip.ParseAddr(details.Host); !(err == nil && address.Zone() == "") && !hostLike.MatchString(details.Host) {
		return nil, fmt.Errorf("cannot put %.100q in place of %s: it must be an address or a name, such as 192.0.2.1 or gate.example.org", details.Host, place)
	}
	whole := make([]string, len(words))
	for i, word := range words {
		whole[i] = strings.ReplaceAll(word, place, details.Host)
	}
	return whole, nil
}
