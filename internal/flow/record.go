package flow

import "net/netip"

// Record is one flow as an exporter reports it, in one direction. Bytes and Packets are multiplied by
// the sampling rate. Bytes are those of the IP layer, except for records of packets.
type Record struct {
	Exporter netip.Addr // who exports; for sFlow the agent
	Time     int64      // when the record arrived, in Unix nanoseconds
	First    int64      // when the flow began, in Unix milliseconds; 0 is unknown
	Last     int64      // when its last packet was seen, in Unix milliseconds; 0 is unknown

	Source, Destination         netip.Addr
	NextHop, BGPNextHop         netip.Addr // invalid when not reported
	SourcePort, DestinationPort uint16
	Protocol, TOS, Flags        uint8  // Flags are TCP's, all that were seen
	ICMP                        uint16 // type x 256 + code
	Egress                      bool   // seen where it leaves the exporter

	Bytes, Packets uint64
	Rate           uint32  // the sampling rate that was applied, at least 1
	ExportBytes    float64 // this record's share of the datagram that brought it

	In, Out                   uint32 // interface indices
	HasIn, HasOut             bool   // whether they are reported: 0 is an index too
	SourceAS, DestinationAS   uint32 // 0 is unknown
	SourceMAC, DestinationMAC [6]byte
	HasMAC                    bool
	VLAN                      uint16 // 0 is none
}

// IP protocols that are told apart.
const (
	protocolICMP   = 1
	protocolIGMP   = 2
	protocolTCP    = 6
	protocolUDP    = 17
	protocolGRE    = 47
	protocolESP    = 50
	protocolAH     = 51
	protocolICMPv6 = 58
)
