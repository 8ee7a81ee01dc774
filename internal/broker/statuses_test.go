package broker

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/weirhq/weir/internal/event"
)

// Whatever comes in whatever order, the last status of every known object is there,
// what is outdated is bounded, and the account of bytes is right.
func TestLastStatuses(t *testing.T) {
	for name, sizes := range map[string]func(r *rand.Rand) int{
		"small":      func(r *rand.Rand) int { return r.IntN(600) },
		"half large": func(r *rand.Rand) int { return r.IntN(2 * large) },
		"huge":       func(r *rand.Rand) int { return r.IntN(5 * segmentSize) },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			s := statuses{of: func(e *event.Event) pair {
				return pair{uint64(binary.BigEndian.Uint32(e.Payload)), uint64(binary.BigEndian.Uint32(e.Payload[4:]))}
			}}
			want := map[pair][]byte{}
			for range 30_000 {
				id, checked := pair{uint64(r.IntN(20)), uint64(r.IntN(20))}, false
				if r.IntN(2) == 0 {
					id = pair{1, uint64(r.IntN(3))} // some come more often than others
				}
				switch r.IntN(100) {
				case 0:
					s.remove(id)
					delete(want, id)
				case 1:
					s.add(id)
					want[id] = nil
				default:
					if _, ok := want[id]; !ok {
						s.add(id)
					}
					payload := make([]byte, 8+sizes(r))
					binary.BigEndian.PutUint32(payload, uint32(id.host))
					binary.BigEndian.PutUint32(payload[4:], uint32(id.service))
					for i := 8; i < len(payload); i += 100 {
						payload[i] = byte(r.Uint32())
					}
					s.put(s.find(id), &event.Event{Type: event.Type(len(payload)), Payload: payload})
					want[id] = payload
					checked = true
				}
				if limit := s.last + s.last/2 + outdated; checked && s.size > limit {
					t.Fatalf("segments take %d bytes, at most %d are right for %d", s.size, limit, s.last)
				}
			}
			last, size := 0, 0
			for host := range uint64(20) {
				for service := range uint64(20) {
					id := pair{host, service}
					payload, known := want[id]
					if (s.find(id) != nil) != known {
						t.Errorf("%v is known: %v, want %v", id, !known, known)
					}
					e := s.get(id)
					if !bytes.Equal(e.Payload, payload) || payload != nil && int(e.Type) != len(payload) {
						t.Errorf("%v has a status of %d bytes, want %d", id, len(e.Payload), len(payload))
					}
					if payload != nil {
						last += statusHead + len(payload)
					}
				}
			}
			for i := range s.segments {
				size += cap(s.segments[i].data)
			}
			if s.last != last || s.size != size || s.known != len(want) {
				t.Errorf("%d bytes in %d, %d objects; want %d in %d, %d", s.last, s.size, s.known, last, size, len(want))
			}
		})
	}
}

// Objects that come and go for ever do not make the table grow for ever.
func TestStatusesOfChangingObjects(t *testing.T) {
	s := statuses{of: serviceOf}
	for i := range uint64(100_000) {
		s.add(pair{i, i})
		if i >= 10 {
			s.remove(pair{i - 10, i - 10})
		}
	}
	if len(s.table) > 1024 || s.known != 10 {
		t.Errorf("%d objects have a table of %d", s.known, len(s.table))
	}
}
