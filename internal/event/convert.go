package event

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"sync"
)

// Objects gives access to the configuration objects known so far, which complete
// a status that becomes a legacy one. The records may be of either generation;
// nil is an object that is not known.
type Objects interface {
	Host(id uint64) *Record
	Service(hostID, id uint64) *Record
}

// Convert returns a record in the other generation (specification 2.4, 2.5): r
// itself when it already is of that family, nil when the event has no such form.
// r is not changed, but the result may share text and lists with it. known may be
// nil; then the configuration members of a legacy status keep their defaults.
func Convert(r *Record, to Family, known Objects) *Record {
	if r.Descriptor.Family == to {
		return r
	}
	out := new(Record)
	if !out.convert(r, known) {
		return nil
	}
	return out
}

// convert makes out the other form of r, and reports false when there is none.
func (out *Record) convert(r *Record, known Objects) bool {
	pair, ok := Pair(r.Descriptor.Type)
	if !ok {
		return false
	}
	d := Lookup(pair)
	out.Descriptor, out.Source, out.Destination = d, r.Source, r.Destination
	out.Values = append(out.Values[:0], d.defaults...)
	mappingBetween(r.Descriptor, d).apply(r, out)
	if d.Family == Protobuf {
		out.afterLegacy(r)
	} else {
		out.afterProtobuf(r, known)
	}
	return true
}

// Converter converts events with memory that is used again. It belongs to one
// goroutine.
type Converter struct {
	in, out Record
	payload []byte
}

// Convert is [Convert] for encoded events: e itself when it already is of that
// family, ok false when it has no such form. The payload holds until the next call.
func (c *Converter) Convert(e Event, to Family, known Objects) (converted Event, ok bool, err error) {
	if e.Type.Family() == to {
		return e, true, nil
	}
	if _, ok := Pair(e.Type); !ok {
		return Event{}, false, nil
	}
	if err := c.in.Read(e); err != nil {
		return Event{}, false, err
	}
	c.out.convert(&c.in, known)
	c.payload = c.out.AppendPayload(c.payload[:0])
	return Event{Type: c.out.Descriptor.Type, Source: e.Source, Destination: e.Destination, Payload: c.payload}, true, nil
}

// mapping is how the fields of one descriptor fill those of another.
type mapping []move

type move struct {
	source, target int
	from, to       *Field
	fallback       Value // replaces a value that means absent
	when           int64 // the value that means absent
	replaced       bool  // whether there is such a value
	plain          bool  // a value that is there needs no change
}

var mappings sync.Map // of [2]*Descriptor to mapping

func mappingBetween(from, to *Descriptor) mapping {
	key := [2]*Descriptor{from, to}
	if m, ok := mappings.Load(key); ok {
		return m.(mapping)
	}
	var m mapping
	for i := range to.Fields {
		target := &to.Fields[i]
		name := target.Name
		if other, ok := catalogue.renamed[rename{to.Type, name}]; ok && catalogue.pairs[to.Type] == from.Type {
			name = other
		}
		source := from.Field(name)
		if source == nil {
			continue
		}
		mv := move{source: source.index, target: i, from: source, to: target}
		switch started := sentinelTimes[target.Name] && (to.Name == "Downtime" || to.Name == "downtime"); {
		case started: // -1 in both generations
		case source.Absent == AbsentMinusOne:
			mv.replaced, mv.when, mv.fallback = true, -1, IntValue(0)
		case target.Absent == AbsentMinusOne:
			mv.replaced, mv.when, mv.fallback = true, 0, IntValue(-1)
		}
		mv.plain = !mv.replaced && source.Kind == target.Kind
		m = append(m, mv)
	}
	kept, _ := mappings.LoadOrStore(key, m)
	return kept.(mapping)
}

// sentinelTimes are the times of a downtime that are -1 while they are not
// reached, in both generations.
var sentinelTimes = map[string]bool{"actual_start_time": true, "actual_end_time": true, "deletion_time": true}

func (m mapping) apply(from, to *Record) {
	for i := range m {
		mv := &m[i]
		if v := &from.Values[mv.source]; mv.plain && v.Present() {
			to.Values[mv.target] = *v
		} else {
			to.Values[mv.target] = mv.value(*v)
		}
	}
}

func (mv *move) value(v Value) Value {
	if !v.Present() {
		return mv.to.Default()
	}
	if mv.replaced && int64(v.bits) == mv.when {
		return mv.fallback
	}
	if mv.from.Kind == mv.to.Kind {
		return v
	}
	switch mv.to.Kind {
	case Bool:
		return BoolValue(v.Bool())
	case Double:
		if mv.from.Kind == Uint64 {
			return FloatValue(float64(v.bits))
		}
		return FloatValue(v.Float())
	}
	n := v.Int()
	if mv.from.Kind == Uint64 && n < 0 && mv.to.Kind != Time && mv.to.Kind != Int64 {
		n = math.MaxInt64
	}
	return IntValue(mv.to.Kind.clamp(n))
}

// clamp keeps a number inside the range of an integer kind.
func (k Kind) clamp(n int64) int64 {
	switch k {
	case Int16:
		return min(max(n, math.MinInt16), math.MaxInt16)
	case Int32, Enum:
		return min(max(n, math.MinInt32), math.MaxInt32)
	case Uint32:
		return min(max(n, 0), math.MaxUint32)
	}
	return n
}

// splitsOutput are the protobuf events with a long_output of their own.
func (d *Descriptor) splitsOutput() bool {
	return d.Family == Protobuf && d.byName["long_output"] != nil && d.byName["output"] != nil
}

// afterLegacy does what needs more than one field: r is the legacy record.
func (out *Record) afterLegacy(r *Record) {
	if out.Descriptor.splitsOutput() {
		short, long, _ := bytes.Cut(r.Get("output").Text(), []byte("\n"))
		out.Set("output", TextValue(short))
		out.Set("long_output", TextValue(long))
	}
	switch out.Descriptor.Name {
	case "Service":
		out.setServiceType(r.Get("host_name").Text(), r.Get("description").Text())
	case "ServiceStatus":
		out.setServiceType(r.Get("host_name").Text(), r.Get("service_description").Text())
	}
}

// setServiceType recognises the services that stand for meta services and business
// activities by the names Centreon gives them.
func (out *Record) setServiceType(host, service []byte) {
	kind, prefix := int64(0), ""
	switch {
	case string(host) == "_Module_Meta":
		kind, prefix = 2, "meta_"
	case bytes.HasPrefix(host, []byte("_Module_BAM")):
		kind, prefix = 3, "ba_"
	}
	number, ok := strings.CutPrefix(string(service), prefix)
	if id, err := strconv.ParseUint(number, 10, 64); kind != 0 && ok && err == nil {
		out.Set("type", IntValue(kind))
		out.Set("internal_id", IntValue(int64(id)))
	}
}

// afterProtobuf does what needs more than one field or object: r is the protobuf
// record.
func (out *Record) afterProtobuf(r *Record, known Objects) {
	if r.Descriptor.splitsOutput() {
		output := r.Get("output").Text()
		joined := append(output[:len(output):len(output)], '\n')
		out.Set("output", TextValue(append(joined, r.Get("long_output").Text()...)))
	}
	switch out.Descriptor.Name {
	case "host_status":
		if known != nil {
			out.complete(r, known.Host(uint64(r.Get("host_id").Int())))
		}
	case "service_status":
		if known != nil {
			o := known.Service(uint64(r.Get("host_id").Int()), uint64(r.Get("service_id").Int()))
			out.complete(r, o)
			if o != nil {
				out.Set("service_description", TextValue(o.Get("description").Text()))
			}
		}
	default:
		return
	}
	out.Set("acknowledged", BoolValue(r.Get("acknowledgement_type").Int() > 0))
	out.Set("last_update", IntValue(r.Get("last_check").Int()))
}

// complete takes the members that status does not have from a cached object.
func (out *Record) complete(status, object *Record) {
	if object == nil {
		return
	}
	completion(object.Descriptor, status.Descriptor, out.Descriptor).apply(object, out)
}

var completions sync.Map // of [2]*Descriptor, of an object and of a status that is made, to mapping

// completion is the part of the mapping from an object to a status that is made of
// another one, status, which that one has no members for.
func completion(object, status, to *Descriptor) mapping {
	key := [2]*Descriptor{object, to}
	if m, ok := completions.Load(key); ok {
		return m.(mapping)
	}
	var m mapping
	for _, mv := range mappingBetween(object, to) {
		if status.Field(mv.to.Name) == nil {
			m = append(m, mv)
		}
	}
	kept, _ := completions.LoadOrStore(key, m)
	return kept.(mapping)
}
