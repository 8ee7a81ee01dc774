package flow

import (
	"net/netip"
	"time"
)

// exporterKey is who numbers templates: an exporter's observation domain (NetFlow v9 calls it the source id).
type exporterKey struct {
	address netip.Addr
	domain  uint32
	version uint16
}

// exporter is what the decoder knows of one.
type exporter struct {
	key       exporterKey
	templates map[uint16]*Template
	rates     map[uint64]uint32 // sampling rates by number of the sampler
	rate      uint32            // of those without a number; 0 is unknown
	forced    uint32            // by the configuration, whatever the exporter says; 0 is none
	fallback  uint32            // by the configuration, when the exporter says nothing; 0 is none
	boot      int64             // when it started, in Unix milliseconds, when it said so in options

	held      map[uint16][]heldSet // data that came before its template
	heldBytes int

	next     uint32 // the sequence number that is expected
	sequence bool   // next is known
	used     int64  // when it was heard last, in Unix nanoseconds
}

// heldSet is a set of data whose template is not known yet.
type heldSet struct {
	body []byte
	head header
}

// header is what the records of a datagram share.
type header struct {
	exporter netip.Addr
	at       int64 // arrival, in Unix nanoseconds
	clock    int64 // what the exporter's clock said, in Unix milliseconds
	uptime   int64 // how long it had run then, in milliseconds; -1 when it does not say
	boot     int64 // when it started, in Unix milliseconds; 0 is unknown
}

// Sampling are configured rates, one packet in so many.
type Sampling struct {
	Fallback uint32                // for exporters that do not say; 0 is 1
	Forced   map[netip.Addr]uint32 // for exporters that say it wrongly
}

// Bounds of what one exporter can make the decoder keep.
const (
	maxExporters = 4096     // domains of all exporters
	maxTemplates = 1024     // of one domain
	maxRates     = 1024     // of one domain
	maxHeld      = 1 << 20  // bytes of one domain
	maxHeldAll   = 32 << 20 // bytes of all
	holdFor      = 5 * time.Minute
)

// uptimeTime makes Unix milliseconds of an uptime in milliseconds, which wraps after 49 days.
func (h *header) uptimeTime(uptime uint32) int64 {
	switch {
	case h.uptime < 0 && h.boot > 0: // IPFIX tells in options when it started
		return h.boot + int64(uptime)
	case h.uptime < 0:
		return 0
	}
	return h.clock - int64(int32(uint32(h.uptime)-uptime))
}

// sampling finds the rate of a record: the configured one, what the record or datagram says, its sampler's, or the domain's.
func (e *exporter) sampling(inline uint32, sampler uint64, named bool) uint32 {
	switch {
	case e.forced > 0:
		return e.forced
	case inline > 0:
		return inline
	case named && e.rates[sampler] > 0:
		return e.rates[sampler]
	case e.rate > 0:
		return e.rate
	}
	return max(1, e.fallback)
}
