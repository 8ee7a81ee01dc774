package flow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/sflow"
)

// Kinds of samples. Those of counters are no flows.
const (
	sampleFlow         = 1
	sampleExpandedFlow = 3
)

// maxSampleRecords bounds what one sample may say it holds: the decoder makes room for so many at once.
const maxSampleRecords = 64

var errSample = errors.New("a sample is cut off or holds too many records")

// sflow decodes an sFlow v5 datagram. Each sampled packet is one record.
func (d *Decoder) sflow(b []byte, at time.Time) error {
	if len(b) < 12 {
		return errHeader
	}
	size := 4
	if kind := binary.BigEndian.Uint32(b[4:]); kind == 2 {
		size = 16
	} else if kind != 1 {
		return errHeader
	}
	if len(b) < 8+size+16 {
		return errHeader
	}
	agent := addressOf(b[8 : 8+size]).Unmap()
	b = b[8+size:]
	e := d.exporter(exporterKey{agent, binary.BigEndian.Uint32(b), versionSFlow}, at)
	d.count(e, binary.BigEndian.Uint32(b[4:]), 1)
	head := header{exporter: agent, at: at.UnixNano()}
	var err error
	samples := binary.BigEndian.Uint32(b[12:])
	for b = b[16:]; samples > 0; samples-- {
		if len(b) < 8 {
			return errCount
		}
		format, length := binary.BigEndian.Uint32(b), int(binary.BigEndian.Uint32(b[4:]))
		if length < 0 || length > len(b)-8 {
			return errSample
		}
		body := b[8 : 8+length]
		b = b[8+length:]
		if format == sampleFlow || format == sampleExpandedFlow {
			if failed := d.sample(e, format, body, &head); err == nil {
				err = failed // the first; the samples behind it may be whole
			}
		}
	}
	return err
}

// sample decodes one sampled packet.
func (d *Decoder) sample(e *exporter, format uint32, body []byte, head *header) error {
	count := 28 // where the number of records is
	if format == sampleExpandedFlow {
		count = 40
	}
	if len(body) < count+4 || binary.BigEndian.Uint32(body[count:]) > maxSampleRecords {
		return errSample
	}
	decoded, err := sflow.DecodeSample(&sflow.SampleHeader{Format: format, Length: uint32(len(body))}, bytes.NewBuffer(body))
	if err != nil {
		return err
	}
	r := d.add(head)
	var parts []sflow.FlowRecord
	rate := uint32(1)
	switch s := decoded.(type) {
	case sflow.FlowSample:
		rate, parts = s.SamplingRate, s.Records
		r.In, r.HasIn = interfaceOf(s.Input>>30, s.Input&0x3fffffff)
		r.Out, r.HasOut = interfaceOf(s.Output>>30, s.Output&0x3fffffff)
	case sflow.ExpandedFlowSample:
		rate, parts = s.SamplingRate, s.Records
		r.In, r.HasIn = interfaceOf(s.InputIfFormat, s.InputIfValue)
		r.Out, r.HasOut = interfaceOf(s.OutputIfFormat, s.OutputIfValue)
	}
	for _, part := range parts {
		switch p := part.Data.(type) {
		case sflow.SampledHeader:
			packet := p.HeaderData[:min(len(p.HeaderData), int(p.OriginalLength))]
			switch p.Protocol {
			case 1:
				r.packet(linkEthernet, packet)
			case 11, 12:
				r.packet(linkRaw, packet)
			}
		case sflow.SampledIPv4:
			r.sampledIP(&p.SampledIPBase, uint8(p.Tos))
		case sflow.SampledIPv6:
			r.sampledIP(&p.SampledIPBase, uint8(p.Priority))
		case sflow.ExtendedSwitch:
			if r.VLAN == 0 {
				r.VLAN = uint16(p.SrcVlan)
			}
		case sflow.ExtendedRouter:
			r.NextHop = addressOf(p.NextHop)
		case sflow.ExtendedGateway:
			r.BGPNextHop, r.SourceAS = addressOf(p.NextHop), p.SrcAS
			if n := len(p.ASPath); n > 0 {
				r.DestinationAS = p.ASPath[n-1]
			}
		}
	}
	r.sampled(e.sampling(rate, 0, false))
	return nil
}

// sampledIP takes what an agent has read of a packet itself, unless the packet's own header came too.
func (r *Record) sampledIP(p *sflow.SampledIPBase, tos uint8) {
	if r.Source.IsValid() {
		return
	}
	r.Source, r.Destination = addressOf(p.SrcIP), addressOf(p.DstIP)
	r.Bytes, r.Packets, r.Protocol, r.TOS = uint64(p.Length), 1, uint8(p.Protocol), tos
	r.SourcePort, r.DestinationPort, r.Flags = uint16(p.SrcPort), uint16(p.DstPort), uint8(p.TcpFlags)
	if r.Protocol == protocolICMP || r.Protocol == protocolICMPv6 {
		r.ICMP = r.SourcePort<<8 | r.DestinationPort&0xff
		r.DestinationPort = r.ICMP
	}
}

// interfaceOf reads an interface: only the first format is an index, and its largest value means unknown.
func interfaceOf(format, value uint32) (index uint32, known bool) {
	if format != 0 || value == 0x3fffffff || value == 0xffffffff {
		return 0, false
	}
	return value, true
}
