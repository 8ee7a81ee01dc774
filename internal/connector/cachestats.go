package connector

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/broker"
)

// kindCache is a frame from the script: broker.Stats of its cache, as JSON.
const kindCache byte = kindAck + 1

// cachePeriod is how often the daemon is told how the cache does, at most.
const cachePeriod = time.Second

// cacheTeller tells the daemon how the cache of a script does.
type cacheTeller struct {
	last  broker.Stats
	asked time.Time
}

// due returns the figures to send as a frame, nil when there is nothing new.
func (t *cacheTeller) due(c *broker.Cache) []byte {
	now := time.Now()
	if now.Sub(t.asked) < cachePeriod {
		return nil
	}
	t.asked = now
	s := c.Stats()
	if s == t.last {
		return nil
	}
	t.last = s
	payload, err := json.Marshal(s)
	if err != nil {
		panic("BUG: cannot encode the figures of a cache: " + err.Error())
	}
	return payload
}

// cacheStats are the figures of the caches of a script's processes, one after the other.
type cacheStats struct {
	mu     sync.Mutex
	before broker.Stats // counters of those that have ended
	now    broker.Stats
}

func (s *cacheStats) heard(payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Unmarshal(payload, &s.now)
}

// next begins to count for another process.
func (s *cacheStats) next() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before.Unknown += s.now.Unknown
	s.before.Misses += s.now.Misses
	s.before.Refused += s.now.Refused
	s.now.Unknown, s.now.Misses, s.now.Refused = 0, 0, 0
}

// CacheStats are the figures of the script's broker cache, as of about a second
// ago. The counters begin with the connector.
func (c *Connector) CacheStats() broker.Stats {
	s := &c.cache
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.now
	all.Unknown += s.before.Unknown
	all.Misses += s.before.Misses
	all.Refused += s.before.Refused
	return all
}
