// Package probe has the bots that ask whether a service answers, and how fast: over HTTP,
// and by opening a TCP connection.
package probe

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// defaultTimeout is how long a probe may take, in seconds.
const defaultTimeout = 10

// measured are values below the prefix of a probe.
type measured map[string]float64

// probe does one thing and measures it. An error is that its details make no sense; a
// service that does not answer is a measurement.
type probe func(ctx context.Context, device *collector.JobConfig, sensor *collector.SensorConfig) (measured, string, error)

// prober is a bot that probes; values go below the protocol.
type prober struct {
	protocol string
	probe    probe
}

var _ bot.Bot = prober{}

// Protocol implements bot.Bot.
func (p prober) Protocol() string { return p.protocol }

// Jobs implements bot.Bot.
func (p prober) Jobs(ctx context.Context, from collector.Source, to collector.Sink) iter.Seq2[collector.Job, error] {
	return bot.EachDevice(ctx, from, p.protocol, func(ctx context.Context, device *collector.JobConfig, run collector.Run) error {
		var values []collector.Value
		var failed []error
		for i := range device.Sensors {
			sensor := &device.Sensors[i]
			if !run.Affects(sensor.Interval) {
				continue
			}
			at := time.Now()
			found, below, err := p.probe(ctx, device, sensor)
			if err != nil {
				failed = append(failed, fmt.Errorf("sensor %d of %s: %w", i+1, device.Name, err))
				continue
			}
			prefix := bot.Prefix(device) + "." + p.protocol + "."
			if below != "" {
				prefix += below + "."
			}
			for name, value := range found {
				values = append(values, collector.Value{Path: prefix + name, Value: value, Time: at})
			}
		}
		if len(values) > 0 {
			failed = append(failed, to.SendResults(context.WithoutCancel(ctx), device.AccountID, values))
		}
		return errors.Join(failed...)
	})
}

// common is what the details of every sensor of a probe may have.
type common struct {
	OutputPath string     `json:"output_path"` // where values go below the protocol; "" for directly
	Timeout    bot.Number `json:"timeout"`     // seconds
}

// deadline bounds one probe.
func (c *common) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	seconds := float64(c.Timeout)
	if !(seconds > 0) {
		seconds = defaultTimeout
	}
	return context.WithTimeout(ctx, time.Duration(min(seconds, 3600)*float64(time.Second)))
}

// address is that of the entity of a device.
func address(device *collector.JobConfig) (string, error) {
	var details struct {
		IPv4 string `json:"ipv4"`
	}
	if err := bot.Details(device.Details, &details); err != nil {
		return "", err
	}
	return details.IPv4, nil
}

// filled is text with {ipv4} replaced by the address of the entity.
func filled(text string, device *collector.JobConfig) (string, error) {
	if !strings.Contains(text, "{ipv4}") {
		return text, nil
	}
	host, err := address(device)
	if err != nil {
		return "", err
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return strings.ReplaceAll(text, "{ipv4}", host), nil
}
