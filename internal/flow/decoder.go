package flow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// Decoder makes records of datagrams. It remembers templates, sampling rates and sequence numbers for each
// exporter and domain, within bounds, and holds data that arrive before their template for up to five minutes.
// It is not for concurrent use.
type Decoder struct {
	exporters map[exporterKey]*exporter
	heldBytes int
	heldSets  int64

	records []Record // of the datagram, used again
	varied  []op
	fields  fields
	changed bool // templates or rates, since Save

	sampling Sampling
	problems *telemetry.Limited

	datagrams     *telemetry.Ledger // "flow.datagrams"
	malformed     *telemetry.Discard
	unknown       *telemetry.Discard
	sets          *telemetry.Ledger // "flow.held": sets that came before their template
	heldTooLong   *telemetry.Discard
	heldTooMuch   *telemetry.Discard
	heldMalformed *telemetry.Discard

	// Lost counts what exporters sent and never arrived, by their sequence numbers: records of
	// NetFlow v5 and IPFIX, datagrams of NetFlow v9.
	Lost int64
	// Refused counts templates that were not kept: malformed, or too many of one exporter.
	Refused int64
}

// NewDecoder returns a decoder that accounts for datagrams in reg.
func NewDecoder(sampling Sampling, reg *telemetry.Registry, log *slog.Logger) *Decoder {
	d := &Decoder{
		sampling: sampling, exporters: make(map[exporterKey]*exporter), problems: telemetry.NewLimited(log, time.Minute, 5),
		datagrams: reg.Ledger("flow.datagrams", "datagrams"), sets: reg.Ledger("flow.held", "sets"),
	}
	d.malformed, d.unknown = d.datagrams.Reason("malformed"), d.datagrams.Reason("unknown_version")
	d.heldTooLong, d.heldTooMuch, d.heldMalformed = d.sets.Reason("no_template_in_time"), d.sets.Reason("too_many_held"), d.sets.Reason("malformed")
	return d
}

var (
	errHeader = errors.New("it is shorter than its header")
	errSet    = errors.New("a set is longer than the datagram or shorter than its header")
	errCount  = errors.New("it holds fewer records than it says")
)

// Decode returns the records of a datagram that came from an address at a time. They are valid until the
// next call. What is malformed is counted and logged; records before it are returned.
func (d *Decoder) Decode(datagram []byte, from netip.Addr, at time.Time) []Record {
	from = from.Unmap()
	d.records = d.records[:0]
	d.datagrams.Received(1)
	var err error
	switch version := versionOf(datagram); version {
	case 5:
		err = d.version5(datagram, from, at)
	case 9, 10:
		err = d.templated(datagram, version, from, at)
	case versionSFlow:
		err = d.sflow(datagram, at)
	default:
		d.unknown.Add(1)
		d.problems.Warn("cannot decode a datagram: it is neither NetFlow v5 or v9 nor IPFIX nor sFlow v5", "exporter", from, "begins", fmt.Sprintf("%x", datagram[:min(8, len(datagram))]))
		return nil
	}
	if err != nil {
		d.malformed.Add(1)
		d.problems.Warn("cannot decode a datagram: "+err.Error(), "exporter", from, "bytes", len(datagram), "records before it", len(d.records))
	} else {
		d.datagrams.Passed(1)
	}
	if n := len(d.records); n > 0 {
		share := float64(len(datagram)) / float64(n)
		for i := range d.records {
			d.records[i].ExportBytes = share
		}
	}
	return d.records
}

// versionSFlow stands for sFlow v5, whose version has 32 bits.
const versionSFlow = 0xffff

func versionOf(datagram []byte) uint16 {
	if len(datagram) < 4 {
		return 0
	}
	if binary.BigEndian.Uint32(datagram) == 5 {
		return versionSFlow
	}
	return binary.BigEndian.Uint16(datagram)
}

// exporter finds or makes what is known of one. When there are too many, the one not heard for longest is forgotten.
func (d *Decoder) exporter(key exporterKey, at time.Time) *exporter {
	e := d.exporters[key]
	if e == nil {
		if len(d.exporters) >= maxExporters {
			d.forget()
		}
		e = d.newExporter(key)
		d.exporters[key] = e
	}
	e.used = at.UnixNano()
	return e
}

func (d *Decoder) newExporter(key exporterKey) *exporter {
	return &exporter{key: key, forced: d.sampling.Forced[key.address], fallback: d.sampling.Fallback,
		templates: make(map[uint16]*Template), rates: make(map[uint64]uint32), held: make(map[uint16][]heldSet)}
}

// forget drops the exporter not heard for longest, with its templates and what waits for them.
func (d *Decoder) forget() {
	var oldest *exporter
	for _, e := range d.exporters {
		if oldest == nil || e.used < oldest.used {
			oldest = e
		}
	}
	for _, waiting := range oldest.held {
		for _, set := range waiting {
			d.letGo(oldest, set)
			d.heldTooMuch.Add(1)
		}
	}
	delete(d.exporters, oldest.key)
	d.problems.Warn("there are too many exporters and domains of NetFlow; the one not heard for longest is forgotten", "exporter", oldest.key.address, "domain", oldest.key.domain, "limit", maxExporters)
}

// count follows the sequence numbers: units is how many this datagram counts for.
func (d *Decoder) count(e *exporter, sequence, units uint32) {
	if gap := sequence - e.next; e.sequence && gap < 1<<20 { // else it restarted, or came late
		d.Lost += int64(gap)
	}
	e.next, e.sequence = sequence+units, true
}

// version5 decodes NetFlow v5: a header of 24 bytes and records of 48.
func (d *Decoder) version5(b []byte, from netip.Addr, at time.Time) error {
	if len(b) < 24 {
		return errHeader
	}
	e := d.exporter(exporterKey{from, uint32(b[20])<<8 | uint32(b[21]), 5}, at)
	n := int(binary.BigEndian.Uint16(b[2:]))
	d.count(e, binary.BigEndian.Uint32(b[16:]), uint32(n))
	head := header{exporter: from, at: at.UnixNano(), uptime: int64(binary.BigEndian.Uint32(b[4:])),
		clock: int64(binary.BigEndian.Uint32(b[8:]))*1000 + int64(binary.BigEndian.Uint32(b[12:]))/1e6}
	rate := e.sampling(uint32(binary.BigEndian.Uint16(b[22:])&0x3fff), 0, false)
	for b = b[24:]; n > 0; n-- {
		if len(b) < 48 {
			return errCount
		}
		r := d.add(&head)
		r.Source, r.Destination, r.NextHop = address4(b), address4(b[4:8]), address4(b[8:12])
		r.In, r.Out, r.HasIn, r.HasOut = uint32(binary.BigEndian.Uint16(b[12:])), uint32(binary.BigEndian.Uint16(b[14:])), true, true
		r.Packets, r.Bytes = uint64(binary.BigEndian.Uint32(b[16:])), uint64(binary.BigEndian.Uint32(b[20:]))
		r.First, r.Last = head.uptimeTime(binary.BigEndian.Uint32(b[24:])), head.uptimeTime(binary.BigEndian.Uint32(b[28:]))
		r.SourcePort, r.DestinationPort = binary.BigEndian.Uint16(b[32:]), binary.BigEndian.Uint16(b[34:])
		r.Flags, r.Protocol, r.TOS = b[37], b[38], b[39]
		r.SourceAS, r.DestinationAS = uint32(binary.BigEndian.Uint16(b[40:])), uint32(binary.BigEndian.Uint16(b[42:]))
		if r.Protocol == protocolICMP {
			r.ICMP = r.DestinationPort
		}
		r.sampled(rate)
		b = b[48:]
	}
	return nil
}

// add appends an empty record of a datagram.
func (d *Decoder) add(head *header) *Record {
	d.records = append(d.records, Record{Exporter: head.exporter, Time: head.at})
	return &d.records[len(d.records)-1]
}

// sampled multiplies what was counted by the sampling rate.
func (r *Record) sampled(rate uint32) {
	r.Rate = rate
	r.Bytes *= uint64(r.Rate)
	r.Packets *= uint64(r.Rate)
}

// templated decodes NetFlow v9 and IPFIX: sets of templates and of data.
func (d *Decoder) templated(b []byte, version uint16, from netip.Addr, at time.Time) error {
	ipfix := version == 10
	head := header{exporter: from, at: at.UnixNano(), uptime: -1}
	var sequence, domain uint32
	if ipfix {
		if len(b) < 16 {
			return errHeader
		}
		length := int(binary.BigEndian.Uint16(b[2:]))
		if length < 16 || length > len(b) {
			return errSet
		}
		head.clock = int64(binary.BigEndian.Uint32(b[4:])) * 1000
		sequence, domain = binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
		b = b[16:length]
	} else {
		if len(b) < 20 {
			return errHeader
		}
		head.uptime, head.clock = int64(binary.BigEndian.Uint32(b[4:])), int64(binary.BigEndian.Uint32(b[8:]))*1000
		sequence, domain = binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:])
		b = b[20:]
	}
	e := d.exporter(exporterKey{from, domain, version}, at)
	var err error
	data := uint32(0) // records, for the sequence of IPFIX
	for len(b) >= 4 && err == nil {
		id, length := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if length < 4 || length > len(b) {
			err = errSet
			break
		}
		body := b[4:length]
		b = b[length:]
		switch {
		case id == 0 && !ipfix || id == 2 && ipfix:
			err = d.templates(e, body, ipfix, false)
		case id == 1 && !ipfix || id == 3 && ipfix:
			err = d.templates(e, body, ipfix, true)
		case id >= 256:
			t := e.templates[id]
			if t == nil {
				d.hold(e, id, body, head)
				continue
			}
			data += uint32(d.data(e, t, body, &head))
		}
	}
	if ipfix {
		d.count(e, sequence, data)
	} else {
		d.count(e, sequence, 1)
	}
	return err
}

// templates takes in a set of templates, and the data that waited for them.
func (d *Decoder) templates(e *exporter, body []byte, ipfix, options bool) error {
	err := parseTemplates(body, ipfix, options, func(t *Template) error {
		known := e.templates[t.ID]
		if known == nil && len(e.templates) >= maxTemplates {
			d.Refused++
			d.problems.Warn("template dropped: the exporter has too many", "exporter", e.key.address, "domain", e.key.domain, "template", t.ID, "limit", maxTemplates)
			return nil
		}
		if known != nil && known.same(t) {
			return nil
		}
		e.templates[t.ID] = t
		d.changed = true
		d.release(e, t)
		return nil
	})
	if err != nil {
		d.Refused++
	}
	return err
}

// same reports whether two templates are laid out alike.
func (t *Template) same(other *Template) bool {
	if t.options != other.options || t.Scopes != other.Scopes || len(t.Fields) != len(other.Fields) {
		return false
	}
	for i, f := range t.Fields {
		if f != other.Fields[i] {
			return false
		}
	}
	return true
}

// hold keeps a set of data until its template comes.
func (d *Decoder) hold(e *exporter, id uint16, body []byte, head header) {
	d.sets.Received(1)
	size := len(body) + 128
	if e.heldBytes+size > maxHeld || d.heldBytes+size > maxHeldAll {
		d.heldTooMuch.Add(1)
		d.problems.Warn("flow data dropped: their template has not come, and too many wait already", "exporter", e.key.address, "domain", e.key.domain, "template", id)
		return
	}
	e.held[id] = append(e.held[id], heldSet{append([]byte(nil), body...), head})
	e.heldBytes += size
	d.heldBytes += size
	d.heldSets++
}

// release decodes what waited for a template.
func (d *Decoder) release(e *exporter, t *Template) {
	waiting := e.held[t.ID]
	delete(e.held, t.ID)
	for _, set := range waiting {
		d.letGo(e, set)
		d.data(e, t, set.body, &set.head)
		d.sets.Passed(1)
	}
}

func (d *Decoder) letGo(e *exporter, set heldSet) {
	e.heldBytes -= len(set.body) + 128
	d.heldBytes -= len(set.body) + 128
	d.heldSets--
}

// Expire drops what has waited too long for its template. Call it every few seconds.
func (d *Decoder) Expire(now time.Time) {
	if d.heldSets == 0 {
		return
	}
	oldest := now.Add(-holdFor).UnixNano()
	for _, e := range d.exporters {
		for id, waiting := range e.held {
			n := 0
			for n < len(waiting) && waiting[n].head.at < oldest {
				d.letGo(e, waiting[n])
				n++
			}
			if n == 0 {
				continue
			}
			d.heldTooLong.Add(n)
			d.problems.Warn("flow data dropped: their template did not come in time", "exporter", e.key.address, "domain", e.key.domain, "template", id, "sets", n)
			if n == len(waiting) {
				delete(e.held, id)
			} else {
				e.held[id] = waiting[n:]
			}
		}
	}
}

// Held is how many sets wait for their template.
func (d *Decoder) Held() int64 { return d.heldSets }

// data decodes a set of data and returns how many records it has.
func (d *Decoder) data(e *exporter, t *Template, body []byte, head *header) int {
	n := 0
	for {
		ops, size, ok := t.next(body, &d.varied)
		if !ok {
			return n
		}
		n++
		if t.options {
			d.option(e, ops, body)
		} else {
			head.boot = e.boot
			d.record(e, ops, body, head)
		}
		body = body[size:]
	}
}

// fields are values of a record that others decide what to do with.
type fields struct {
	inline                     uint32
	sampler                    uint64
	named                      bool
	reverseBytes, reversePkts  uint64
	outBytes, outPackets       uint64
	totalBytes, totalPackets   uint64
	icmpType, icmpCode         uint64
	hasBytes, hasType, hasICMP bool
}

// record reads one record.
func (d *Decoder) record(e *exporter, ops []op, b []byte, head *header) {
	r := d.add(head)
	f := &d.fields
	*f = fields{}
	for _, o := range ops {
		v := b[o.offset : int(o.offset)+int(o.length)]
		if o.reverse {
			switch o.element {
			case fieldBytes:
				f.reverseBytes = number(v)
			case fieldPackets:
				f.reversePkts = number(v)
			}
			continue
		}
		switch o.element {
		case fieldBytes:
			r.Bytes, f.hasBytes = number(v), true
		case fieldPackets:
			r.Packets = number(v)
		case fieldProtocol:
			r.Protocol = uint8(number(v))
		case fieldTOS:
			r.TOS = uint8(number(v))
		case fieldFlags:
			r.Flags = uint8(number(v))
		case fieldSourcePort:
			r.SourcePort = uint16(number(v))
		case fieldDestinationPort:
			r.DestinationPort = uint16(number(v))
		case fieldSource4:
			if !r.Source.IsValid() || number(v) != 0 {
				r.Source = address4(v)
			}
		case fieldDestination4:
			if !r.Destination.IsValid() || number(v) != 0 {
				r.Destination = address4(v)
			}
		case fieldSource6:
			if a := address6(v); !r.Source.IsValid() || !a.IsUnspecified() { // some templates have both kinds
				r.Source = a
			}
		case fieldDestination6:
			if a := address6(v); !r.Destination.IsValid() || !a.IsUnspecified() {
				r.Destination = a
			}
		case fieldNextHop4:
			r.NextHop = address4(v)
		case fieldNextHop6:
			r.NextHop = address6(v)
		case fieldBGPNextHop4:
			r.BGPNextHop = address4(v)
		case fieldBGPNextHop6:
			r.BGPNextHop = address6(v)
		case fieldIn:
			r.In, r.HasIn = uint32(number(v)), true
		case fieldOut:
			r.Out, r.HasOut = uint32(number(v)), true
		case fieldSourceAS:
			r.SourceAS = uint32(number(v))
		case fieldDestinationAS:
			r.DestinationAS = uint32(number(v))
		case fieldFirstUptime:
			r.First = head.uptimeTime(uint32(number(v)))
		case fieldLastUptime:
			r.Last = head.uptimeTime(uint32(number(v)))
		case fieldFirstSeconds:
			r.First = int64(number(v)) * 1000
		case fieldLastSeconds:
			r.Last = int64(number(v)) * 1000
		case fieldFirstMillis:
			r.First = int64(number(v))
		case fieldLastMillis:
			r.Last = int64(number(v))
		case fieldFirstMicros, fieldFirstNanos:
			r.First = ntpTime(number(v))
		case fieldLastMicros, fieldLastNanos:
			r.Last = ntpTime(number(v))
		case fieldOutBytes:
			f.outBytes = number(v)
		case fieldOutPackets:
			f.outPackets = number(v)
		case fieldTotalBytes, fieldInitiatorBytes:
			f.totalBytes = number(v)
		case fieldTotalPackets, fieldInitiatorPackets:
			f.totalPackets = number(v)
		case fieldResponderBytes:
			f.reverseBytes = number(v)
		case fieldResponderPackets:
			f.reversePkts = number(v)
		case fieldICMP4, fieldICMP6:
			if !f.hasICMP || number(v) != 0 {
				r.ICMP, f.hasICMP = uint16(number(v)), true
			}
		case fieldICMPType4, fieldICMPType6:
			f.icmpType, f.hasType = number(v), true
		case fieldICMPCode4, fieldICMPCode6:
			f.icmpCode, f.hasType = number(v), true
		case fieldSourceMAC, fieldOutSourceMAC:
			r.mac(&r.SourceMAC, v)
		case fieldDestinationMAC, fieldOutDestinationMAC:
			r.mac(&r.DestinationMAC, v)
		case fieldSourceVLAN, fieldDestinationVLAN:
			if r.VLAN == 0 {
				r.VLAN = uint16(number(v))
			}
		case fieldDirection:
			r.Egress = number(v) == 1
		case fieldSamplingInterval, fieldSamplerInterval:
			f.inline = uint32(number(v))
		case fieldSamplerID, fieldSelectorID:
			f.sampler, f.named = number(v), true
		}
	}
	if !f.hasBytes { // some count where packets leave, or since the flow began
		r.Bytes, r.Packets = f.outBytes, max(r.Packets, f.outPackets)
		if f.outBytes == 0 {
			r.Bytes, r.Packets = f.totalBytes, max(r.Packets, f.totalPackets)
		}
	}
	if r.Protocol == protocolICMP || r.Protocol == protocolICMPv6 {
		switch {
		case f.hasType:
			r.ICMP = uint16(f.icmpType<<8 | f.icmpCode&0xff)
		case !f.hasICMP:
			r.ICMP = r.DestinationPort
		}
	}
	rate := e.sampling(f.inline, f.sampler, f.named)
	r.sampled(rate)
	if f.reverseBytes > 0 || f.reversePkts > 0 {
		d.reverse(f.reverseBytes, f.reversePkts)
	}
}

// reverse adds the other direction of the last record, which some exporters report with it.
func (d *Decoder) reverse(bytes, packets uint64) {
	r := d.records[len(d.records)-1]
	r.Source, r.Destination = r.Destination, r.Source
	r.SourcePort, r.DestinationPort = r.DestinationPort, r.SourcePort
	r.In, r.Out, r.HasIn, r.HasOut = r.Out, r.In, r.HasOut, r.HasIn
	r.SourceAS, r.DestinationAS = r.DestinationAS, r.SourceAS
	r.SourceMAC, r.DestinationMAC = r.DestinationMAC, r.SourceMAC
	r.Bytes, r.Packets = bytes, packets
	r.sampled(r.Rate)
	d.records = append(d.records, r)
}

func (r *Record) mac(to *[6]byte, v []byte) {
	if *to == ([6]byte{}) {
		copy(to[:], v)
	}
	r.HasMAC = true
}

// ntpTime makes Unix milliseconds of a time in the form of NTP, as IPFIX has those finer than milliseconds.
func ntpTime(v uint64) int64 {
	seconds, fraction := int64(v>>32), int64(v&0xffffffff)
	return (seconds-2208988800)*1000 + fraction*1000>>32
}

// option reads a record of options: a sampler and its rate, or when the exporter started.
func (d *Decoder) option(e *exporter, ops []op, b []byte) {
	var sampler, rate, interval, space, size, population uint64
	named := false
	for _, o := range ops {
		v := number(b[o.offset : int(o.offset)+int(o.length)])
		switch o.element {
		case fieldSamplingInterval, fieldSamplerInterval:
			rate = v
		case fieldSamplerID, fieldSelectorID:
			sampler, named = v, true
		case fieldPacketInterval:
			interval = v
		case fieldPacketSpace:
			space = v
		case fieldSamplingSize:
			size = v
		case fieldSamplingPopulation:
			population = v
		case fieldBootMillis:
			e.boot = int64(v)
		}
	}
	switch {
	case rate > 0:
	case interval > 0:
		rate = (interval + space) / interval
	case size > 0:
		rate = population / size
	default:
		return
	}
	if rate == 0 || rate > 1<<31 {
		return
	}
	if !named {
		d.changed = d.changed || e.rate != uint32(rate)
		e.rate = uint32(rate)
		return
	}
	if e.rates[sampler] != uint32(rate) && (len(e.rates) < maxRates || e.rates[sampler] > 0) {
		e.rates[sampler] = uint32(rate)
		d.changed = true
	}
}
