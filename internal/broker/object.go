package broker

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/weirhq/weir/internal/event"
)

// object is a host or service: what it was configured as, and what came since but its last status.
type object struct {
	config     []byte // never changed in place: names handed out alias it
	name       []byte // part of config
	more       *adaptations
	configType event.Type
	source     uint32
	round      uint32 // of the configuration it came with, see Cache.ForgetDeleted
}

// adaptations are the adaptive events since the configuration. Serialized messages
// merge by being appended to each other, so that is how they are kept.
type adaptations struct {
	settings []byte // of AdaptiveHost, AdaptiveService
	status   []byte // of AdaptiveHostStatus, AdaptiveServiceStatus since the last status
	// Whether should_be_scheduled, which statuses carry too, was last set by an
	// adaptive event.
	scheduled bool
}

// keyed is the layout of the events about hosts or services in one generation.
type keyed struct{ host, service, enabled, name, last *event.Field }

func layout(t event.Type, name string) keyed {
	d := event.Lookup(t)
	return keyed{
		host: d.Field("host_id"), service: d.Field("service_id"),
		enabled: d.Field("enabled"), name: d.Field(name), last: &d.Fields[len(d.Fields)-1],
	}
}

var layouts = map[event.Type]keyed{}

func init() {
	for t, name := range map[event.Type]string{
		legacyHost: "name", pbHost: "name", legacyService: "description", pbService: "description",
		legacyHostStatus: "", pbHostStatus: "", legacyServiceStatus: "", pbServiceStatus: "",
		pbAdaptiveHost: "", pbAdaptiveService: "", pbAdaptiveHostStatus: "", pbAdaptiveServiceStatus: "",
	} {
		layouts[t] = layout(t, name)
	}
	legacyHostStatusLayout = layouts[legacyHostStatus]
}

var legacyHostStatusLayout keyed

// route is the way from one field of a legacy payload to another: how many bytes
// to pass over before each text in between, and after the last one.
type route []int

var (
	statusToHost  = routeBetween(legacyServiceStatus, "", "host_id")
	hostToService = routeBetween(legacyServiceStatus, "host_id", "service_id")
)

// routeBetween returns the route from the start of one field to that of another;
// the name "" is the first field.
func routeBetween(t event.Type, from, to string) route {
	r := route{0}
	d := event.Lookup(t)
	on := from == ""
	for i := range d.Fields {
		f := &d.Fields[i]
		if f.Name == to {
			break
		}
		if on = on || f.Name == from; !on || f.OffWire {
			continue
		}
		switch f.Kind {
		case event.Bool:
			r[len(r)-1]++
		case event.Int16:
			r[len(r)-1] += 2
		case event.Int32, event.Uint32:
			r[len(r)-1] += 4
		case event.Uint64, event.Time:
			r[len(r)-1] += 8
		default: // text that ends in NUL
			r = append(r, 0)
		}
	}
	return r
}

// walk returns the payload from the route's end on, nil when it is too short.
func (r route) walk(b []byte) []byte {
	for i, skip := range r {
		if len(b) < skip {
			return nil
		}
		b = b[skip:]
		if i == len(r)-1 {
			break
		}
		end := bytes.IndexByte(b, 0)
		if end < 0 {
			return nil
		}
		b = b[end+1:]
	}
	return b
}

// hostOf returns the host an event is about.
func hostOf(e *event.Event) uint64 {
	if e.Type == legacyHostStatus {
		n, _ := e.Int(legacyHostStatusLayout.host)
		return uint64(n)
	}
	// Encoders write fields in the order of their numbers, and host_id has number
	// 1 in every event about one host, so the rest need not be scanned.
	if e.Type.Family() == event.Protobuf {
		if n, rest := leading(e.Payload, 1); rest != nil {
			return n
		}
	}
	n, _ := e.Int(layouts[e.Type].host)
	return uint64(n)
}

// serviceOf returns the service an event is about; see hostOf.
func serviceOf(e *event.Event) pair {
	switch e.Type {
	case legacyServiceStatus:
		if rest := statusToHost.walk(e.Payload); len(rest) >= 4 {
			host := binary.BigEndian.Uint32(rest)
			if rest = hostToService.walk(rest); len(rest) >= 4 {
				return pair{uint64(host), uint64(binary.BigEndian.Uint32(rest))}
			}
		}
		return pair{}
	case legacyService:
	default:
		if host, rest := leading(e.Payload, 1); rest != nil {
			if service, rest := leading(rest, 2); rest != nil {
				return pair{host, service}
			}
		}
	}
	l := layouts[e.Type]
	host, _ := e.Int(l.host)
	service, _ := e.Int(l.service)
	return pair{uint64(host), uint64(service)}
}

// leading reads a varint with a field number below 16 from the start of a message
// and returns what follows, nil when something else is there.
func leading(b []byte, number byte) (n uint64, rest []byte) {
	if len(b) == 0 || b[0] != number<<3 {
		return 0, nil
	}
	shift := 0
	for i := 1; i < len(b) && i <= 10; i++ {
		n |= uint64(b[i]&0x7f) << shift
		if b[i] < 0x80 {
			return n, b[i+1:]
		}
		shift += 7
	}
	return 0, nil
}

// readable reports whether the whole payload has the shape of its event, without
// decoding it.
func (l *keyed) readable(e *event.Event) bool {
	if l.last.Number != 0 { // any field: serialized messages are scanned to their end
		_, ok := e.Int(l.enabled)
		return ok
	}
	if l.last.Kind == event.String {
		_, ok := e.Text(l.last)
		return ok
	}
	_, ok := e.Int(l.last)
	return ok
}

// configure stores or erases a host or service and reports whether anything
// changed.
func configure[K comparable](c *Cache, objects map[K]*object, id K, last *statuses, of pair, e *event.Event) bool {
	l := layouts[e.Type]
	if len(e.Payload) > MaxObject || !l.readable(e) {
		c.counts.Refused++
		return false
	}
	if enabled, _ := e.Int(l.enabled); enabled == 0 {
		o := objects[id]
		if o == nil {
			return false
		}
		last.remove(of)
		delete(objects, id)
		return true
	}
	o := objects[id]
	if o == nil {
		o = &object{}
		objects[id] = o
	}
	same := o.configType == e.Type && o.source == e.Source && o.more == nil && string(o.config) == string(e.Payload)
	last.add(of)
	o.more = nil
	o.round = c.rounds[e.Source]
	if same {
		return false
	}
	o.config = slices.Clone(e.Payload)
	o.configType, o.source = e.Type, e.Source
	o.name, _ = (&event.Event{Type: e.Type, Payload: o.config}).Text(l.name)
	return true
}

// status keeps the status of an object and reports whether the object is known.
func (c *Cache) status(last *statuses, id pair, e *event.Event) bool {
	p := last.find(id)
	if p == nil {
		return false
	}
	if len(e.Payload) > MaxObject {
		c.counts.Refused++
		return true
	}
	if p.state&isAdapted != 0 {
		o := c.services[id]
		if last == &c.ofHosts {
			o = c.hosts[id.host]
		}
		o.more.status, o.more.scheduled = o.more.status[:0], false
	}
	if !c.settingsOnly {
		last.put(p, e)
	}
	return true
}

// adapt keeps an adaptive event and reports whether the object, which has this place, is known.
func (c *Cache) adapt(o *object, p *place, e *event.Event) bool {
	if o == nil {
		return false
	}
	r := c.decode(*e)
	if r == nil {
		return true
	}
	if o.more == nil {
		o.more = &adaptations{}
		p.state |= isAdapted
	}
	switch e.Type {
	case pbAdaptiveHostStatus, pbAdaptiveServiceStatus:
		o.more.status = merged(o.more.status, e)
	default:
		o.more.settings = merged(o.more.settings, e)
		if r.Get("should_be_scheduled").Present() {
			o.more.scheduled = true
		}
	}
	return true
}

// merged appends a message to earlier ones and makes one of them when they have
// grown long.
func merged(earlier []byte, e *event.Event) []byte {
	all := append(earlier, e.Payload...)
	if len(all) > 512 {
		if r, err := event.Decode(event.Event{Type: e.Type, Payload: all}); err == nil {
			return r.Encode().Payload
		}
	}
	return all
}

// overlay says which members of an event replace which of an object.
type overlay struct{ moves []move }

type move struct {
	from, to int
	double   bool // an integer becomes a double
}

// Members that statuses and adaptive events carry but do not change.
var identity = map[string]bool{"host_id": true, "service_id": true, "type": true, "internal_id": true}

func overlayOf(from, to event.Type) *overlay {
	o := &overlay{}
	source, target := event.Lookup(from), event.Lookup(to)
	for i := range source.Fields {
		name := source.Fields[i].Name
		if identity[name] {
			continue
		}
		if name == "flap_detection_enabled" { // so it is called in AdaptiveService only
			name = "flap_detection"
		}
		for j := range target.Fields {
			if f := &target.Fields[j]; f.Name == name {
				o.moves = append(o.moves, move{i, j, f.Kind == event.Double && source.Fields[i].Kind != event.Double})
			}
		}
	}
	return o
}

// kind is what hosts and services differ in when they are merged.
type kind struct {
	statusOverlay, adaptiveStatusOverlay, settingsOverlay *overlay
	adaptiveStatus, settings                              event.Type
	scheduled                                             int // the index of should_be_scheduled in settings
}

func kindOf(config, status, adaptiveStatus, settings event.Type) *kind {
	k := &kind{
		statusOverlay:         overlayOf(status, config),
		adaptiveStatusOverlay: overlayOf(adaptiveStatus, config),
		settingsOverlay:       overlayOf(settings, config),
		adaptiveStatus:        adaptiveStatus, settings: settings,
	}
	for i := range event.Lookup(settings).Fields {
		if event.Lookup(settings).Fields[i].Name == "should_be_scheduled" {
			k.scheduled = i
		}
	}
	return k
}

var (
	hostKind    = kindOf(pbHost, pbHostStatus, pbAdaptiveHostStatus, pbAdaptiveHost)
	serviceKind = kindOf(pbService, pbServiceStatus, pbAdaptiveServiceStatus, pbAdaptiveService)
)

// apply copies the members of r that are set; skip is the index of one that is
// not copied, or -1.
func (o *overlay) apply(to, r *event.Record, skip int) {
	for _, m := range o.moves {
		v := r.Values[m.from]
		if !v.Present() || m.from == skip {
			continue
		}
		if m.double {
			v = event.FloatValue(v.Float())
		}
		to.Values[m.to] = v
	}
}

// record returns the object with its last status as it is now: a record of the
// protobuf generation that shares nothing the cache will change. It is nil when the
// configuration cannot be read.
func (c *Cache) record(o *object, last event.Event, k *kind) *event.Record {
	r := c.decode(event.Event{Type: o.configType, Source: o.source, Payload: o.config})
	if r == nil {
		return nil
	}
	if len(last.Payload) > 0 {
		if s := c.decode(event.Event{Type: last.Type, Payload: slices.Clone(last.Payload)}); s != nil {
			k.statusOverlay.apply(r, s, -1)
		}
	}
	if o.more == nil {
		return r
	}
	if s := c.decode(event.Event{Type: k.adaptiveStatus, Payload: slices.Clone(o.more.status)}); s != nil {
		k.adaptiveStatusOverlay.apply(r, s, -1)
	}
	skip := k.scheduled
	if o.more.scheduled || len(last.Payload) == 0 {
		skip = -1
	}
	if s := c.decode(event.Event{Type: k.settings, Payload: slices.Clone(o.more.settings)}); s != nil {
		k.settingsOverlay.apply(r, s, skip)
	}
	return r
}
