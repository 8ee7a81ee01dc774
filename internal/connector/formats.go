package connector

import (
	"fmt"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/lua"
)

// cached marks the record types of objects from the cache: they have the form of
// the event, and are not events the filter lets through.
const cached = 1 << 31

var kinds = map[event.Kind]lua.Kind{
	event.Bool: lua.KindBool, event.Int16: lua.KindInt16, event.Int32: lua.KindInt32, event.Enum: lua.KindInt32,
	event.Uint32: lua.KindUint32, event.Int64: lua.KindInt64, event.Time: lua.KindInt64, event.Uint64: lua.KindUint64,
	event.Double: lua.KindDouble, event.String: lua.KindString, event.Message: lua.KindMessage,
}

var absents = map[event.Absent]lua.Absent{
	event.AbsentNever: lua.AbsentNever, event.AbsentZero: lua.AbsentZero,
	event.AbsentMinusOne: lua.AbsentMinusOne, event.AbsentEmpty: lua.AbsentEmpty,
}

// defineFormats tells the VM how the events a script gets look: those of its
// generation that the filter lets through. Others are not defined, so that Dispatch
// passes over them. With alias the type is also the member "type" of events that have none of that name.
func defineFormats(vm *lua.VM, family event.Family, filter *event.Filter, alias bool) error {
	for _, d := range event.Descriptors() {
		f := format(d)
		if d.Family == family && filter.Match(d.Type) {
			shown := f
			if alias && d.Field("type") == nil {
				shown.Constants = append(f.Constants[:len(f.Constants):len(f.Constants)], lua.Constant{Name: "type", Value: int64(d.Type)})
			}
			if err := vm.DefineRecord(uint32(d.Type), shown); err != nil {
				return err
			}
		}
		if d.Family == event.Protobuf {
			if err := vm.DefineRecord(cached|uint32(d.Type), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// format describes an event for the VM.
func format(d *event.Descriptor) lua.RecordFormat {
	f := *message(d, map[*event.Descriptor]*lua.RecordFormat{})
	f.Name = "broker_event"
	f.Constants = []lua.Constant{
		{Name: "_type", Value: int64(d.Type)},
		{Name: "category", Value: int64(d.Type.Category())},
		{Name: "element", Value: int64(d.Type.Element())},
	}
	return f
}

func message(d *event.Descriptor, made map[*event.Descriptor]*lua.RecordFormat) *lua.RecordFormat {
	if f := made[d]; f != nil {
		return f
	}
	f := &lua.RecordFormat{Name: d.Name, Protobuf: d.Family != event.Legacy}
	made[d] = f
	for i := range d.Fields {
		field := &d.Fields[i]
		if field.OffWire { // at its default, which its mark makes disappear
			continue
		}
		kind, ok := kinds[field.Kind]
		if !ok {
			panic(fmt.Sprintf("BUG: field %s of %s has the kind %d", field.Name, d.Name, field.Kind))
		}
		to := lua.Field{
			Name: field.Name, Number: field.Number, Kind: kind,
			Optional: field.Optional, Repeated: field.Repeated, Absent: absents[field.Absent],
		}
		if field.Hidden {
			to.Name = ""
		}
		if field.Message != nil {
			to.Message = message(field.Message, made)
		}
		f.Fields = append(f.Fields, to)
	}
	return f
}
