// Package ping has the bot that measures whether devices answer ICMP echoes, and how fast.
package ping

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// Bot pings devices (section 5.2): ipv4 in the details of an entity is an address of either
// family or a name, of which an IPv4 address is preferred. Details of a credential, as
// numbers or as text:
//
//	n_packets     how many echoes are asked for, 3 when it is not given
//	timeout       seconds until an answer, 2 when it is not given
//	retry         how often a request is repeated within timeout, 0 when it is not given
//	sleep_packets seconds between an echo and the next, 1 when it is not given
//
// Values: p0.ok, p1.ok, … (1 or 0), p0.rtt, p1.rtt, … (seconds, of those that were answered), loss
// (0 to 1), rtt_min, rtt_avg, rtt_max and rtt_mdev (the standard deviation; seconds, when any was
// answered) and success (0 to 1). All go out together when the last packet is through.
//
// All devices of a family share one socket, raw where that is allowed and otherwise for datagrams. The
// sockets are open while there is something to ask.
type Bot struct{ v4, v6 *shared }

var _ bot.Bot = Bot{}

// New returns a Bot.
func New() Bot { return Bot{&shared{network: ip4}, &shared{network: ip6}} }

// Protocol implements bot.Bot.
func (Bot) Protocol() string { return "ping" }

// Places is how many devices may be pinged at once: many, since nearly all of the time is spent waiting.
func (Bot) Places() int { return 1 << 16 }

// Jobs implements bot.Bot.
func (b Bot) Jobs(ctx context.Context, from collector.Source, to collector.Sink) iter.Seq2[collector.Job, error] {
	return bot.EachDevice(ctx, from, "ping", func(ctx context.Context, device *collector.JobConfig, _ collector.Run) error {
		at := time.Now()
		found, err := b.ping(ctx, device)
		switch {
		case errors.Is(err, context.Canceled): // what is through is true, and the rest nobody wants
			err = nil
		case err != nil:
			err = fmt.Errorf("cannot ping %s: %w", device.Name, err)
		}
		if len(found) == 0 {
			return err
		}
		values := found.values(bot.Prefix(device)+".ping.", at)
		return errors.Join(err, to.SendResults(context.WithoutCancel(ctx), device.AccountID, values))
	})
}

// settings are how a device is pinged.
type settings struct {
	packets, attempts int
	timeout, sleep    time.Duration
}

// Bounds of settings.
const (
	maxPackets  = 1000
	maxAttempts = 100
	maxSeconds  = 3600
)

// settingsOf reads the details of a credential.
func settingsOf(device *collector.JobConfig) (s settings, err error) {
	var d struct {
		Packets *bot.Number `json:"n_packets"`
		Sleep   *bot.Number `json:"sleep_packets"`
		Timeout *bot.Number `json:"timeout"`
		Retry   *bot.Number `json:"retry"`
	}
	if err := bot.Details(device.CredentialDetails, &d); err != nil {
		return s, err
	}
	number := func(name string, given *bot.Number, otherwise, least, most float64) float64 {
		value := otherwise
		if given != nil {
			value = float64(*given)
		}
		if !(value >= least && value <= most) && err == nil {
			err = fmt.Errorf("%s is %g; it must be %g to %g", name, value, least, most)
		}
		return value
	}
	s.packets = int(number("n_packets", d.Packets, 3, 1, maxPackets))
	s.attempts = 1 + int(number("retry", d.Retry, 0, 0, maxAttempts-1))
	s.timeout = time.Duration(number("timeout", d.Timeout, 2, 0.001, maxSeconds) * float64(time.Second))
	s.sleep = time.Duration(number("sleep_packets", d.Sleep, 1, 0, maxSeconds) * float64(time.Second))
	return s, err
}

// packet is what became of one echo.
type packet struct {
	answered bool
	took     time.Duration
}

// packets are those of one run, in their order.
type packets []packet

// ping asks a device for its echoes. Those that were through when ctx ended are returned with its error.
func (b Bot) ping(ctx context.Context, device *collector.JobConfig) (packets, error) {
	s, err := settingsOf(device)
	if err != nil {
		return nil, err
	}
	to, known, err := resolve(ctx, device)
	if err != nil {
		return nil, err
	}
	if !known {
		return make(packets, s.packets), nil
	}
	family := b.v4
	if to.Is6() {
		family = b.v6
	}
	socket, err := family.open()
	if err != nil {
		return nil, err
	}
	defer family.close()
	return measure(ctx, s, func() (time.Duration, bool, error) { return socket.ask(ctx, to, s.timeout, s.attempts) })
}

// measure asks for all echoes. After the last one there is no sleep: nothing would happen afterwards.
func measure(ctx context.Context, s settings, ask func() (time.Duration, bool, error)) (packets, error) {
	found := make(packets, 0, s.packets)
	for len(found) < s.packets {
		if len(found) > 0 && s.sleep > 0 {
			select {
			case <-time.After(s.sleep):
			case <-ctx.Done():
			}
		}
		took, answered, err := ask()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return found, fmt.Errorf("the next run is due after %d of %d packets; a longer interval, fewer packets, or a shorter timeout or sleep_packets would be right", len(found), s.packets)
		case err != nil:
			return found, err
		}
		found = append(found, packet{answered, took})
	}
	return found, nil
}

// resolveTimeout is how long servers for names may take.
const resolveTimeout = 5 * time.Second

// resolve is the address of a device, unless it is not known now.
func resolve(ctx context.Context, device *collector.JobConfig) (to netip.Addr, known bool, err error) {
	var details struct {
		Address string `json:"ipv4"`
	}
	if err := bot.Details(device.Details, &details); err != nil {
		return to, false, err
	}
	if details.Address == "" {
		return to, false, errors.New("it has no address: ipv4 of its details must be like 192.0.2.1, 2001:db8::1 or gate.example.org")
	}
	if to, err := netip.ParseAddr(details.Address); err == nil {
		return to.Unmap(), true, nil
	}
	asking, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(asking, "ip", details.Address)
	switch {
	case ctx.Err() != nil:
		return to, false, ctx.Err()
	case err != nil || len(all) == 0: // a device without an address does not answer
		return to, false, nil
	}
	to = all[0].Unmap()
	for _, a := range all {
		if a = a.Unmap(); a.Is4() {
			return a, true, nil
		}
	}
	return to, true, nil
}

// values are what packets say, with paths below prefix.
func (p packets) values(prefix string, at time.Time) []collector.Value {
	all := make([]collector.Value, 0, 2*len(p)+6)
	add := func(name string, value float64) {
		all = append(all, collector.Value{Path: prefix + name, Value: value, Time: at})
	}
	answered, sum, squares := 0.0, 0.0, 0.0
	least, most := math.Inf(1), 0.0
	for k, one := range p {
		name := "p" + strconv.Itoa(k)
		if !one.answered {
			add(name+".ok", 0)
			continue
		}
		seconds := one.took.Seconds()
		add(name+".ok", 1)
		add(name+".rtt", seconds)
		answered++
		sum += seconds
		squares += seconds * seconds
		least, most = min(least, seconds), max(most, seconds)
	}
	sent := float64(len(p))
	add("loss", 1-answered/sent)
	if answered > 0 {
		mean := sum / answered
		add("rtt_min", least)
		add("rtt_avg", mean)
		add("rtt_max", most)
		add("rtt_mdev", math.Sqrt(max(0, squares/answered-mean*mean)))
	}
	add("success", answered/sent)
	return all
}
