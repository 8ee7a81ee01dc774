package event

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

//go:embed catalogue.txt
var catalogueText string

// catalogue is built once, before main runs, and never changed.
var catalogue = mustReadCatalogue(catalogueText)

// Kind is the encoding of a field's value on the wire.
type Kind uint8

const (
	Bool    Kind = iota + 1
	Int16        // legacy only
	Int32        // legacy: 4 bytes; protobuf: varint
	Uint32       // likewise
	Int64        // protobuf only
	Uint64       // scripts read it reinterpreted as signed
	Time         // legacy only: 8 bytes, signed seconds since 1970
	Double       // legacy: text of %f; protobuf: 8 bytes
	String       // bytes; not necessarily UTF-8
	Enum         // protobuf only: a 32-bit number
	Message      // protobuf only
)

var kindNames = map[string]Kind{
	"bool": Bool, "i16": Int16, "i32": Int32, "u32": Uint32, "i64": Int64, "u64": Uint64,
	"time": Time, "dbl": Double, "str": String,
}

// Absent is the value with which a legacy field counts as not there.
type Absent uint8

const (
	AbsentNever    Absent = iota
	AbsentZero            // 0
	AbsentMinusOne        // -1
	AbsentEmpty           // the empty string
)

// Enumeration names the numbers of an enumeration. Unknown numbers are legal.
type Enumeration struct {
	Name   string
	Values map[int32]string
}

// Number returns the number with a name.
func (e *Enumeration) Number(name string) (int32, bool) {
	for n, s := range e.Values {
		if s == name {
			return n, true
		}
	}
	return 0, false
}

// Field describes one member of an event or of a message inside one.
type Field struct {
	Name     string
	Number   int // of the protobuf field; 0 in legacy events
	Kind     Kind
	Optional bool // protobuf: presence is tracked
	Repeated bool // protobuf: a list; true for maps too
	Map      bool // protobuf: the list's messages are entries with key and value
	Hidden   bool // on the wire, not visible to scripts
	OffWire  bool // visible to scripts, not on the wire
	Absent   Absent
	Message  *Descriptor  // of Kind Message
	Enum     *Enumeration // of Kind Enum

	index int // in Descriptor.Fields
	// How to reach a legacy field: for each string before it, the number of
	// bytes to skip first; then skip bytes to the field itself.
	strings []int
	skip    int
}

// Descriptor describes an event or a message inside one.
type Descriptor struct {
	Type   Type   // 0 for messages inside events
	Name   string // legacy name or name of the protobuf message
	Filter string // name in category filters and logs (specification 1.10)
	Family Family
	Fields []Field // in wire order (legacy) or in order of numbers (protobuf)

	byName   map[string]*Field
	byNumber []*Field // nil where the number is not used
	defaults []Value
}

// Field returns the field with a name, or nil.
func (d *Descriptor) Field(name string) *Field { return d.byName[name] }

// numbered returns the field with a protobuf number, or nil.
func (d *Descriptor) numbered(n int) *Field {
	if n >= len(d.byNumber) || n < 0 {
		return nil
	}
	return d.byNumber[n]
}

// Lookup returns the descriptor of a type, or nil when its payload is not known.
func Lookup(t Type) *Descriptor {
	category, element := t>>16, t&0xffff
	if category >= Type(len(catalogue.table)) || element >= Type(len(catalogue.table[0])) {
		return nil
	}
	return catalogue.table[category][element]
}

// Descriptors returns the descriptors of all events in the order of the
// catalogue: legacy ones first. The slice is shared; do not change it.
func Descriptors() []*Descriptor { return catalogue.events }

// Pair returns the type of the same event in the other generation (specification
// 2.5), and false when there is none.
func Pair(t Type) (Type, bool) {
	p, ok := catalogue.pairs[t]
	return p, ok
}

type tables struct {
	categories  map[int]string
	enums       map[string]*Enumeration
	messages    map[string]*Descriptor
	events      []*Descriptor
	table       [8][64]*Descriptor
	undecodable map[Type]string
	pairs       map[Type]Type
	renamed     map[rename]string // name in the other generation
}

// rename is a field whose name differs in the other generation.
type rename struct {
	of   Type
	name string
}

func mustReadCatalogue(text string) *tables {
	c := &tables{
		categories:  map[int]string{},
		enums:       map[string]*Enumeration{},
		messages:    map[string]*Descriptor{},
		undecodable: map[Type]string{},
		pairs:       map[Type]Type{},
		renamed:     map[rename]string{},
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if err := c.statement(words); err != nil {
			panic(fmt.Sprintf("catalogue.txt:%d: %v", number, err))
		}
	}
	for _, d := range c.messages {
		if len(d.Fields) == 0 {
			panic("catalogue.txt: message " + d.Name + " is used but not described")
		}
	}
	return c
}

func (c *tables) statement(words []string) error {
	switch verb, words := words[0], words[1:]; verb {
	case "category":
		n, err := strconv.Atoi(words[0])
		c.categories[n] = words[1]
		return err
	case "enum":
		e := &Enumeration{Name: words[0], Values: map[int32]string{}}
		c.enums[e.Name] = e
		for _, w := range words[1:] {
			n, name, _ := strings.Cut(w, "=")
			v, err := strconv.Atoi(n)
			if err != nil {
				return err
			}
			e.Values[int32(v)] = name
		}
	case "message":
		return c.protobuf(c.message(words[0]), words[1:])
	case "legacy", "protobuf":
		t, err := parseType(words[0])
		if err != nil {
			return err
		}
		d := &Descriptor{Type: t, Name: words[1], Filter: words[1]}
		c.events = append(c.events, d)
		c.table[t.Category()][t.Element()] = d
		if verb == "legacy" {
			return d.legacy(words[2:])
		}
		d.Filter = words[2]
		return c.protobuf(d, words[3:])
	case "undecodable":
		t, err := parseType(words[0])
		c.undecodable[t] = strings.Join(words[1:], " ")
		return err
	case "pair":
		legacy, err := parseType(words[0])
		if err != nil {
			return err
		}
		protobuf, err := parseType(words[1])
		c.pairs[legacy], c.pairs[protobuf] = protobuf, legacy
		for _, w := range words[2:] {
			old, name, _ := strings.Cut(w, "=")
			c.renamed[rename{legacy, old}], c.renamed[rename{protobuf, name}] = name, old
		}
		return err
	default:
		return fmt.Errorf("unknown statement %q", verb)
	}
	return nil
}

func parseType(s string) (Type, error) {
	category, element, _ := strings.Cut(s, ":")
	c, err := strconv.ParseUint(category, 10, 16)
	if err != nil {
		return 0, err
	}
	e, err := strconv.ParseUint(element, 10, 16)
	return MakeType(int(c), int(e)), err
}

// message returns the descriptor of a message inside events, which may be
// described further down.
func (c *tables) message(name string) *Descriptor {
	d := c.messages[name]
	if d == nil {
		d = &Descriptor{Name: name}
		c.messages[name] = d
	}
	return d
}

// legacy describes the fields of an event of the first generation.
func (d *Descriptor) legacy(words []string) error {
	d.Family = Legacy
	d.Fields = make([]Field, len(words))
	var texts []int
	skip := 0
	for i, w := range words {
		f := &d.Fields[i]
		switch w[0] {
		case '(':
			f.Hidden, w = true, strings.Trim(w, "()")
		case '~':
			f.OffWire, w = true, strings.Trim(w, "~")
		}
		w, mark, _ := strings.Cut(w, "!")
		name, kind, _ := strings.Cut(w, ":")
		f.Name, f.Kind = name, kindNames[kind]
		switch {
		case f.Kind == 0:
			return fmt.Errorf("unknown kind %q", kind)
		case mark == "0" && f.Kind == String:
			f.Absent = AbsentEmpty
		case mark == "0":
			f.Absent = AbsentZero
		case mark == "-1":
			f.Absent = AbsentMinusOne
		}
		f.strings, f.skip = texts[:len(texts):len(texts)], skip
		switch {
		case f.OffWire:
		case legacySize(f.Kind) == 0:
			texts = append(texts[:len(texts):len(texts)], skip)
			skip = 0
		default:
			skip += legacySize(f.Kind)
		}
	}
	d.index()
	return nil
}

// protobuf describes the fields of a message.
func (c *tables) protobuf(d *Descriptor, words []string) error {
	d.Family = Protobuf
	d.Fields = make([]Field, len(words))
	for i, w := range words {
		number, w, _ := strings.Cut(w, "=")
		n, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		name, typ, _ := strings.Cut(w, ":")
		f := &d.Fields[i]
		f.Name, f.Number = name, n
		if err := c.protobufType(d, f, typ); err != nil {
			return err
		}
	}
	d.index()
	return nil
}

func (c *tables) protobufType(d *Descriptor, f *Field, typ string) error {
	if t, ok := strings.CutSuffix(typ, "?"); ok {
		f.Optional, typ = true, t
	}
	switch {
	case typ[0] == '[':
		f.Repeated = true
		return c.protobufType(d, f, strings.Trim(typ, "[]"))
	case typ[0] == '<':
		key, value, _ := strings.Cut(strings.Trim(typ, "<>"), ",")
		f.Repeated, f.Map = true, true
		f.Kind, f.Message = Message, c.message(d.Name+"."+f.Name)
		return c.protobuf(f.Message, []string{"1=key:" + key, "2=value:" + value})
	case typ[0] == '{':
		f.Kind, f.Message = Message, c.message(strings.Trim(typ, "{}"))
	case kindNames[typ] != 0:
		f.Kind = kindNames[typ]
	case c.enums[typ] != nil:
		f.Kind, f.Enum = Enum, c.enums[typ]
	default:
		return fmt.Errorf("unknown type %q", typ)
	}
	return nil
}

func (d *Descriptor) index() {
	d.byName = make(map[string]*Field, len(d.Fields))
	for i := range d.Fields {
		f := &d.Fields[i]
		f.index = i
		d.defaults = append(d.defaults, f.Default())
		d.byName[f.Name] = f
		for f.Number >= len(d.byNumber) && d.Family == Protobuf {
			d.byNumber = append(d.byNumber, nil)
		}
		if d.Family == Protobuf {
			d.byNumber[f.Number] = f
		}
	}
}
