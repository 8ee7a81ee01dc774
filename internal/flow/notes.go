package flow

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/countergroup"
)

// What a flow may carry of scripts, so that none fills memory.
const (
	MaxTags       = 63 // bytes of all tags of a flow, with what separates them
	maxAttributes = 16
	maxAttribute  = 256 // bytes of a name and of a value
	maxCounters   = 16
)

// Why something is not noted on a flow.
var (
	ErrNoFlow = errors.New("no flow with this key goes on")
	ErrFull   = errors.New("the flow has as much of this as it may have")
)

// notes are what scripts have put on a flow. Few flows have any.
type notes struct {
	tags       string // separated by |
	attributes []Attribute
	counters   []counter
}

// Attribute is a name and a value that a script gave a flow.
type Attribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// counter is a counter that the records of a flow update, besides those of the built-in groups.
type counter struct {
	group     *countergroup.Group
	key       []byte
	meter     int
	direction int
}

// Which records of a flow a counter is updated by.
const (
	DirectionBoth = 0
	DirectionOut  = 1 // from A to Z
	DirectionIn   = 2 // from Z to A
)

// Tags are the tags of a flow, separated by |.
func (f *Flow) Tags() string {
	if f.notes == nil {
		return ""
	}
	return f.notes.tags
}

// Attributes are those of a flow, in the order in which they were given. They must not be changed.
func (f *Flow) Attributes() []Attribute {
	if f.notes == nil {
		return nil
	}
	return f.notes.attributes
}

// Forward reports whether a record of the flow is from A to Z.
func (f *Flow) Forward(r *Record) bool {
	return f.A == r.Source && (f.A != f.Z || f.PortA == r.SourcePort || f.PortA == 0)
}

// find calls change with the flow of a key and its notes.
func (m *Meter) find(key string, change func(*Flow, *notes) error) error {
	id, ok := ParseKey(key)
	if !ok {
		return ErrNoFlow
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.table.index[id]
	if !ok {
		return ErrNoFlow
	}
	f := &m.table.flows[i]
	n := new(notes) // a new one each time: copies of the flow keep what they have
	if f.notes != nil {
		*n = *f.notes
	}
	if err := change(f, n); err != nil {
		return err
	}
	f.notes = n
	return nil
}

// Tag adds a tag to a flow, unless it has it. A tag for which there is no room is left out with ErrFull. Any goroutine, as the methods that follow.
func (m *Meter) Tag(key, tag string) error {
	return m.find(key, func(_ *Flow, n *notes) error {
		switch {
		case tag == "" || strings.Contains("|"+n.tags+"|", "|"+tag+"|"):
			return nil
		case n.tags == "" && len(tag) <= MaxTags:
			n.tags = tag
		case n.tags != "" && len(n.tags)+1+len(tag) <= MaxTags:
			n.tags += "|" + tag
		default:
			return ErrFull
		}
		return nil
	})
}

// SetAttribute gives a flow an attribute, in place of one with the same name.
func (m *Meter) SetAttribute(key, name, value string) error {
	return m.find(key, func(_ *Flow, n *notes) error {
		if len(name) > maxAttribute || len(value) > maxAttribute {
			return ErrFull
		}
		var all []Attribute
		for _, a := range n.attributes {
			if a.Name != name {
				all = append(all, a)
			}
		}
		if len(all) >= maxAttributes {
			return ErrFull
		}
		n.attributes = append(all, Attribute{name, value})
		return nil
	})
}

// AddCounter has later records of a flow add their bytes to a meter of a key, those of a direction only.
func (m *Meter) AddCounter(key string, g *countergroup.Group, of []byte, meter, direction int) error {
	return m.find(key, func(_ *Flow, n *notes) error {
		if len(n.counters) >= maxCounters {
			return ErrFull
		}
		all := append([]counter(nil), n.counters...)
		n.counters = append(all, counter{g, append([]byte(nil), of...), meter, direction})
		return nil
	})
}

// ResetCounters takes the counters of a group off a flow.
func (m *Meter) ResetCounters(key string, g *countergroup.Group) error {
	return m.find(key, func(_ *Flow, n *notes) error {
		var others []counter
		for _, c := range n.counters {
			if c.group != g {
				others = append(others, c)
			}
		}
		n.counters = others
		return nil
	})
}

// Add adds to one of a flow's own meters: 0 bytes from A to Z, 1 from Z to A, 2 packets from A to Z, 3 from Z to A. It reports whether
// there is such a meter; values below 1 add nothing.
func (m *Meter) Add(key string, meter int, value float64) (known bool, err error) {
	if meter < 0 || meter > 3 {
		return false, nil
	}
	return true, m.find(key, func(f *Flow, _ *notes) error {
		if value >= 1 && value < 1<<62 {
			*[]*uint64{&f.BytesAZ, &f.BytesZA, &f.PacketsAZ, &f.PacketsZA}[meter] += uint64(value)
		}
		return nil
	})
}

// SetDuration sets when a flow began, by how many seconds before its last record that was.
func (m *Meter) SetDuration(key string, seconds float64) error {
	return m.find(key, func(f *Flow, _ *notes) error {
		if seconds >= 0 && seconds < float64(f.Last) {
			f.Start = f.Last - int64(seconds)
		}
		return nil
	})
}

// Long calls f for the flows that go on and were neither begun nor shown by Long for age seconds. f must not keep what it is given.
func (m *Meter) Long(now, age int64, f func(*Flow)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := m.table.oldest; i != 0; i = m.table.flows[i].newer {
		one := &m.table.flows[i]
		if one.ended == 0 && max(one.shown, one.began) <= now-age {
			one.shown = now
			f(one)
		}
	}
}

// Figures are how the table of flows fares. Counts are since the start.
type Figures struct {
	Flows           int // known
	New, Hits       int64
	Terminated      int64 // by their flags
	Expired, Pruned int64
}

// Figures returns the figures of the table. Any goroutine.
func (m *Meter) Figures() Figures {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.table
	return Figures{Flows: t.Len(), New: t.Created, Hits: t.Hits, Terminated: t.Terminated, Expired: t.Expired, Pruned: t.Pruned}
}

// counted adds a record's bytes to the counters of its flow.
func (m *Meter) counted(f *Flow, r *Record, b float64) {
	forward := f.Forward(r)
	for i := range f.notes.counters {
		if c := &f.notes.counters[i]; c.direction == DirectionBoth || forward == (c.direction == DirectionOut) {
			m.batch.Add(c.group, c.key, c.meter, b)
		}
	}
}

// ParseKey takes the key of a flow apart, as AppendKey makes it.
func ParseKey(key string) (id ID, ok bool) {
	head, rest, _ := strings.Cut(key, ":")
	parts := strings.Split(rest, "_")
	if len(head) != 3 || len(parts) != 2 && len(parts) != 5 {
		return ID{}, false
	}
	protocol, err := strconv.ParseUint(head[:2], 16, 8)
	if err != nil {
		return ID{}, false
	}
	id.Protocol = uint8(protocol)
	var icmp uint16
	a, portA, okA := strings.Cut(parts[0], ":")
	z, portZ, okZ := strings.Cut(parts[1], ":")
	if !okA || !okZ {
		return ID{}, false
	}
	id.A, okA = parseAddress(a)
	id.Z, okZ = parseAddress(z)
	if !okA || !okZ {
		return ID{}, false
	}
	if id.PortA, icmp, ok = parsePort(portA); !ok {
		return ID{}, false
	}
	if id.PortZ, _, ok = parsePort(portZ); !ok {
		return ID{}, false
	}
	id.ICMP = icmp
	if len(parts) == 5 {
		in, errIn := strconv.ParseUint(parts[3], 16, 32)
		out, errOut := strconv.ParseUint(parts[4], 16, 32)
		if id.Router, ok = parseAddress(parts[2]); !ok || errIn != nil || errOut != nil {
			return ID{}, false
		}
		id.In, id.Out = uint32(in), uint32(out)
	}
	return id, head[2] == id.Type()
}

func parseAddress(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ".", ""))
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(b)
}

// parsePort reads a port, or what stands for it where the protocol has none: of those only ICMP's type says anything.
func parsePort(s string) (port, icmp uint16, ok bool) {
	if digits, found := strings.CutPrefix(s, "p-"); found {
		n, err := strconv.ParseUint(digits, 16, 16)
		return uint16(n), 0, err == nil
	}
	if digits, found := strings.CutPrefix(s, "icmp"); found {
		n, err := strconv.ParseUint(digits, 16, 8)
		return 0, uint16(n) << 8, err == nil
	}
	return 0, 0, s != ""
}
