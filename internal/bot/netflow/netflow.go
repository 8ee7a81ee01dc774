package netflow

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/telemetry"
)

// labels are the windows, with the time from the beginning of a job to its first run.
var labels = []struct {
	name             string
	interval, offset time.Duration
}{
	{"1min", time.Minute, 0},
	{"15min", 15 * time.Minute, 15 * time.Second},
	{"1h", time.Hour, 255 * time.Second},
	{"4h", 4 * time.Hour, 1755 * time.Second},
	{"24h", 24 * time.Hour, 5355 * time.Second},
}

// Bot summarises the flows of devices whose details have the address of an exporter, as ipv4.
type Bot struct {
	flows   *Flows
	suggest *suggestions // nil for none
	log     *telemetry.Limited
	path    string        // file of what windows hold; "" for none
	sent    chan struct{} // a window was
	end     func()        // of what keeps the file; nil before Start
}

var _ bot.Bot = (*Bot)(nil)

// New returns a bot that reads flows. It adds exporters that are unknown to in, as
// devices of account, or of every account when that is 0; in is nil for a bot that does not.
// Between Start and Stop it keeps what windows hold in the file path; "" is for none.
func New(flows *Flows, in Inventory, account int64, path string, log *slog.Logger) *Bot {
	b := &Bot{flows: flows, path: path, sent: make(chan struct{}, 1), log: telemetry.NewLimited(log, time.Hour, 10)}
	if in != nil {
		b.suggest = &suggestions{in: in, account: account, log: log}
	}
	return b
}

// Protocol implements bot.Bot.
func (*Bot) Protocol() string { return "netflow" }

// Jobs implements bot.Bot.
func (b *Bot) Jobs(ctx context.Context, from collector.Source, to collector.Sink) iter.Seq2[collector.Job, error] {
	return func(yield func(collector.Job, error) bool) {
		devices, accounts := make(map[int64][]*collector.JobConfig), make(map[int64][]netip.Addr)
		entities := make(map[int64][]entity)
		for device, err := range from.FetchJobConfigs(ctx, b.Protocol()) {
			if err != nil {
				yield(collector.Job{}, err)
				return
			}
			at, err := exporterOf(device)
			if err != nil {
				b.log.Warn("cannot summarise the flows of a device", "device", device.Name, "account", device.AccountID, "reason", err)
				continue
			}
			a := device.AccountID
			devices[a], entities[a] = append(devices[a], device), append(entities[a], entity{bot.Prefix(device), at})
			if !slices.Contains(accounts[a], at) {
				accounts[a] = append(accounts[a], at)
			}
		}
		b.flows.watch(accounts)
		now := time.Now()
		forget := collector.Job{ID: "maint/remove_old_data", Intervals: []time.Duration{time.Hour}, Start: time.Unix(50, 0), Run: func(context.Context, collector.Run) error {
			b.flows.forget(time.Now())
			return nil
		}}
		if !yield(forget, nil) {
			return
		}
		if b.suggest != nil {
			suggest := collector.Job{ID: "maint/suggest_entities", Intervals: []time.Duration{2 * time.Minute}, Start: time.Unix(10, 0), Run: func(ctx context.Context, _ collector.Run) error {
				return b.suggest.add(ctx, b.flows.known())
			}}
			if !yield(suggest, nil) {
				return
			}
		}
		for _, account := range slices.Sorted(maps.Keys(accounts)) {
			for _, l := range labels {
				job := collector.Job{
					ID: fmt.Sprintf("aggr/%s/%d", l.name, account), Intervals: []time.Duration{l.interval}, Start: now.Add(l.offset - l.interval), Data: devices[account],
					Run: func(ctx context.Context, _ collector.Run) error {
						return b.summarise(ctx, windowID{account, l.name}, entities[account], to)
					},
				}
				if !yield(job, nil) {
					return
				}
			}
		}
	}
}

// summarise sends what came since the last run. What cannot be sent is in the next window too.
func (b *Bot) summarise(ctx context.Context, id windowID, entities []entity, to collector.Sink) error {
	of := b.flows.since(id)
	if of == nil {
		return nil
	}
	if err := to.SendResults(context.WithoutCancel(ctx), id.account, values(id.label, entities, of)); err != nil {
		b.flows.restore(id, of)
		return err
	}
	select { // else it would be sent again after a kill
	case b.sent <- struct{}{}:
	default:
	}
	return nil
}

// exporterOf is the address from which a device exports.
func exporterOf(device *collector.JobConfig) (netip.Addr, error) {
	var details struct {
		IPv4 string `json:"ipv4"`
	}
	if err := bot.Details(device.Details, &details); err != nil {
		return netip.Addr{}, err
	}
	at, err := netip.ParseAddr(details.IPv4)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot use %q as the address of an exporter: ipv4 of the details must be like 192.0.2.1", details.IPv4)
	}
	return at.Unmap(), nil
}
