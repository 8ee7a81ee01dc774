package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ParseJSON reads an event from a JSON object: its number as "category" and
// "element" or as "_type", and its fields by name. What is not given keeps its
// default. It reads both forms scripts write (times may be quoted), and in
// addition names of enumerations and 0 or 1 for booleans; null is the default.
// Unknown fields are errors that say which name may be meant.
func ParseJSON(text []byte) (Event, error) {
	members, err := object(text)
	if err != nil {
		return Event{}, fmt.Errorf("cannot read event: %w", err)
	}
	d, err := describe(members)
	if err != nil {
		return Event{}, fmt.Errorf("cannot read event: %w", err)
	}
	for _, name := range []string{"_type", "category", "element"} {
		delete(members, name)
	}
	r, err := parseRecord(d, members)
	if err != nil {
		return Event{}, fmt.Errorf("cannot read event %v: %w", d.Type, err)
	}
	return r.Encode(), nil
}

// object reads the members of a JSON object.
func object(text []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	err := json.Unmarshal(text, &members)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong), err == nil && members == nil:
		return nil, fmt.Errorf("%s is not a JSON object", shorten(text))
	case err != nil:
		return nil, fmt.Errorf("%s is not JSON: %w", shorten(text), err)
	}
	return members, nil
}

// describe finds out which event an object is.
func describe(members map[string]json.RawMessage) (*Descriptor, error) {
	number := func(name string, most uint64) (uint64, bool, error) {
		text, ok := members[name]
		if !ok {
			return 0, false, nil
		}
		n, err := strconv.ParseUint(string(text), 10, 32)
		if err != nil || n > most {
			return 0, false, fmt.Errorf("%s is %s, an integer from 0 to %d is needed", name, shorten(text), most)
		}
		return n, true, nil
	}
	category, hasCategory, err1 := number("category", math.MaxUint16)
	element, hasElement, err2 := number("element", math.MaxUint16)
	full, hasType, err3 := number("_type", math.MaxUint32)
	if err := firstError(err1, err2, err3); err != nil {
		return nil, err
	}
	t := Type(full)
	if !hasType {
		if !hasCategory || !hasElement {
			return nil, errors.New(`which event it is must be given: {"category":1, "element":24, ...} or {"_type":65560, ...}`)
		}
		t = MakeType(int(category), int(element))
	}
	if hasCategory && t.Category() != int(category) {
		return nil, fmt.Errorf("_type %d is of category %d, but category is %d", full, t.Category(), category)
	}
	if hasElement && t.Element() != int(element) {
		return nil, fmt.Errorf("_type %d is element %d, but element is %d", full, t.Element(), element)
	}
	if d := Lookup(t); d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("there is no event %d:%d%s", t.Category(), t.Element(), elements(t.Category()))
}

// elements says which events a category has.
func elements(category int) string {
	var list []string
	for _, d := range catalogue.events {
		if d.Type.Category() == category {
			list = append(list, strconv.Itoa(d.Type.Element()))
		}
	}
	if len(list) == 0 {
		return "; a category is 1 (neb) or 3 (storage), for example"
	}
	return fmt.Sprintf("; the elements of category %d are %s", category, strings.Join(list, ", "))
}

// firstError returns the first error that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func parseRecord(d *Descriptor, members map[string]json.RawMessage) (*Record, error) {
	r := NewRecord(d)
	for _, name := range slices.Sorted(maps.Keys(members)) { // errors do not depend on chance
		f := d.Field(name)
		if f == nil {
			return nil, unknownField(d, name)
		}
		if string(members[name]) == "null" {
			continue
		}
		v, err := f.parse(members[name])
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		r.Values[f.index] = v
	}
	return r, nil
}

// parse reads the value of a field.
func (f *Field) parse(text json.RawMessage) (Value, error) {
	if !f.Repeated {
		return f.parseSingle(text)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(text, &elements); err != nil {
		return Value{}, fmt.Errorf("%s is not an array", shorten(text))
	}
	list := make([]Value, len(elements))
	for i, text := range elements {
		v, err := f.parseSingle(text)
		if err != nil {
			return Value{}, fmt.Errorf("element %d: %w", i+1, err)
		}
		list[i] = v
	}
	return ListValue(list), nil
}

func (f *Field) parseSingle(text json.RawMessage) (Value, error) {
	if f.Kind == Message {
		members, err := object(text)
		if err != nil {
			return Value{}, err
		}
		r, err := parseRecord(f.Message, members)
		return MessageValue(r), err
	}
	var quoted string
	isString := json.Unmarshal(text, &quoted) == nil
	word := string(text)
	if isString {
		word = quoted
	}
	switch f.Kind {
	case String:
		if !isString {
			return Value{}, fmt.Errorf("%s is not a string", shorten(text))
		}
		if f.Number == 0 && strings.Contains(quoted, "\x00") {
			return Value{}, fmt.Errorf("%s has a NUL byte, which ends a string in a legacy event", shorten(text))
		}
		return TextValue([]byte(quoted)), nil
	case Bool:
		switch word {
		case "true", "1":
			return BoolValue(true), nil
		case "false", "0":
			return BoolValue(false), nil
		}
		return Value{}, fmt.Errorf("%s is neither true nor false", shorten(text))
	case Double:
		x, err := parseDouble([]byte(word))
		return FloatValue(x), err
	case Enum:
		if n, ok := f.Enum.Number(word); ok {
			return IntValue(int64(n)), nil
		}
	}
	return f.parseInteger(word, text)
}

func (f *Field) parseInteger(word string, text []byte) (Value, error) {
	n, err := strconv.ParseInt(word, 10, 64)
	if u, e := strconv.ParseUint(word, 10, 64); err != nil && e == nil && f.Kind == Uint64 {
		n, err = int64(u), nil
	}
	switch {
	case err != nil && f.Kind == Enum:
		names := slices.Sorted(maps.Values(f.Enum.Values))
		return Value{}, fmt.Errorf("%s is neither an integer nor one of %s", shorten(text), strings.Join(names, ", "))
	case err != nil:
		return Value{}, fmt.Errorf("%s is not an integer", shorten(text))
	case f.Kind.clamp(n) != n:
		return Value{}, fmt.Errorf("%s does not fit, the nearest value is %d", shorten(text), f.Kind.clamp(n))
	}
	return IntValue(n), nil
}

func shorten(text []byte) string {
	text = bytes.TrimSpace(text)
	if len(text) > 60 {
		return strings.ToValidUTF8(string(text[:60]), "") + "..."
	}
	return string(text)
}

func unknownField(d *Descriptor, name string) error {
	best, least := "", max(1, len(name)/3)
	if other, ok := catalogue.renamed[rename{catalogue.pairs[d.Type], name}]; ok {
		best, least = other, -1 // the name in the other generation
	}
	for i := range d.Fields {
		if n := distance(strings.ToLower(name), d.Fields[i].Name); n <= least {
			best, least = d.Fields[i].Name, n-1
		}
	}
	for i := 0; i < len(d.Fields) && best == ""; i++ {
		if strings.HasPrefix(d.Fields[i].Name, strings.ToLower(name)+"_") {
			best = d.Fields[i].Name
		}
	}
	if best == "" {
		return fmt.Errorf("there is no field %q", name)
	}
	return fmt.Errorf("there is no field %q; did you mean %q?", name, best)
}

// distance is how many bytes have to be inserted, removed or replaced to get from
// a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
