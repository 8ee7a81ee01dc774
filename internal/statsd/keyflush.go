package statsd

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"
)

// keyCounts counts lines by key for keyFlush. The shard's lock guards it.
type keyCounts struct {
	counts map[string]*int64
	keys   []string // in order of arrival
	limit  int      // how many keys are counted, 0 for all
}

// add counts a line with this key, valid or not.
func (k *keyCounts) add(key []byte) {
	if n := k.counts[string(key)]; n != nil {
		*n++
		return
	}
	if k.limit > 0 && len(k.keys) >= k.limit {
		return
	}
	if k.counts == nil {
		k.counts = make(map[string]*int64)
	}
	name, n := string(key), int64(1)
	k.counts[name] = &n
	k.keys = append(k.keys, name)
}

// takeKeys returns the counts since the last call, most frequent first.
func (a *Aggregator) takeKeys() []keyCount {
	var all []keyCount
	at := make(map[string]int)
	for _, s := range a.shards {
		s.mu.Lock()
		taken := s.keys
		s.keys.counts, s.keys.keys = nil, nil
		s.mu.Unlock()
		for _, key := range taken.keys {
			i, ok := at[key]
			if !ok {
				i = len(all)
				at[key] = i
				all = append(all, keyCount{key: key})
			}
			all[i].n += *taken.counts[key]
		}
	}
	slices.SortStableFunc(all, func(x, y keyCount) int { return cmp.Compare(y.n, x.n) })
	return all
}

type keyCount struct {
	key string
	n   int64
}

// writeKeys writes the busiest percent of keys, one line each (specification
// section 4.1, keyFlush).
func writeKeys(w io.Writer, keys []keyCount, percent float64, now time.Time) error {
	n := int(math.Ceil(float64(len(keys)) * percent / 100))
	b := bufio.NewWriter(w)
	date := FormatDate(now)
	for _, k := range keys[:max(min(n, len(keys)), 0)] {
		fmt.Fprintf(b, "%s count=%d key=%s\n", date, k.n, k.key)
	}
	return b.Flush()
}

// flushKeys lists the busiest keys every interval until the server stops.
func (s *Server) flushKeys(k KeyFlush) {
	ticker := time.NewTicker(k.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-ticker.C:
			if err := appendKeys(k, s.aggregator.takeKeys(), now); err != nil {
				s.problems.Warn("cannot write the busiest keys", "error", err)
			}
		}
	}
}

func appendKeys(k KeyFlush, keys []keyCount, now time.Time) error {
	if k.Path == "" {
		return writeKeys(os.Stdout, keys, k.Percent, now)
	}
	file, err := os.OpenFile(k.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	err = writeKeys(file, keys, k.Percent, now)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
