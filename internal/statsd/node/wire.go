package node

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"

	"github.com/weirhq/weir/backend"
)

// Frames between the two halves, besides those of the supervisor.
const (
	// To the child.
	kindFlush   byte = 32 // request: a flush as JSON, or the rest of one; the answer is a flushed
	kindPart    byte = 33 // a piece of the flush that comes next
	kindPackets byte = 34 // packets, in the form below
	kindStatus  byte = 35 // request: question; the answer is text for the management console

	// From the child.
	kindWant     byte = 40 // u8: 1 when a module listens to packets, 0 when none does any more
	kindReceived byte = 41 // packets of a server module, in the same form
)

// setup is what the child is told before it loads anything.
type setup struct {
	Roots     []string  `json:"roots"`
	Config    string    `json:"config,omitempty"` // path of StatsD's configuration file
	Startup   int64     `json:"startup"`          // Unix seconds
	Effective effective `json:"effective"`
	Servers   []Server  `json:"servers"`
	Backends  []string  `json:"backends"`
}

// effective are options as the daemon understood them.
type effective struct {
	FlushInterval float64        `json:"flushInterval"` // milliseconds
	GaugeTTL      int            `json:"gaugesMaxTTL"`
	Missing       map[string]any `json:"missing"`
}

// flushed is the answer to a flush.
type flushed struct {
	Listeners int `json:"listeners"`
	Failed    int `json:"failed"`
}

// question is a request for status.
type question struct {
	Now int64 `json:"now"` // Unix seconds, rounded
}

// A packet is u8 network (0 UDP, 1 TCP, 2 a unix socket), u8 length of the
// address as text, the address, u16 port, u32 size of the data, the data. Numbers are big-endian.
const (
	networkUDP byte = iota
	networkTCP
	networkUnix
)

var networks = [...]string{networkUDP: "udp", networkTCP: "tcp", networkUnix: "unix"}

func appendPacket(dst, packet []byte, from backend.Remote) []byte {
	network := networkUDP
	switch from.Network {
	case "tcp":
		network = networkTCP
	case "unix":
		network = networkUnix
	}
	dst = append(dst, network, 0)
	at := len(dst)
	if from.Address.IsValid() {
		dst = from.Address.Addr().AppendTo(dst)
	}
	dst[at-1] = byte(min(len(dst)-at, math.MaxUint8)) // a zone is short
	dst = dst[:at+int(dst[at-1])]
	dst = binary.BigEndian.AppendUint16(dst, from.Address.Port())
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(packet)))
	return append(dst, packet...)
}

// parsePackets splits a payload into packets, which stay parts of it.
func parsePackets(payload []byte) (packets [][]byte, from []backend.Remote, err error) {
	for rest := payload; len(rest) > 0; {
		if len(rest) < 2 || int(rest[0]) >= len(networks) {
			return nil, nil, fmt.Errorf("cannot read packets of a server module: byte %d begins none", len(payload)-len(rest))
		}
		remote := backend.Remote{Network: networks[rest[0]]}
		length := int(rest[1])
		if rest = rest[2:]; len(rest) < length+6 {
			return nil, nil, fmt.Errorf("cannot read packets of a server module: the head of one is cut at byte %d", len(payload))
		}
		address, _ := netip.ParseAddr(string(rest[:length])) // what is no address is none
		port, size := binary.BigEndian.Uint16(rest[length:]), binary.BigEndian.Uint32(rest[length+2:])
		if address.IsValid() {
			remote.Address = netip.AddrPortFrom(address, port)
		}
		if rest = rest[length+6:]; uint64(len(rest)) < uint64(size) {
			return nil, nil, fmt.Errorf("cannot read packets of a server module: one of %d bytes is cut after %d", size, len(rest))
		}
		packets, from = append(packets, rest[:size:size]), append(from, remote)
		rest = rest[size:]
	}
	return packets, from, nil
}

// encoder writes a flush as JSON. Numbers JSON does not know are written as 0,
// and a list says where they belong.
type encoder struct {
	text  []byte
	odd   []byte // entries of the list
	where [3]string
	depth int
}

// encodeFlush returns f as the child expects it, appended to dst.
func encodeFlush(dst []byte, f *backend.Flush) []byte {
	e := encoder{text: dst}
	e.raw(`{"ts":`)
	e.text = strconv.AppendInt(e.text, f.Timestamp, 10)
	e.raw(`,"processing":`)
	e.text = appendNumber(e.text, f.Processing)
	e.raw(`,"metrics":{`)
	e.object("counters", len(f.Counters), func(i int) (string, float64) { return f.Counters[i].Name, f.Counters[i].Value })
	e.raw(",")
	e.object("counter_rates", len(f.Counters), func(i int) (string, float64) { return f.Counters[i].Name, f.Counters[i].Rate })
	e.raw(",")
	e.object("gauges", len(f.Gauges), func(i int) (string, float64) { return f.Gauges[i].Name, f.Gauges[i].Value })
	e.raw(",")
	e.object("timer_counters", len(f.Timers), func(i int) (string, float64) { return f.Timers[i].Name, f.Timers[i].Count })
	e.raw(",")
	e.timers(f.Timers)
	e.raw(",")
	e.timerData(f.Timers)
	e.raw(",")
	e.sets(f.Sets)
	e.raw(`},"nf":[`)
	e.text = append(e.text, e.odd...)
	e.raw("]}")
	return e.text
}

func (e *encoder) raw(text string) { e.text = append(e.text, text...) }

// key writes the name of property i of an object.
func (e *encoder) key(i int, name string) {
	if i > 0 {
		e.text = append(e.text, ',')
	}
	e.text = append(appendText(e.text, name), ':')
}

func (e *encoder) enter(name string) {
	e.where[e.depth] = name
	e.depth++
}

func (e *encoder) leave() { e.depth-- }

// number writes the value of the property, or of the element of an array, called name.
func (e *encoder) number(name string, v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		e.text = appendNumber(e.text, v)
		return
	}
	e.text = append(e.text, '0')
	if len(e.odd) > 0 {
		e.odd = append(e.odd, ',')
	}
	e.odd = append(e.odd, "[["...)
	for _, part := range e.where[:e.depth] {
		e.odd = append(appendText(e.odd, part), ',')
	}
	e.odd = append(appendText(e.odd, name), `],"`...)
	switch {
	case math.IsNaN(v):
		e.odd = append(e.odd, `NaN"]`...)
	case v > 0:
		e.odd = append(e.odd, `Infinity"]`...)
	default:
		e.odd = append(e.odd, `-Infinity"]`...)
	}
}

func (e *encoder) object(name string, n int, property func(i int) (string, float64)) {
	e.key(0, name)
	e.raw("{")
	e.enter(name)
	for i := range n {
		name, v := property(i)
		e.key(i, name)
		e.number(name, v)
	}
	e.leave()
	e.raw("}")
}

func (e *encoder) timers(timers []backend.Timer) {
	e.raw(`"timers":{`)
	e.enter("timers")
	for i := range timers {
		e.key(i, timers[i].Name)
		e.raw("[")
		e.enter(timers[i].Name)
		for j, v := range timers[i].Values {
			if j > 0 {
				e.text = append(e.text, ',')
			}
			if math.IsInf(v, 0) || math.IsNaN(v) {
				e.number(strconv.Itoa(j), v)
			} else {
				e.text = appendNumber(e.text, v)
			}
		}
		e.leave()
		e.raw("]")
	}
	e.leave()
	e.raw("}")
}

func (e *encoder) timerData(timers []backend.Timer) {
	e.raw(`"timer_data":{`)
	e.enter("timer_data")
	for i := range timers {
		t := &timers[i]
		e.key(i, t.Name)
		e.raw("{")
		e.enter(t.Name)
		for j := range t.Fields {
			e.key(j, t.Fields[j].Name)
			e.number(t.Fields[j].Name, t.Fields[j].Value)
		}
		if t.Histogram != nil {
			e.key(len(t.Fields), "histogram")
			e.raw("{")
			for j := range t.Histogram { // frequencies are finite
				e.key(j, t.Histogram[j].Name)
				e.text = appendNumber(e.text, t.Histogram[j].Value)
			}
			e.raw("}")
		}
		e.leave()
		e.raw("}")
	}
	e.leave()
	e.raw("}")
}

func (e *encoder) sets(sets []backend.Set) {
	e.raw(`"sets":{`)
	for i := range sets {
		e.key(i, sets[i].Name)
		e.raw("[")
		for j, member := range sets[i].Members {
			if j > 0 {
				e.text = append(e.text, ',')
			}
			e.text = appendText(e.text, member)
		}
		e.raw("]")
	}
	e.raw("}")
}

// appendNumber writes a finite number so that JavaScript reads the same one.
func appendNumber(dst []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 && (v != 0 || !math.Signbit(v)) {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

const hex = "0123456789abcdef"

// appendText writes a JSON string. Bytes that are no UTF-8 the child reads as
// U+FFFD, as the reference daemon reads packets.
func appendText(dst []byte, text string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		if c < ' ' {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, '\\', c)
		}
	}
	return append(append(dst, text[from:]...), '"')
}
