package snmp

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gosnmp/gosnmp"
)

// agent is a device that answers over UDP, in versions 1 and 2c.
type agent struct {
	port   int
	mu     sync.Mutex
	tree   map[string]gosnmp.SnmpPDU
	order  []string
	asked  map[gosnmp.PDUType]int
	answer func(asked, usual *gosnmp.SnmpPacket) [][]byte // instead of the usual answer; nil for that
}

func newAgent(t testing.TB) *agent {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{port: c.LocalAddr().(*net.UDPAddr).Port, tree: make(map[string]gosnmp.SnmpPDU), asked: make(map[gosnmp.PDUType]int)}
	var serving sync.WaitGroup
	serving.Go(func() { a.serve(c) })
	t.Cleanup(func() { c.Close(); serving.Wait() })
	return a
}

func (a *agent) set(oid string, kind gosnmp.Asn1BER, value any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.tree[oid]; !ok {
		at, _ := slices.BinarySearchFunc(a.order, oid, func(x, y string) int {
			switch {
			case x == y:
				return 0
			case before(x, y):
				return -1
			}
			return 1
		})
		a.order = slices.Insert(a.order, at, oid)
	}
	a.tree[oid] = gosnmp.SnmpPDU{Name: "." + oid, Type: kind, Value: value}
}

func (a *agent) requests(kind gosnmp.PDUType) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[kind]
}

func (a *agent) serve(c *net.UDPConn) {
	decoder := &gosnmp.GoSNMP{}
	buffer := make([]byte, 65535)
	for {
		n, from, err := c.ReadFromUDP(buffer)
		if err != nil {
			return
		}
		asked, err := decoder.SnmpDecodePacket(slices.Clone(buffer[:n]))
		if err != nil {
			continue
		}
		for _, one := range a.respond(asked) {
			c.WriteToUDP(one, from)
		}
	}
}

func (a *agent) respond(asked *gosnmp.SnmpPacket) [][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked[asked.PDUType]++
	usual := &gosnmp.SnmpPacket{Version: asked.Version, Community: asked.Community, PDUType: gosnmp.GetResponse, RequestID: asked.RequestID}
	repeat := 1
	if asked.PDUType == gosnmp.GetBulkRequest {
		repeat = int(asked.MaxRepetitions)
	}
	for i, wanted := range asked.Variables {
		oid := strings.TrimPrefix(wanted.Name, ".")
		for range repeat {
			found, ok := a.tree[oid]
			missing := gosnmp.NoSuchInstance
			if asked.PDUType != gosnmp.GetRequest {
				at := slices.IndexFunc(a.order, func(o string) bool { return before(oid, o) })
				if ok = at >= 0; ok {
					oid = a.order[at]
					found = a.tree[oid]
				}
				missing = gosnmp.EndOfMibView
			}
			if !ok && asked.Version == gosnmp.Version1 {
				usual.Error, usual.ErrorIndex = gosnmp.NoSuchName, uint8(i+1)
				usual.Variables = asked.Variables
				break
			}
			if !ok {
				found = gosnmp.SnmpPDU{Name: "." + oid, Type: missing}
			}
			usual.Variables = append(usual.Variables, found)
		}
		if usual.Error != 0 {
			break
		}
	}
	if a.answer != nil {
		if own := a.answer(asked, usual); own != nil {
			return own
		}
	}
	return [][]byte{encode(usual)}
}

func encode(p *gosnmp.SnmpPacket) []byte {
	text, err := p.MarshalMsg()
	if err != nil {
		panic(err)
	}
	return text
}
