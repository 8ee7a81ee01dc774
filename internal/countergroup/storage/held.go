package storage

import "github.com/weirhq/weir/internal/countergroup"

// held is what waits of a group with ToppersOnly until its topper bucket ends.
type held struct {
	rows   []heldRow
	meters []uint8 // of the values, row by row
	values []float64
	listed map[string]struct{} // keys on the lists that came in this flush
	ended  bool                // lists came in this flush
}

// heldRow is one key's window. Most meters of most keys are 0, and only the others are kept.
type heldRow struct {
	key    string
	at     int64
	values int
}

// maxHeld bounds what all groups hold together: values, and rowCost for each row. It is about 300 MB.
const (
	maxHeld = 1 << 25
	rowCost = 4 // a row takes the bytes of so many values
)

// hold keeps a key's window, scaled as it is stored. What there is no room for is dropped and counted.
func (s *Stage) hold(of *schemas, at int64, row *countergroup.Row) {
	h := of.held
	s.ledger.Received(1)
	before := len(h.values)
	for m, v := range row.Values {
		if v != 0 {
			h.meters, h.values = append(h.meters, uint8(m)), append(h.values, v*of.scale[m])
		}
	}
	n := len(h.values) - before
	if n+rowCost > s.room {
		h.meters, h.values = h.meters[:before], h.values[:before]
		s.full.Add(1)
		s.warn.Warn("too much waits for topper lists: windows of further keys are not stored", "group", of.window.Name, "held", s.waiting.Load())
		return
	}
	s.room -= n + rowCost
	s.waiting.Add(1)
	h.rows = append(h.rows, heldRow{row.Key, at, n})
}

// list notes whose windows are to be stored.
func (s *Stage) list(of *schemas, items []countergroup.Item) {
	h := of.held
	if !h.ended {
		h.ended = true
		s.closing = append(s.closing, of)
	}
	for _, item := range items {
		h.listed[item.Key] = struct{}{}
	}
}

// release stores what was held of keys that are on a list, and drops the rest.
func (s *Stage) release(of *schemas) {
	h := of.held
	from, unlisted := 0, 0
	for i := range h.rows {
		row := &h.rows[i]
		to := from + row.values
		if _, ok := h.listed[row.key]; ok {
			values := s.add(of.window, row.at, len(of.meters), row.key)
			s.released++
			for j := from; j < to; j++ {
				values[h.meters[j]] = h.values[j]
			}
		} else {
			unlisted++
		}
		from = to
	}
	s.unlisted.Add(unlisted)
	s.waiting.Add(int64(-unlisted))
	s.room += len(h.values) + rowCost*len(h.rows)
	*h = held{listed: make(map[string]struct{})} // lets go the room: the next bucket may be a quiet one
}
