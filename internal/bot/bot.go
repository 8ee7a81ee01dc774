// Package bot is what the bots that Weir brings have in common: each polls devices
// by one protocol, inside the daemon or as a program of its own.
package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/weirhq/weir/collector"
)

// Bot polls devices of one protocol. Its methods may be called from any goroutine.
type Bot interface {
	// Protocol is the slug by which the inventory knows what the bot polls.
	Protocol() string

	// Jobs yields what there is to do for the devices of from; values go to to. It is
	// called at every refresh of a collector.Collector.
	Jobs(ctx context.Context, from collector.Source, to collector.Sink) iter.Seq2[collector.Job, error]
}

// Places is how many devices b polls at once, for collector.Config: what its method of that name says, 0 when it has none.
func Places(b Bot) int {
	if of, ok := b.(interface{ Places() int }); ok {
		return of.Places()
	}
	return 0
}

// EachDevice yields one job for every device that is polled at intervals.
func EachDevice(ctx context.Context, from collector.Source, protocol string, run func(context.Context, *collector.JobConfig, collector.Run) error) iter.Seq2[collector.Job, error] {
	return func(yield func(collector.Job, error) bool) {
		for device, err := range from.FetchJobConfigs(ctx, protocol) {
			if err != nil {
				yield(collector.Job{}, err)
				return
			}
			intervals := device.Intervals()
			if len(intervals) == 0 {
				continue
			}
			job := collector.Job{ID: ID(device), Intervals: intervals, Data: device, Run: func(ctx context.Context, r collector.Run) error { return run(ctx, device, r) }}
			if !yield(job, nil) {
				return
			}
		}
	}
}

// ID tells a device from the others: the number of the entity, or what the configuration calls it.
func ID(device *collector.JobConfig) string {
	if device.EntityID != 0 {
		return strconv.FormatInt(device.EntityID, 10)
	}
	return device.Name
}

// Prefix is what the paths of a device's values begin with: entity.311 for one of the
// inventory, target.NAME for one of the configuration.
func Prefix(device *collector.JobConfig) string {
	if device.EntityID != 0 {
		return "entity." + strconv.FormatInt(device.EntityID, 10)
	}
	return "target." + Segment(device.Name)
}

// maxSegment bounds segments of paths made from names, in bytes.
const maxSegment = 100

// Segment is a name as one segment of a path: "." and ":" are escaped, what else is not allowed becomes "-".
func Segment(name string) string {
	var b strings.Builder
	for _, r := range name {
		if b.Len() >= maxSegment-2 {
			break
		}
		switch {
		case 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-':
			b.WriteRune(r)
		case r == '.':
			b.WriteString("%2e")
		case r == ':':
			b.WriteString("%3a")
		default:
			b.WriteByte('-')
		}
	}
	if b.Len() == 0 {
		return "-"
	}
	return b.String()
}

// Details decodes details of an entity, a credential or a sensor. None are an empty object.
func Details(raw json.RawMessage, into any) error {
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("cannot use the details %.100q: %w", raw, err)
	}
	return nil
}

// Number is one in JSON, or in a text, as forms of web pages store it.
type Number float64

// UnmarshalJSON implements json.Unmarshaler.
func (n *Number) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "null" {
		return nil
	}
	value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return fmt.Errorf("%q is not a number", text)
	}
	*n = Number(value)
	return nil
}

// Fixed is a collector.Source of devices that never change.
type Fixed []*collector.JobConfig

// FetchJobConfigs implements collector.Source: the devices are for whoever asks.
func (f Fixed) FetchJobConfigs(context.Context, string) iter.Seq2[*collector.JobConfig, error] {
	return func(yield func(*collector.JobConfig, error) bool) {
		for _, device := range f {
			if !yield(device, nil) {
				return
			}
		}
	}
}
