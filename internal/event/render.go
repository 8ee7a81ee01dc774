package event

import (
	"math"
	"strconv"
)

// RenderV2 returns a record in the JSON form that version 2 of the script interface
// gives an event (specification 5.3.2): members in the order of the catalogue,
// absent and hidden ones left out, a comma and a space between members, legacy
// times quoted. Not a number and infinities are nan, inf and -inf.
func RenderV2(r *Record) []byte {
	t := r.Descriptor.Type
	b := append(make([]byte, 0, 64+24*len(r.Values)), `{"_type":`...)
	b = strconv.AppendUint(b, uint64(t), 10)
	b = append(b, `, "category":`...)
	b = strconv.AppendInt(b, int64(t.Category()), 10)
	b = append(b, `, "element":`...)
	b = strconv.AppendInt(b, int64(t.Element()), 10)
	return append(r.renderMembers(b, true), '}')
}

// renderMembers appends the visible members; more says that something stands
// before them.
func (r *Record) renderMembers(b []byte, more bool) []byte {
	for i := range r.Descriptor.Fields {
		f, v := &r.Descriptor.Fields[i], r.Values[i]
		if !f.Visible(v) {
			continue
		}
		if more {
			b = append(b, ", "...)
		}
		more = true
		b = append(append(append(b, '"'), f.Name...), `":`...)
		if !f.Repeated {
			b = f.render(b, v)
			continue
		}
		separator := ","
		if f.Kind == Message {
			separator = ", "
		}
		b = append(b, '[')
		for j, v := range v.List() {
			if j > 0 {
				b = append(b, separator...)
			}
			b = f.render(b, v)
		}
		b = append(b, ']')
	}
	return b
}

// render appends a single value.
func (f *Field) render(b []byte, v Value) []byte {
	switch f.Kind {
	case Bool:
		return strconv.AppendBool(b, v.Bool())
	case Time:
		return append(strconv.AppendInt(append(b, '"'), v.Int(), 10), '"')
	case Uint64:
		return strconv.AppendUint(b, v.bits, 10)
	case Double:
		return appendShortest(b, v.Float())
	case String:
		return appendQuoted(b, v.Text())
	case Message:
		m := v.Message()
		if m == nil {
			m = NewRecord(f.Message)
		}
		return append(m.renderMembers(append(b, '{'), false), '}')
	}
	return strconv.AppendInt(b, v.Int(), 10)
}

// appendShortest writes the shortest decimal that reads back as x.
func appendShortest(b []byte, x float64) []byte {
	switch size := math.Abs(x); {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return appendDouble(b, x)
	case size != 0 && (size < 1e-4 || size >= 1e16):
		return strconv.AppendFloat(b, x, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, x, 'f', -1, 64)
}

// appendQuoted writes a JSON string. Only what JSON forbids is escaped: bytes that
// are not UTF-8 pass as they are (specification 5.3.1).
func appendQuoted(b, text []byte) []byte {
	const hex = "0123456789ABCDEF"
	b = append(b, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
