package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// legacySize returns the bytes a legacy field takes, 0 for text that ends in NUL.
func legacySize(k Kind) int {
	switch k {
	case Bool:
		return 1
	case Int16:
		return 2
	case Int32, Uint32:
		return 4
	case Uint64, Time:
		return 8
	}
	return 0
}

// decodeLegacy reads fields by position. Bytes after the last one are ignored.
func (r *Record) decodeLegacy(payload []byte) error {
	rest := payload
	for i := range r.Descriptor.Fields {
		f := &r.Descriptor.Fields[i]
		if f.OffWire {
			continue
		}
		v, n, err := f.legacyValue(rest)
		if err != nil {
			return fmt.Errorf("field %s at offset %d: %w", f.Name, len(payload)-len(rest), err)
		}
		r.Values[i] = v
		rest = rest[n:]
	}
	return nil
}

var errNoNUL = errors.New("text without its final NUL byte")

// legacyValue reads the field at the start of b and returns its size.
func (f *Field) legacyValue(b []byte) (Value, int, error) {
	size := legacySize(f.Kind)
	if size == 0 {
		end := bytes.IndexByte(b, 0)
		if end < 0 {
			return Value{}, 0, errNoNUL
		}
		if f.Kind == String {
			return TextValue(b[:end:end]), end + 1, nil
		}
		x, err := parseDouble(b[:end])
		return FloatValue(x), end + 1, err
	}
	if len(b) < size {
		return Value{}, 0, fmt.Errorf("%d bytes needed, %d left", size, len(b))
	}
	switch f.Kind {
	case Bool:
		return BoolValue(b[0] != 0), 1, nil
	case Int16:
		return IntValue(int64(int16(binary.BigEndian.Uint16(b)))), 2, nil
	case Int32:
		return IntValue(int64(int32(binary.BigEndian.Uint32(b)))), 4, nil
	case Uint32:
		return IntValue(int64(binary.BigEndian.Uint32(b))), 4, nil
	}
	return IntValue(int64(binary.BigEndian.Uint64(b))), 8, nil
}

// parseDouble reads what C's %f and %g write, nan and inf included.
func parseDouble(text []byte) (float64, error) {
	x, err := strconv.ParseFloat(string(text), 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // out of range is ±Inf, as C reads it
		return x, nil
	}
	if len(text) == 4 && (text[0] == '-' || text[0] == '+') && bytes.EqualFold(text[1:], []byte("nan")) {
		return math.NaN(), nil
	}
	if len(text) > 40 {
		text = text[:40]
	}
	return 0, fmt.Errorf("%q is not a number", text)
}

// appendDouble writes what C's %f writes.
func appendDouble(dst []byte, x float64) []byte {
	switch {
	case math.IsNaN(x):
		return append(dst, "nan"...)
	case math.IsInf(x, 1):
		return append(dst, "inf"...)
	case math.IsInf(x, -1):
		return append(dst, "-inf"...)
	}
	return strconv.AppendFloat(dst, x, 'f', 6, 64)
}

func (r *Record) appendLegacy(dst []byte) []byte {
	for i := range r.Descriptor.Fields {
		f, v := &r.Descriptor.Fields[i], r.Values[i]
		if f.OffWire {
			continue
		}
		switch f.Kind {
		case Bool:
			b := byte(0)
			if v.Bool() {
				b = 1
			}
			dst = append(dst, b)
		case Int16:
			dst = binary.BigEndian.AppendUint16(dst, uint16(v.Int()))
		case Int32, Uint32:
			dst = binary.BigEndian.AppendUint32(dst, uint32(v.Int()))
		case Uint64, Time:
			dst = binary.BigEndian.AppendUint64(dst, uint64(v.Int()))
		case Double:
			dst = append(appendDouble(dst, v.Float()), 0)
		case String:
			text := v.Text()
			if end := bytes.IndexByte(text, 0); end >= 0 { // it cannot be represented
				text = text[:end]
			}
			dst = append(append(dst, text...), 0)
		}
	}
	return dst
}
