package broker

import (
	"encoding/binary"

	"github.com/weirhq/weir/internal/event"
)

// statuses keep the last status of each host or of each service. They are most of what comes, for any
// object and in no order, and few are ever asked for. So a status is put behind the one that came before
// it, whosever that was, and a table knows where the last one of each object is: memory is written in its order,
// and of all that an installation takes only one line is looked for.
type statuses struct {
	of       func(e *event.Event) pair // the object a status is about
	table    []place                   // at most three quarters of it are taken; the size is a power of 2
	taken    int                       // also by objects that are gone
	known    int                       // objects
	segments []segment                 // by number; number 0 is none
	order    []uint32                  // numbers of the segments in use, the oldest first
	open     uint32                    // number of the one that is written, 0 for none
	free     []uint32                  // numbers of the others
	spare    [][]byte                  // segments to use again
	size     int                       // bytes of the segments in use
	last     int                       // bytes in them that are the last status of an object
	moving   event.Event               // by clear
	expected []uint32                  // by Expect: indexes of places
	seen     uint32                    // what it did, so that it is not left out as useless
}

// segment is a piece of memory with records: a head and the payload of a status.
type segment struct {
	data []byte
	last int // records that are the last status of an object
}

// place is what the table knows of an object.
type place struct {
	id      pair
	segment uint32 // number, 0 without a status
	offset  uint32
	size    uint32 // of the record
	state   uint32
}

// States of a place. One that is taken stays so, for what is found behind it.
const (
	isTaken   = 1 << iota
	isKnown   // the object is not gone
	isAdapted // it has adaptations, which a status may change
)

const (
	segmentSize = 64 << 10
	large       = segmentSize / 4 // bytes of a record that gets a segment of its own
	statusHead  = 8               // u32 type, u32 size of the payload
	outdated    = 1 << 20         // bytes of statuses that are not the last ones, besides half of what are
	maxSpare    = 16
)

// find returns the place of an object that is known, else nil. It holds until the next add.
func (s *statuses) find(id pair) *place {
	if len(s.table) == 0 {
		return nil
	}
	if p := s.look(id); p.state&isKnown != 0 {
		return p
	}
	return nil
}

// first is the index of the place where an object is looked for first.
func (s *statuses) first(id pair) uint64 {
	h := (id.host*0x9e3779b97f4a7c15 + id.service) * 0xbf58476d1ce4e5b9
	return (h ^ h>>32) & uint64(len(s.table)-1)
}

// look returns the place of an object, or the one it would take.
func (s *statuses) look(id pair) *place {
	mask := uint64(len(s.table) - 1)
	for i := s.first(id); ; i = (i + 1) & mask {
		if p := &s.table[i]; p.id == id && p.state != 0 || p.state == 0 {
			return p
		}
	}
}

// add makes an object known, without a status and without adaptations.
func (s *statuses) add(id pair) {
	if 4*(s.taken+1) > 3*len(s.table) {
		s.grow()
	}
	p := s.look(id)
	switch {
	case p.state == 0:
		s.taken++
		s.known++
	case p.state&isKnown == 0:
		s.known++
	}
	s.drop(p)
	p.id, p.state = id, isTaken|isKnown
}

// grow makes room in the table, and forgets objects that are gone.
func (s *statuses) grow() {
	size := 64
	for size < 2*(s.known+1) {
		size *= 2
	}
	before := s.table
	s.table, s.taken = make([]place, size), s.known
	for i := range before {
		if before[i].state&isKnown != 0 {
			*s.look(before[i].id) = before[i]
		}
	}
}

// remove makes an object unknown.
func (s *statuses) remove(id pair) {
	if p := s.find(id); p != nil {
		s.drop(p)
		p.state = isTaken
		s.known--
	}
}

// drop forgets the status at a place.
func (s *statuses) drop(p *place) {
	if p.segment != 0 {
		s.segments[p.segment].last--
		s.last -= int(p.size)
		p.segment, p.offset, p.size = 0, 0, 0
	}
}

// put makes a status the last one at a place.
func (s *statuses) put(p *place, e *event.Event) {
	s.drop(p)
	s.write(p, e)
	for s.size > s.last+s.last/2+outdated { // less than a third of full segments is at their ends: this comes to an end
		s.clear()
	}
}

// write puts a status behind all others.
func (s *statuses) write(p *place, e *event.Event) {
	size := statusHead + len(e.Payload)
	number := s.room(size)
	to := &s.segments[number]
	p.segment, p.offset, p.size = number, uint32(len(to.data)), uint32(size)
	to.data = binary.NativeEndian.AppendUint32(to.data, uint32(e.Type))
	to.data = binary.NativeEndian.AppendUint32(to.data, uint32(len(e.Payload)))
	to.data = append(to.data, e.Payload...)
	to.last++
	s.last += size
}

// room returns the number of a segment that has room for size bytes.
func (s *statuses) room(size int) (number uint32) {
	if size <= large && s.open != 0 {
		if data := s.segments[s.open].data; cap(data)-len(data) >= size {
			return s.open
		}
	}
	if n := len(s.free); n > 0 {
		number, s.free = s.free[n-1], s.free[:n-1]
	} else {
		if len(s.segments) == 0 {
			s.segments = append(s.segments, segment{})
		}
		number = uint32(len(s.segments))
		s.segments = append(s.segments, segment{})
	}
	to := &s.segments[number]
	n := len(s.spare)
	switch {
	case size > large:
		to.data = make([]byte, 0, size)
	case n > 0:
		to.data, s.spare, s.open = s.spare[n-1], s.spare[:n-1], number
	default:
		to.data, s.open = make([]byte, 0, segmentSize), number
	}
	s.order = append(s.order, number)
	s.size += cap(to.data)
	return number
}

// clear frees the oldest segment; what is the last status of an object moves behind all others.
func (s *statuses) clear() {
	number := s.order[0]
	if number == s.open {
		s.open = 0
	}
	data := s.segments[number].data
	for at := 0; s.segments[number].last > 0; at += statusHead + len(s.moving.Payload) {
		s.moving = s.read(data[at:])
		if p := s.find(s.of(&s.moving)); p != nil && p.segment == number && p.offset == uint32(at) {
			s.drop(p)
			s.write(p, &s.moving)
		}
	}
	s.order = s.order[1:]
	s.free = append(s.free, number)
	s.segments[number] = segment{}
	s.size -= cap(data)
	if cap(data) == segmentSize && len(s.spare) < maxSpare {
		s.spare = append(s.spare, data[:0])
	}
}

// read returns the status a record begins with.
func (s *statuses) read(record []byte) event.Event {
	size := binary.NativeEndian.Uint32(record[4:])
	return event.Event{Type: event.Type(binary.NativeEndian.Uint32(record)), Payload: record[statusHead : statusHead+size : statusHead+size]}
}

// Expect says that events are about to be given to Update one by one. It looks at the places of the services
// whose statuses are among them, all of them at once: in a large installation each is in memory
// that the processor has to wait for, and waiting for many together takes little longer than for one.
func (c *Cache) Expect(events []event.Event) {
	s := &c.ofServices
	if len(s.table) == 0 {
		return
	}
	s.expected = s.expected[:0]
	for i := range events {
		if e := &events[i]; e.Type == pbServiceStatus || e.Type == legacyServiceStatus {
			s.expected = append(s.expected, uint32(s.first(serviceOf(e))))
		}
	}
	var seen uint32
	for _, i := range s.expected {
		seen += s.table[i].state
	}
	s.seen = seen
}

// get returns the last status of an object, without a payload when there is none. It holds until the next put.
func (s *statuses) get(id pair) event.Event {
	p := s.find(id)
	if p == nil || p.segment == 0 {
		return event.Event{}
	}
	return s.read(s.segments[p.segment].data[p.offset:])
}
