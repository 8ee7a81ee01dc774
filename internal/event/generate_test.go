package event

import (
	"fmt"
	"math"

	"pgregory.net/rapid"
)

// dump is a record's content with nothing aliased or shared.
func dump(r *Record) []string {
	if r == nil {
		return nil
	}
	out := []string{fmt.Sprintf("%s %d %d", r.Descriptor.Name, r.Source, r.Destination)}
	for i, v := range r.Values {
		out = append(out, r.Descriptor.Fields[i].Name+"="+dumpValue(v))
	}
	return out
}

func dumpValue(v Value) string {
	switch v.kind {
	case absentValue:
		return "absent"
	case floatValue:
		return fmt.Sprint(v.Float())
	case textValue:
		return fmt.Sprintf("%q", v.Text())
	case messageValue:
		return fmt.Sprint(dump(v.Message()))
	case listValue:
		out := "["
		for _, v := range v.List() {
			out += dumpValue(v) + " "
		}
		return out + "]"
	}
	return fmt.Sprint(v.kind, v.Int())
}

// drawRecord draws a record of any content its wire form can carry.
func drawRecord(t *rapid.T, d *Descriptor) *Record {
	r := NewRecord(d)
	if d.Type != 0 {
		r.Source = rapid.Uint32().Draw(t, "source")
		r.Destination = rapid.Uint32().Draw(t, "destination")
	}
	for i := range d.Fields {
		f := &d.Fields[i]
		switch {
		case f.OffWire, f.Optional && rapid.Bool().Draw(t, "unset"):
			continue
		case f.Repeated:
			n := rapid.IntRange(0, 3).Draw(t, "n")
			var list []Value
			for range n {
				list = append(list, drawValue(t, f))
			}
			r.Values[i] = ListValue(list)
		case f.Kind == Message && rapid.Bool().Draw(t, "unset"):
			continue
		default:
			r.Values[i] = drawValue(t, f)
		}
	}
	return r
}

func drawValue(t *rapid.T, f *Field) Value {
	switch f.Kind {
	case Bool:
		return BoolValue(rapid.Bool().Draw(t, f.Name))
	case Double:
		if f.Number == 0 { // six decimals are all the wire has
			return FloatValue(float64(rapid.Int32().Draw(t, f.Name)) / 64)
		}
		return FloatValue(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Inf(-1), math.NaN()})).Draw(t, f.Name))
	case String:
		text := rapid.SliceOfN(rapid.ByteRange(1, 255), 0, 20).Draw(t, f.Name)
		return TextValue(text)
	case Message:
		return MessageValue(drawRecord(t, f.Message))
	}
	n := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{-1, 0, 1, math.MaxUint32})).Draw(t, f.Name)
	return IntValue(f.Kind.clamp(n))
}

// sample returns a record with a value of its own in every field.
func sample(d *Descriptor) *Record {
	r := NewRecord(d)
	for i := range d.Fields {
		f := &d.Fields[i]
		switch v := sampleValue(f, i); {
		case f.OffWire:
		case f.Repeated:
			r.Values[i] = ListValue([]Value{v, v})
		default:
			r.Values[i] = v
		}
	}
	return r
}

func sampleValue(f *Field, i int) Value {
	switch f.Kind {
	case Bool:
		return BoolValue(true)
	case Double:
		return FloatValue(float64(i) + 0.5)
	case String:
		return TextValue([]byte(fmt.Sprintf("%s %d", f.Name, i)))
	case Message:
		return MessageValue(sample(f.Message))
	case Time:
		return IntValue(1700000000 + int64(i))
	}
	return IntValue(int64(i) + 1)
}
