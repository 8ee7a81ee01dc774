package flow

import (
	"bytes"
	"net/netip"
	"time"
)

// States of a flow, as scripts see them: several at once.
const (
	StateSYN        = 0x002
	StateSYNACK     = 0x004
	StateFIN        = 0x040
	StateRST        = 0x080
	StateTimedOut   = 0x100
	StateTerminated = 0x800
)

// Flow is a conversation: the records of both directions, section 7.4. A is the side of the larger port, the client,
// and Z that of the smaller.
type Flow struct {
	ID
	Start, Last          int64 // Unix seconds
	BytesAZ, BytesZA     uint64
	PacketsAZ, PacketsZA uint64
	State                uint32
	Exported             bool   // by a router; not captured
	Server               uint16 // the port of the application
	ended                int64  // Unix milliseconds; 0 while it goes on
	began, shown         int64  // Unix seconds: when the table took it in, and when Long showed it last
	notes                *notes

	older, newer int32 // in the order of Last
}

// ID is what tells flows apart.
type ID struct {
	A, Z         netip.Addr
	PortA, PortZ uint16
	ICMP         uint16 // type x 256
	Protocol     uint8
	Router       netip.Addr // invalid for captured packets
	In, Out      uint32     // interfaces as A's packets pass them
}

// Type is the letter of the kind: A and B are captured IPv4 and IPv6, C and D exported.
func (id *ID) Type() byte {
	kind := byte('A')
	if !id.A.Is4() {
		kind++
	}
	if id.Router.IsValid() {
		kind += 2
	}
	return kind
}

// AppendKey appends the key, such as 06A:C0.A8.01.02:p-0B94_D1.D8.F9.3A:p-0016.
func (id *ID) AppendKey(dst []byte) []byte {
	dst = append(appendHex(dst, id.Protocol), id.Type(), ':')
	dst = append(AppendAddress(dst, id.A), ':')
	dst = append(appendPort(dst, id.Protocol, id.PortA, id.ICMP), '_')
	dst = append(AppendAddress(dst, id.Z), ':')
	dst = appendPort(dst, id.Protocol, id.PortZ, id.ICMP)
	if id.Router.IsValid() {
		dst = append(AppendAddress(append(dst, '_'), id.Router), '_')
		dst = append(appendIndex(dst, id.In), '_')
		dst = appendIndex(dst, id.Out)
	}
	return dst
}

// identify orients a record. forward reports whether A is its source.
func identify(r *Record, exported bool) (id ID, forward bool) {
	id = ID{A: r.Source, Z: r.Destination, PortA: r.SourcePort, PortZ: r.DestinationPort, Protocol: r.Protocol, In: r.In, Out: r.Out}
	if r.Protocol != protocolTCP && r.Protocol != protocolUDP {
		id.PortA, id.PortZ, id.ICMP = 0, 0, r.ICMP&0xff00
	}
	forward = id.PortA > id.PortZ
	if id.PortA == id.PortZ { // then A is the smaller address, so that both directions have one key
		a, z := id.A.As16(), id.Z.As16()
		forward = bytes.Compare(a[:], z[:]) <= 0
	}
	if !forward {
		id.A, id.Z, id.PortA, id.PortZ, id.In, id.Out = id.Z, id.A, id.PortZ, id.PortA, id.Out, id.In
	}
	if exported {
		id.Router = r.Exporter
	} else {
		id.In, id.Out = 0, 0
	}
	return id, forward
}

// Table knows the flows that go on. It is not for concurrent use.
type Table struct {
	idle    int64 // seconds
	most    int
	flows   []Flow // 0 is not used: it is the end of lists
	free    []int32
	index   map[ID]int32
	oldest  int32
	newest  int32
	onEnd   func(*Flow)
	Pruned  int64 // flows that were ended because there were too many
	Expired int64 // flows that were ended because nothing came for too long

	Created, Hits, Terminated int64 // flows taken in, records of known ones, flows ended by their flags
}

// NewTable returns a table that ends a flow when nothing of it came for idle, or, the one that is idle for longest, when
// there are more than most. onEnd is called once for every flow that ends.
func NewTable(idle time.Duration, most int, onEnd func(*Flow)) *Table {
	return &Table{idle: int64(idle / time.Second), most: most, flows: make([]Flow, 1), index: make(map[ID]int32), onEnd: onEnd}
}

// Len is how many flows are known, with those that have ended and may still be reported.
func (t *Table) Len() int { return len(t.index) }

// Add counts a record and returns its flow, valid until the next call, whether it is new, and whether the record ended it; for such
// a flow onEnd is not called again.
func (t *Table) Add(r *Record, exported bool) (f *Flow, isNew, ended bool) {
	now := r.Time / 1e9
	id, forward := identify(r, exported)
	i, known := t.index[id]
	switch {
	case !known:
		i, isNew = t.insert(id, now), true
	case t.flows[i].ended != 0 && r.Flags&flagSYN != 0 && r.First > t.flows[i].ended:
		t.remove(i) // the same ports again, for another connection
		i, isNew = t.insert(id, now), true
	default:
		t.unlink(i)
		t.link(i)
		t.Hits++
	}
	f = &t.flows[i]
	if isNew {
		f.Server = server(r, exported)
	}
	f.Exported = exported
	f.Last = max(f.Last, now)
	if forward {
		f.BytesAZ += r.Bytes
		f.PacketsAZ += r.Packets
	} else {
		f.BytesZA += r.Bytes
		f.PacketsZA += r.Packets
	}
	if r.Protocol == protocolTCP {
		f.State |= stateOf(r.Flags)
		if r.Flags&(flagFIN|flagRST) != 0 && f.ended == 0 {
			f.ended, ended = max(1, r.Last, r.Time/1e6), true
			f.State |= StateTerminated
			t.Terminated++
		}
	}
	return f, isNew, ended
}

// server is the port of the application (section 7.3): the lower one; of captured packets that of the side that did not begin the connection, when that is seen.
func server(r *Record, exported bool) uint16 {
	if !exported && r.Protocol == protocolTCP && r.Flags&flagSYN != 0 {
		if r.Flags&flagACK != 0 {
			return r.SourcePort
		}
		return r.DestinationPort
	}
	return min(r.SourcePort, r.DestinationPort)
}

// Flags of TCP.
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

func stateOf(flags uint8) (state uint32) {
	if flags&flagSYN != 0 {
		state |= StateSYN
		if flags&flagACK != 0 {
			state |= StateSYNACK
		}
	}
	if flags&flagFIN != 0 {
		state |= StateFIN
	}
	if flags&flagRST != 0 {
		state |= StateRST
	}
	return state
}

// Expire ends the flows of which nothing has come for too long. Call it every second; now is in Unix seconds.
func (t *Table) Expire(now int64) {
	for t.oldest != 0 && t.flows[t.oldest].Last+t.idle <= now {
		if t.flows[t.oldest].ended == 0 {
			t.Expired++
		}
		t.remove(t.oldest)
	}
}

func (t *Table) insert(id ID, now int64) int32 {
	if len(t.index) >= t.most {
		if t.flows[t.oldest].ended == 0 {
			t.Pruned++
		}
		t.remove(t.oldest)
	}
	var i int32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = int32(len(t.flows))
		t.flows = append(t.flows, Flow{})
	}
	t.flows[i] = Flow{ID: id, Start: now, Last: now, began: now}
	t.Created++
	t.index[id] = i
	t.link(i)
	return i
}

// remove forgets a flow, and ends it first when it goes on.
func (t *Table) remove(i int32) {
	f := &t.flows[i]
	if f.ended == 0 {
		f.State |= StateTimedOut
		t.onEnd(f)
	}
	t.unlink(i)
	delete(t.index, f.ID)
	t.flows[i] = Flow{}
	t.free = append(t.free, i)
}

// link makes a flow the newest.
func (t *Table) link(i int32) {
	t.flows[i].older, t.flows[i].newer = t.newest, 0
	if t.newest != 0 {
		t.flows[t.newest].newer = i
	} else {
		t.oldest = i
	}
	t.newest = i
}

func (t *Table) unlink(i int32) {
	f := &t.flows[i]
	if f.older != 0 {
		t.flows[f.older].newer = f.newer
	} else {
		t.oldest = f.newer
	}
	if f.newer != 0 {
		t.flows[f.newer].older = f.older
	} else {
		t.newest = f.older
	}
}
