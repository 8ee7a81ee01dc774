package connector

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/script"
)

// deadly is how often a script must die over the same events before they are sent in
// smaller parts, and how often of a single one before that is set aside.
const deadly = 3

// suspects are what is known about events that end the script. It is under the lock of the connector.
type suspects struct {
	queue      int                // unacknowledged events at most
	most       int                // events set aside without an acknowledgement between, 0 for none
	quarantine *script.Quarantine // nil for none; with a lock of its own
	isolation  script.Isolation
	sent       span            // the last one the process got
	left       map[uint64]bool // numbers left out, after the position that is stored
	aside      int             // since the last acknowledgement
}

// begin forgets what is known of an earlier version of the script.
func (c *Connector) begin(setup Setup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue, c.most, c.aside = setup.Queue, setup.Aside, 0
	c.isolation = script.Isolation{Deaths: deadly}
	if c.left == nil {
		c.left = make(map[uint64]bool)
	}
}

// sends notes what the process gets next.
func (c *Connector) sends(s span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = s
}

// atOnce is how many events from first on may be sent in one frame, and whether the
// next one has to wait until the script has survived it.
func (c *Connector) atOnce(first uint64) (most int, careful bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isolation.Limit(first, batchEvents), c.isolation.Isolating()
}

// clear notes that the script survived events.
func (c *Connector) clear(first uint64, count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isolation.Survived(first, count)
	c.aside = 0
}

// leave notes that an event is left out.
func (c *Connector) leave(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[number] = true
}

// past returns the position after through and what was left out right behind it, and
// how many events were left out from the position that is stored up to there.
func (c *Connector) past(through uint64) (position uint64, aside int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.left[through+1] {
		through++
	}
	for number := range c.left {
		if number <= through {
			aside++
		}
	}
	return through, aside
}

// forget forgets what was left out up to a position that is stored.
func (c *Connector) forget(through uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for number := range c.left {
		if number <= through {
			delete(c.left, number)
		}
	}
}

// suspect finds out whether the process ended because of an event, and sets that aside.
func (c *Connector) suspect(e *script.Exit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := c.sent
	c.sent = span{}
	if e.Asked || e.Errors || e.Failure != nil || c.quarantine == nil || c.most == 0 {
		return
	}
	var s span
	if e.Working != nil {
		s = span{first: binary.BigEndian.Uint64(e.Working.Payload), parts: [][]byte{e.Working.Payload[8:]}}
		for it := event.NewIterator(s.data()); it.Next(); {
			s.count++
		}
	} else if sent.count > 0 { // what it got before, in a call of flush or after one
		s.first = max(c.acked.Load(), c.counted.Load()) + 1
		for c.left[s.first] {
			s.first++
		}
		s.count = int(max(sent.last()+1, s.first) - s.first)
		s.parts = [][]byte{single(sent, s.first)}
	}
	if s.count == 0 {
		return
	}
	if c.aside >= c.most {
		c.limited.Warn("the script ended over events again and again, after some were set aside: the rest stays in the queue", "events_aside", c.aside, "next", s.first)
		return
	}
	if c.isolation.Died(s.first, s.count) {
		c.put(s, e)
	}
	if c.isolation.Isolating() {
		c.supervisor.RestartSoon()
	}
}

// put sets the only event of s aside.
func (c *Connector) put(s span, e *script.Exit) {
	item := script.Quarantined{Time: time.Now(), Script: c.setup.Name, Number: s.first, Reason: e.Error(), Payload: s.data()}
	it := event.NewIterator(item.Payload)
	it.Next()
	if r, err := event.Decode(it.Event); err == nil {
		if text := event.RenderV2(r); json.Valid(text) {
			item.Text = string(text)
		}
	}
	if err := c.quarantine.Add(item); err != nil {
		c.limited.Warn("an event that ends the script stays in the queue", "number", s.first, "error", err)
		return
	}
	c.aside++
	c.log.Error("an event was set aside: the script ended whenever it got it alone", "number", s.first, "event", it.Event.Type.String(), "reason", item.Reason)
}

// single is the event with a number in s, nil when it is not there.
func single(s span, number uint64) []byte {
	if number < s.first {
		return nil
	}
	from, n := 0, s.first
	data := s.data()
	for it := event.NewIterator(data); it.Next(); from, n = it.Offset(), n+1 {
		if n == number {
			return data[from:it.Offset()]
		}
	}
	return nil
}
