package flow

import (
	"net/netip"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/telemetry"
)

// GUIDs of the built-in groups that flow records are counted in.
const (
	guidAggregates = "{393B5EBC-AB41-4387-8F31-8077DB917336}"
	guidHosts      = "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}"
	guidHosts6     = "{9807E97A-6CD2-442F-BB18-8C104C8EB204}"
	guidInternal   = "{889900CC-0063-11A5-8380-FEBDBABBDBEA}"
	guidExternal   = "{00AA77BB-0063-11A5-8380-FEBDBABBDBEA}"
	guidApps       = "{C51B48D4-7876-479E-B0D9-BD9EFF03CE2E}"
	guidNetwork    = "{E89BCD56-30AD-40F5-B1C8-8B7683F440BD}"
	guidExporters  = "{2314BB8E-2BCC-4B86-8AA2-677E5554C0FE}"
	guidInterfaces = "{C0B04CA7-95FA-44EF-8475-3835F3314761}"
	guidASN        = "{120A3124-E2BB-47BD-6C64-71BBB861C428}"
	guidMAC        = "{4B09BD22-3B99-40FC-8215-94A430EA0A35}"
	guidMACPairs   = "{79F60A94-44BD-4C55-891A-77823D59161B}"
	guidVLAN       = "{0EC72E9E-3AD2-43FD-8173-74693EEA08D0}"
	guidLink       = "{9F5AD3A9-C74D-46D8-A8A8-DCDD773730BA}"
)

// MeterConfig says how records are counted.
type MeterConfig struct {
	Homes        *Homes
	BothPorts    bool          // count both ports as applications when both are above 1024
	IgnoreEgress bool          // leave out what is seen where it leaves the exporter
	Idle         time.Duration // after which a flow has ended; 0 is two minutes
	MaxFlows     int           // that are followed at once; 0 is 262144
}

// Meter turns records into updates of the built-in groups, section 7.2 of the specification. A group that is not registered, or not any more, is
// left out. Its methods may be called from several goroutines.
type Meter struct {
	cfg MeterConfig

	mu    sync.Mutex
	batch *countergroup.Batch
	table *Table
	key   []byte
	begun map[netip.Addr]int64 // flows that began, by exporter, since Busiest

	aggregates, hosts, hosts6, internal, external, apps, network, exporters, interfaces, asn, mac, macPairs, vlan, link *countergroup.Group

	records   *telemetry.Ledger // "flow.records"
	egress    *telemetry.Discard
	noAddress *telemetry.Discard

	started func(*Flow) // set by Watch
	changed func(*Flow)
	ended   func(*Flow)
	record  func(*Record, *Flow)
}

// NewMeter returns a meter for the groups of a registry.
func NewMeter(cfg MeterConfig, groups *countergroup.Registry, batch *countergroup.Batch, reg *telemetry.Registry) *Meter {
	if cfg.Idle == 0 {
		cfg.Idle = 2 * time.Minute
	}
	if cfg.MaxFlows == 0 {
		cfg.MaxFlows = 1 << 18
	}
	m := &Meter{cfg: cfg, batch: batch, begun: make(map[netip.Addr]int64), records: reg.Ledger("flow.records", "records")}
	m.egress, m.noAddress = m.records.Reason("egress"), m.records.Reason("no_ip_address")
	m.table = NewTable(cfg.Idle, cfg.MaxFlows, m.end)
	m.lookUp(groups)
	groups.OnRegister(func(*countergroup.Group) { m.lookUp(groups) })
	groups.OnRemove(func(*countergroup.Group) { m.lookUp(groups) })
	return m
}

// lookUp finds the groups that there are now.
func (m *Meter) lookUp(groups *countergroup.Registry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for guid, group := range map[string]**countergroup.Group{guidAggregates: &m.aggregates, guidHosts: &m.hosts, guidHosts6: &m.hosts6, guidInternal: &m.internal,
		guidExternal: &m.external, guidApps: &m.apps, guidNetwork: &m.network, guidExporters: &m.exporters, guidInterfaces: &m.interfaces, guidASN: &m.asn,
		guidMAC: &m.mac, guidMACPairs: &m.macPairs, guidVLAN: &m.vlan, guidLink: &m.link} {
		*group = groups.Lookup(guid)
	}
}

// Watch has functions called for every record and for flows that begin, go on and end, from the goroutine that counts. They must not keep what they are
// given. Call it before the first record; nil functions are left out.
func (m *Meter) Watch(record func(*Record, *Flow), started, changed, ended func(*Flow)) {
	m.record, m.started, m.changed, m.ended = record, started, changed, ended
}

// Meters of the groups that are updated together.
var (
	totalUnicast   = []int{0, 1, 8}
	totalMulticast = []int{0, 1, 7}
	totalBroadcast = []int{0, 1, 6}
	bytesPackets   = []int{0, 1}
	sentHome       = []int{0, 2, 3, 16, 6} // by whether the other end is at home
	sentOut        = []int{0, 2, 3, 16, 7}
	gotHome        = []int{0, 1, 3, 16, 6}
	gotOut         = []int{0, 1, 3, 16, 7}
	newConnection  = []int{13, 4}
	endConnection  = []int{4}
	appsInto       = []int{0, 2}
	appsOut        = []int{0, 3}
	appsInternal   = []int{0, 5}
	appsTransit    = []int{0, 6}
	appsNew        = []int{4, 7}
	appsEnd        = []int{7}
	networkNew     = []int{3, 2}
	networkEnd     = []int{2}
	exporterAll    = []int{0, 1, 2, 3, 4}
	interfaceIn    = []int{0, 1, 3}
	interfaceOut   = []int{0, 2, 3}
	receives       = []int{0, 1}
	transmits      = []int{0, 2}
	first          = []int{0}
	second         = []int{1}
)

// Count counts records; exported reports whether an exporter made them, or else they are captured packets. It does not keep them.
func (m *Meter) Count(records []Record, exported bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records.Received(len(records))
	passed := 0
	for i := range records {
		r := &records[i]
		switch {
		case !r.Source.IsValid() || !r.Destination.IsValid():
			m.noAddress.Add(1)
		case r.Egress && m.cfg.IgnoreEgress:
			m.egress.Add(1)
		default:
			m.count(r, exported)
			passed++
		}
	}
	m.records.Passed(passed)
	m.batch.Send()
}

// maxBegun bounds the exporters that are told apart by Busiest: their addresses can be forged.
const maxBegun = 4096

// Busiest is the exporter of the most flows that began since the last call, and how many these are; of none when there was none.
func (m *Meter) Busiest() (exporter netip.Addr, flows int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for a, n := range m.begun {
		if n > flows || n == flows && a.Less(exporter) {
			exporter, flows = a, n
		}
	}
	clear(m.begun)
	return exporter, flows
}

// Stage returns the stage that ends flows of which nothing came for too long, as seconds pass.
func (m *Meter) Stage() countergroup.Stage { return meterStage{m: m} }

type meterStage struct {
	countergroup.Nothing
	m *Meter
}

// BeginSecond implements countergroup.Stage.
func (s meterStage) BeginSecond(t int64) { s.m.expire(t) }

func (m *Meter) expire(now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table.Expire(now)
	m.batch.Send()
}

func (m *Meter) add(g *countergroup.Group, meters []int, values ...float64) {
	if g != nil {
		m.batch.AddRow(g, m.key, meters, values)
	}
}

func (m *Meter) count(r *Record, exported bool) {
	b, p := float64(r.Bytes), float64(r.Packets)
	sourceHome, destinationHome := m.cfg.Homes.Contains(r.Source), m.cfg.Homes.Contains(r.Destination)
	flow, isNew, ended := m.table.Add(r, exported)

	m.key = append(m.key[:0], "TOTALBW"...)
	m.add(m.aggregates, castOf(r.Destination), b, p, b)
	direction, apps := "DIR_TRANSIT", appsTransit
	switch {
	case sourceHome && destinationHome:
		direction, apps = "DIR_WITHINHOME", appsInternal
	case sourceHome:
		direction, apps = "DIR_OUTOFHOME", appsOut
	case destinationHome:
		direction, apps = "DIR_INTOHOME", appsInto
	}
	m.key = append(m.key[:0], direction...)
	m.add(m.aggregates, bytesPackets, b, p)

	sent, got := sentOut, gotOut
	if destinationHome {
		sent = sentHome
	}
	if sourceHome {
		got = gotHome
	}
	m.host(r.Source, sourceHome, sent, b, b, p, 1, b)
	m.host(r.Destination, destinationHome, got, b, b, p, 1, b)

	m.key = appendPort(m.key[:0], r.Protocol, flow.Server, r.ICMP)
	m.add(m.apps, apps, b, b)
	if isNew {
		m.add(m.apps, appsNew, 1, 1)
		if _, known := m.begun[r.Exporter]; exported && (known || len(m.begun) < maxBegun) {
			m.begun[r.Exporter]++
		}
	}
	if m.cfg.BothPorts && r.SourcePort > 1024 && r.DestinationPort > 1024 && r.SourcePort != r.DestinationPort && (r.Protocol == protocolTCP || r.Protocol == protocolUDP) {
		m.key = appendPort(m.key[:0], r.Protocol, r.SourcePort^r.DestinationPort^flow.Server, 0) // the other one
		m.add(m.apps, apps, b, b)
	}
	m.key = appendHex(m.key[:0], r.Protocol)
	m.add(m.network, bytesPackets, b, p)
	if isNew {
		m.add(m.network, networkNew, 1, 1)
		m.host(r.Source, sourceHome, newConnection, 1, 1)
		m.host(r.Destination, destinationHome, newConnection, 1, 1)
	}
	if exported {
		m.exporter(r, b)
	} else {
		kind := "0800"
		if !r.Source.Is4() {
			kind = "86DD"
		}
		m.key = append(m.key[:0], kind...)
		m.add(m.link, bytesPackets, b, p)
	}
	m.layer2(r, b)
	if flow.notes != nil {
		m.counted(flow, r, b)
	}
	m.watch(r, flow, isNew)
	if ended {
		m.end(flow)
	}
}

// watch tells who follows records and flows.
func (m *Meter) watch(r *Record, flow *Flow, isNew bool) {
	if m.record != nil {
		m.record(r, flow)
	}
	switch {
	case isNew && m.started != nil:
		m.started(flow)
	case !isNew && m.changed != nil:
		m.changed(flow)
	}
}

// host updates the groups of hosts by one end of a flow.
func (m *Meter) host(a netip.Addr, home bool, meters []int, values ...float64) {
	m.key = AppendAddress(m.key[:0], a)
	switch {
	case !a.Is4():
		m.add(m.hosts6, meters, values...)
		return
	case home:
		m.add(m.internal, meters, values...)
	default:
		m.add(m.external, meters, values...)
	}
	m.add(m.hosts, meters, values...)
}

// exporter updates the groups of exporters, interfaces and autonomous systems.
func (m *Meter) exporter(r *Record, b float64) {
	m.key = AppendAddress(m.key[:0], r.Exporter)
	m.add(m.exporters, exporterAll, b, r.ExportBytes, 1, b, 1)
	if r.HasIn {
		m.key = appendInterface(m.key[:0], r.Exporter, r.In)
		m.add(m.interfaces, interfaceIn, b, b, 1)
	}
	if r.HasOut {
		m.key = appendInterface(m.key[:0], r.Exporter, r.Out)
		m.add(m.interfaces, interfaceOut, b, b, 1)
	}
	if r.SourceAS != 0 {
		m.key = appendNumber(m.key[:0], r.SourceAS)
		m.add(m.asn, receives, b, b)
	}
	if r.DestinationAS != 0 {
		m.key = appendNumber(m.key[:0], r.DestinationAS)
		m.add(m.asn, transmits, b, b)
	}
}

// layer2 updates the groups of MAC addresses and VLANs.
func (m *Meter) layer2(r *Record, b float64) {
	if r.HasMAC {
		m.key = appendMAC(m.key[:0], r.SourceMAC)
		m.add(m.mac, first, b)
		m.key = appendMAC(m.key[:0], r.DestinationMAC)
		m.add(m.mac, second, b)
		a, z, way := r.SourceMAC, r.DestinationMAC, receives // A->Z is meter 1
		if string(a[:]) > string(z[:]) {
			a, z, way = z, a, transmits
		}
		m.key = appendMAC(append(appendMAC(m.key[:0], a), '\\'), z)
		m.add(m.macPairs, way, b, b)
	}
	if r.VLAN != 0 {
		m.key = appendNumber(m.key[:0], uint32(r.VLAN))
		m.add(m.vlan, first, b)
	}
}

// end counts the end of a flow.
func (m *Meter) end(f *Flow) {
	m.key = appendPort(m.key[:0], f.Protocol, f.Server, f.ICMP)
	m.add(m.apps, appsEnd, -1)
	m.key = appendHex(m.key[:0], f.Protocol)
	m.add(m.network, networkEnd, -1)
	m.host(f.A, m.cfg.Homes.Contains(f.A), endConnection, -1)
	m.host(f.Z, m.cfg.Homes.Contains(f.Z), endConnection, -1)
	if m.ended != nil {
		m.ended(f)
	}
}

// castOf tells which meter a packet to an address counts in besides the totals.
func castOf(a netip.Addr) []int {
	switch {
	case a.IsMulticast():
		return totalMulticast
	case a.Is4() && a.As4() == [4]byte{255, 255, 255, 255}:
		return totalBroadcast
	}
	return totalUnicast
}
