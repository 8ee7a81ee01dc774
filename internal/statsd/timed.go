package statsd

import (
	"encoding/binary"

	"github.com/weirhq/weir/backend"
)

// maxTimed bounds how many values with timestamps wait for a flush in one shard.
const maxTimed = 100_000

// timed gathers values with timestamps until the flush. Those of one name and time are one: counters add up, of a
// gauge the last one stays.
type timed struct {
	places map[string]int // by kind, time and name
	key    []byte
	list   []backend.Timed
}

// add takes in v and reports whether there was room.
func (t *timed) add(v *Value) bool {
	t.key = append(binary.BigEndian.AppendUint64(append(t.key[:0], byte(v.Kind)), uint64(v.Time)), v.Key...)
	if i, ok := t.places[string(t.key)]; ok {
		if v.Kind == Counter {
			t.list[i].Value += v.Number
		} else {
			t.list[i].Value = v.Number
		}
		return true
	}
	if len(t.list) >= maxTimed {
		return false
	}
	if t.places == nil {
		t.places = make(map[string]int)
	}
	t.places[string(t.key)] = len(t.list)
	t.list = append(t.list, backend.Timed{Name: string(v.Key), Counter: v.Kind == Counter, Timestamp: v.Time, Value: v.Number})
	return true
}

// take empties t.
func (t *timed) take() []backend.Timed {
	list := t.list
	t.list, t.places = nil, nil
	return list
}

// onTimed is called for values with timestamps when a backend takes them.
func (s *shard) onTimed(v *Value) {
	s.valid++
	if !s.timed.add(v) {
		s.late++
		if missed, ok := s.aggregator.limitLog.Allow(); ok {
			s.aggregator.log.Warn("too many values with timestamps in one interval: they are dropped",
				"name", shorten(v.Key), "most", maxTimed, "left_out", missed)
		}
	}
}

// joinTimed puts together what the shards gathered.
func joinTimed(lists [][]backend.Timed) []backend.Timed {
	type key struct {
		name    string
		counter bool
		at      int64
	}
	var all []backend.Timed
	places := make(map[key]int)
	for _, list := range lists {
		for _, v := range list {
			k := key{v.Name, v.Counter, v.Timestamp}
			i, ok := places[k]
			switch {
			case !ok:
				places[k] = len(all)
				all = append(all, v)
			case v.Counter:
				all[i].Value += v.Value
			default:
				all[i].Value = v.Value
			}
		}
	}
	return all
}
