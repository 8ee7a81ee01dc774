package snmp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// sample is what a counter was when it was asked last, and the rate that came of it.
type sample struct {
	value uint64
	at    time.Time
	rate  float64
	state rateState
}

// rateState is why a counter has a rate, or none.
type rateState int8

const (
	rateKnown rateState = iota
	rateFirst           // there is nothing before it
	rateReset           // the counter began anew
)

// baselines are the counters of one device at one interval, by OID.
type baselines struct {
	uptime   uint32 // of the device when it was told last, in hundredths of a second
	uptimeAt time.Time
	up       time.Duration // how long the device is up in this run; negative when it does not say
	samples  map[string]sample
}

// A counter of 32 bits that is less than before began again at 0 only when all of this holds: the
// device says that it was up all the time, it was asked not long ago, and the rise is at most half of what
// the counter holds, so that it was hardly set back.
const (
	longestWrap = time.Hour
	largestWrap = 1 << 31
)

// uptimeSlack is by how much the clocks of device and Weir may differ between two runs.
const uptimeSlack = 10 * time.Second

// longestUptime is more than the uptime of a device can be, which begins again after it.
const longestUptime = 497 * 24 * time.Hour

// begin notes how long the device is up, and forgets everything when it has started anew.
func (b *baselines) begin(uptime *variable) {
	b.up = -1
	if uptime == nil || !uptime.numeric || uptime.number < 1 || uptime.number > 1<<32-1 {
		return
	}
	now := uint32(uptime.number)
	if !b.uptimeAt.IsZero() && now < b.uptime {
		// After 497 days the uptime begins at 0 again by itself.
		passed := hundredths(now - b.uptime) // modulo 2^32
		if (uptime.at.Sub(b.uptimeAt) - passed).Abs() > uptimeSlack {
			clear(b.samples)
		}
	}
	b.uptime, b.uptimeAt, b.up = now, uptime.at, hundredths(now)
}

func hundredths(n uint32) time.Duration { return time.Duration(n) * 10 * time.Millisecond }

// rate is that of a counter per second since it was asked last at the same interval (section 5.3).
func (b *baselines) rate(v *variable) (float64, rateState) {
	old, known := b.samples[v.oid]
	if known && old.at.Equal(v.at) {
		return old.rate, old.state // two sensors have the same OID
	}
	next := sample{value: v.counter, at: v.at}
	passed := v.at.Sub(old.at)
	seconds := passed.Seconds()
	switch {
	case !known:
		next.state = rateFirst
	case seconds <= 0:
		next.state = rateReset // the clock was set
	case b.up >= 0 && b.up+uptimeSlack < passed && passed < longestUptime:
		next.state = rateReset // the device was not up then
	case v.counter >= old.value:
		next.rate = float64(v.counter-old.value) / seconds
	case v.bits == 32 && b.up >= 0 && passed <= longestWrap && uint32(v.counter-old.value) <= largestWrap:
		next.rate = float64(uint32(v.counter-old.value)) / seconds
	default:
		next.state = rateReset
	}
	b.samples[v.oid] = next
	return next.rate, next.state
}

// device is what is kept of a device from run to run. Runs of one device take turns.
type device struct {
	mu        sync.Mutex
	intervals map[time.Duration]*baselines
}

func (d *device) baselines(interval time.Duration) *baselines {
	b := d.intervals[interval]
	if b == nil {
		b = &baselines{up: -1, samples: make(map[string]sample)}
		d.intervals[interval] = b
	}
	return b
}

// counters are those of all devices, and their file. Methods may be called from any goroutine.
type counters struct {
	path string // "" for none

	mu      sync.Mutex
	devices map[string]*device
}

// device is that of an ID.
func (c *counters) device(id string) *device {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.devices[id]
	if d == nil {
		d = &device{intervals: make(map[time.Duration]*baselines)}
		c.devices[id] = d
	}
	return d
}

// savedDevice is a device in the file: intervals in seconds, times in Unix nanoseconds.
type savedDevice map[int64]savedBaselines

type savedBaselines struct {
	Uptime   uint32                `json:"uptime,omitempty"`
	UptimeAt int64                 `json:"uptime_at,omitempty"`
	Samples  map[string]savedValue `json:"samples"`
}

// savedValue is a value and its time.
type savedValue struct {
	Value uint64 `json:"v"`
	At    int64  `json:"t"`
}

// A counter is forgotten when it was not seen for so many intervals, and for a day.
const (
	forgetIntervals = 10
	forgetAfter     = 24 * time.Hour
)

// maxState bounds the file that is read, in bytes.
const maxState = 1 << 30

// load reads the file. A damaged one is set aside, since rates need nothing of it but a second run.
func (c *counters) load() error {
	if c.path == "" {
		return nil
	}
	info, err := os.Stat(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var text []byte
	if err == nil && info.Size() <= maxState {
		text, err = os.ReadFile(c.path)
	}
	if err != nil {
		return fmt.Errorf("cannot read the counters: %w", err)
	}
	var saved map[string]savedDevice
	if err := json.Unmarshal(text, &saved); err != nil {
		aside := c.path + ".damaged"
		if renamed := os.Rename(c.path, aside); renamed != nil {
			return fmt.Errorf("cannot read the counters in %s: %w; cannot set them aside: %w", c.path, err, renamed)
		}
		return fmt.Errorf("cannot read the counters in %s, which are now in %s; rates begin with the second run: %w", c.path, aside, err)
	}
	now := time.Now().UnixNano()
	for id, intervals := range saved {
		d := c.device(id)
		d.mu.Lock()
		for seconds, from := range intervals {
			b := d.baselines(time.Duration(seconds) * time.Second)
			if from.UptimeAt > 0 {
				b.uptime, b.uptimeAt = from.Uptime, time.Unix(0, from.UptimeAt)
			}
			for oid, value := range from.Samples {
				if value.At <= now {
					b.samples[oid] = sample{value: value.Value, at: time.Unix(0, value.At), state: rateFirst}
				}
			}
		}
		d.mu.Unlock()
	}
	return nil
}

// save writes the file, after it has forgotten what is old.
func (c *counters) save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	saved := make(map[string]savedDevice, len(c.devices))
	for id, d := range c.devices {
		if one := d.save(now); len(one) > 0 {
			saved[id] = one
		}
	}
	if c.path == "" {
		return nil
	}
	text, err := json.Marshal(saved)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(c.path), 0o755)
	}
	if err == nil {
		err = renameio.WriteFile(c.path, text, 0o600, renameio.WithTempDir(filepath.Dir(c.path)))
	}
	if err != nil {
		return fmt.Errorf("cannot keep the counters: %w", err)
	}
	return nil
}

func (d *device) save(now time.Time) savedDevice {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := make(savedDevice)
	for interval, b := range d.intervals {
		to := savedBaselines{Samples: make(map[string]savedValue, len(b.samples))}
		for oid, s := range b.samples {
			if now.Sub(s.at) > max(forgetAfter, forgetIntervals*interval) {
				delete(b.samples, oid)
				continue
			}
			to.Samples[oid] = savedValue{s.value, s.at.UnixNano()}
		}
		if len(to.Samples) == 0 {
			continue
		}
		if !b.uptimeAt.IsZero() {
			to.Uptime, to.UptimeAt = b.uptime, b.uptimeAt.UnixNano()
		}
		one[int64(interval/time.Second)] = to
	}
	return one
}
