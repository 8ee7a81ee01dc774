package netflow

import (
	"net/netip"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/telemetry"
)

const (
	maxRows      = 1 << 16            // in all exporters, before they are added to the windows
	maxExporters = 4096               // known ones; more are not noted, but for those that are watched
	exporterAge  = 5 * 24 * time.Hour // after which one that is silent is unknown again
)

// address is one of IPv6, or of IPv4 mapped to it.
type address [16]byte

func (a address) String() string { return netip.AddrFrom16(a).Unmap().String() }

// row is what summaries see of a record.
type row struct {
	source, destination address
	ifindex             uint32 // where it came in, for egress where it went out; 0 is unknown
	port                uint16 // destination
	protocol            uint8
	direction           uint8
}

// Directions.
const (
	ingress = iota
	egress
)

// summary is a direction of an exporter in a window.
type summary struct {
	bytes      uint64
	interfaces table[uint32]
	ips        table[onInterface[address]] // sources of ingress, destinations of egress
	protocols  table[onInterface[uint8]]
	pairs      table[pair]
	ports      table[uint16]
}

// Fields of keys are exported for the file.

type onInterface[K comparable] struct {
	Of      K
	Ifindex uint32
}

type pair struct{ Source, Destination address }

func (s *summary) add(r *row, bytes uint64) {
	s.bytes += bytes
	s.interfaces.add(r.ifindex, bytes)
	ip := r.source
	if r.direction == egress {
		ip = r.destination
	}
	s.ips.add(onInterface[address]{ip, r.ifindex}, bytes)
	s.protocols.add(onInterface[uint8]{r.protocol, r.ifindex}, bytes)
	s.pairs.add(pair{r.source, r.destination}, bytes)
	s.ports.add(r.port, bytes)
}

func (s *summary) merge(other *summary) {
	s.bytes += other.bytes
	s.interfaces.merge(&other.interfaces)
	s.ips.merge(&other.ips)
	s.protocols.merge(&other.protocols)
	s.pairs.merge(&other.pairs)
	s.ports.merge(&other.ports)
}

// forgotten is how many keys did not find room.
func (s *summary) forgotten() int {
	return s.interfaces.forgotten + s.ips.forgotten + s.protocols.forgotten + s.pairs.forgotten + s.ports.forgotten
}

// summaries are those of an exporter, by direction.
type summaries [2]summary

// content is what a window holds, by exporter.
type content map[netip.Addr]*summaries

func (c content) of(exporter netip.Addr) *summaries {
	if c[exporter] == nil {
		c[exporter] = new(summaries)
	}
	return c[exporter]
}

// windowID tells windows from each other.
type windowID struct {
	account int64
	label   string
}

// window is what came since the last run of a job.
type window struct {
	content content
	begun   bool   // there was a run
	mark    uint64 // how many records there had been then
}

// exporter is one that sends records.
type exporter struct {
	last    int64 // when one came, Unix nanoseconds; 0 for never
	watched bool
	rows    map[row]uint64 // bytes, of one that is watched
}

// Flows adds flow records up. Its methods may be called from any goroutine.
type Flows struct {
	ledger    *telemetry.Ledger
	unwatched *telemetry.Discard

	mu        sync.Mutex // nothing that takes long holds it
	exporters map[netip.Addr]*exporter
	rows      int    // of all of them
	records   uint64 // so far, of all exporters

	merging   sync.Mutex // before mu
	accounts  map[int64][]netip.Addr
	windows   map[windowID]*window
	forgotten int           // keys that tables of windows had no room for
	kept      uint64        // records that are in the file
	changed   bool          // there is something to keep, though no record came
	unseen    time.Duration // from the last time the file was written to the start
}

// NewFlows returns Flows that watch nothing yet.
func NewFlows(reg *telemetry.Registry) *Flows {
	f := &Flows{exporters: make(map[netip.Addr]*exporter), windows: make(map[windowID]*window), ledger: reg.Ledger("flow.summaries", "records")}
	f.unwatched = f.ledger.Reason("unwatched")
	reg.Counter("weir_netflow_bot_forgotten_keys_total", "Addresses, pairs of them and interfaces that summaries of flows had no room for; they are missing from rankings, never from sums.", func() float64 {
		f.merging.Lock()
		defer f.merging.Unlock()
		return float64(f.forgotten)
	})
	reg.Gauge("weir_netflow_bot_kept_records", "Flow records up to which the windows of summaries are on disk, since they began.", func() float64 {
		f.merging.Lock()
		defer f.merging.Unlock()
		return float64(f.kept)
	})
	reg.Gauge("weir_netflow_bot_unseen_seconds", "Time before the start whose flow records are in no window, since they came after these were last kept.", func() float64 {
		f.merging.Lock()
		defer f.merging.Unlock()
		return f.unseen.Seconds()
	})
	return f
}

// Take adds records of a datagram. It keeps nothing of them.
func (f *Flows) Take(records []flow.Record) {
	f.ledger.Received(len(records))
	if f.take(records) {
		f.merge()
	}
}

func (f *Flows) take(records []flow.Record) (full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var from netip.Addr
	var of *exporter
	counted := 0
	for i := range records {
		r := &records[i]
		if of == nil || r.Exporter != from {
			from = r.Exporter
			if of = f.exporters[from]; of == nil {
				of = new(exporter)
				if len(f.exporters) < maxExporters {
					f.exporters[from] = of
				}
			}
		}
		of.last = r.Time
		if !of.watched {
			continue
		}
		key := row{source: r.Source.As16(), destination: r.Destination.As16(), port: r.DestinationPort, protocol: r.Protocol, ifindex: r.In}
		if r.Egress {
			key.direction, key.ifindex = egress, r.Out
		}
		before := len(of.rows)
		of.rows[key] += r.Bytes
		f.rows += len(of.rows) - before
		counted++
	}
	f.records += uint64(len(records))
	f.ledger.Passed(counted)
	f.unwatched.Add(len(records) - counted)
	return f.rows >= maxRows
}

// watch says which exporters are summarised for which account. Windows of other accounts go.
func (f *Flows) watch(accounts map[int64][]netip.Addr) {
	f.merge() // what came so far is for those that watched
	f.merging.Lock()
	defer f.merging.Unlock()
	f.accounts = accounts
	for id := range f.windows {
		if accounts[id.account] == nil {
			delete(f.windows, id)
		}
	}
	for account := range accounts {
		for _, l := range labels {
			if id := (windowID{account, l.name}); f.windows[id] == nil {
				f.windows[id] = &window{content: make(content)}
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.exporters {
		e.watched = false
	}
	for _, all := range accounts {
		for _, at := range all {
			if f.exporters[at] == nil {
				f.exporters[at] = new(exporter)
			}
			f.exporters[at].watched = true
		}
	}
	for _, e := range f.exporters {
		switch {
		case !e.watched:
			f.rows -= len(e.rows)
			e.rows = nil
		case e.rows == nil:
			e.rows = make(map[row]uint64)
		}
	}
}

// merge adds the rows to the windows and returns how many records there were so far.
func (f *Flows) merge() uint64 {
	f.merging.Lock()
	defer f.merging.Unlock()
	return f.mergeLocked()
}

func (f *Flows) mergeLocked() uint64 {
	f.mu.Lock()
	taken := make(map[netip.Addr]map[row]uint64)
	for at, e := range f.exporters {
		if len(e.rows) > 0 {
			taken[at] = e.rows
			e.rows = make(map[row]uint64)
		}
	}
	f.rows = 0
	records := f.records
	f.mu.Unlock()
	for account, exporters := range f.accounts {
		for _, at := range exporters {
			for _, l := range labels {
				w := f.windows[windowID{account, l.name}]
				of := w.content.of(at)
				before := of[ingress].forgotten() + of[egress].forgotten()
				for key, bytes := range taken[at] {
					of[key.direction].add(&key, bytes)
				}
				f.forgotten += of[ingress].forgotten() + of[egress].forgotten() - before
			}
		}
	}
	return records
}

// since takes out what came since the last run; nil when there was none, or when nothing came
// from anybody. Records that come later are in the next window.
func (f *Flows) since(id windowID) content {
	f.merging.Lock()
	defer f.merging.Unlock()
	records := f.mergeLocked()
	w := f.windows[id]
	if w == nil || w.mark == records {
		return nil
	}
	taken, first := w.content, !w.begun
	w.content, w.begun, w.mark = make(content), true, records
	f.changed = true
	if first {
		return nil // nobody knows how long it was
	}
	return taken
}

// restore puts back what since took out and nobody got.
func (f *Flows) restore(id windowID, taken content) {
	f.merging.Lock()
	defer f.merging.Unlock()
	w := f.windows[id]
	if w == nil {
		return
	}
	for at, of := range taken {
		into := w.content.of(at)
		for direction := range of {
			into[direction].merge(&of[direction])
		}
	}
	w.mark = 0 // there is something to send
	f.changed = true
}

// forget removes exporters that were silent for long.
func (f *Flows) forget(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at, e := range f.exporters {
		if !e.watched && now.Sub(time.Unix(0, e.last)) > exporterAge {
			delete(f.exporters, at)
		}
	}
}

// known are the exporters that sent something.
func (f *Flows) known() []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []netip.Addr
	for at, e := range f.exporters {
		if e.last != 0 {
			all = append(all, at)
		}
	}
	return all
}
