package event

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write testdata/events.golden anew")

// TestGolden keeps the payload and the JSON form of every event of the catalogue:
// three lines each (event, payload, JSON).
func TestGolden(t *testing.T) {
	var got strings.Builder
	for _, d := range Descriptors() {
		r := sample(d)
		e := r.Encode()
		fmt.Fprintf(&got, "%v\n%s\n%s\n", d.Type, hex.EncodeToString(e.Payload), RenderV2(r))
	}
	name := filepath.Join("testdata", "events.golden")
	if *update {
		if err := os.WriteFile(name, []byte(got.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Fatal(diff)
	}
	lines := strings.Split(string(want), "\n")
	for i, d := range Descriptors() {
		payload, err := hex.DecodeString(lines[3*i+1])
		if err != nil {
			t.Fatal(err)
		}
		r, err := Decode(Event{Type: d.Type, Payload: payload})
		if err != nil {
			t.Error(err)
		} else if diff := cmp.Diff(dump(sample(d)), dump(r)); diff != "" {
			t.Errorf("%v: %s", d.Type, diff)
		}
		e, err := ParseJSON([]byte(lines[3*i+2]))
		if err != nil {
			t.Error(err)
		} else if back, _ := Decode(e); back == nil || string(RenderV2(back)) != lines[3*i+2] {
			t.Errorf("%v: JSON does not read back", d.Type)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(Descriptors()).Draw(t, "event")
		r := drawRecord(t, d)
		e := r.Encode()
		got, err := Decode(e)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(dump(r), dump(got)); diff != "" {
			t.Fatal(diff)
		}
		if err := Check(e); err != nil {
			t.Fatal(err)
		}
		inPlace(t, e, got)
	})
}

// inPlace compares access to single fields with a decoded record.
func inPlace(t interface{ Fatalf(string, ...any) }, e Event, r *Record) {
	for i := range r.Descriptor.Fields {
		f, v := &r.Descriptor.Fields[i], r.Values[i]
		n, isInt := e.Int(f)
		text, isText := e.Text(f)
		x, isFloat := e.Float(f)
		there := v.Present() && !f.marked(v) && !f.Repeated && !f.OffWire
		want := [3]bool{there && v.kind == intValue || there && v.kind == boolValue, there && v.kind == textValue, there && v.kind == floatValue}
		if got := [3]bool{isInt, isText, isFloat}; got != want {
			t.Fatalf("%v: %s: found %v, want %v", e.Type, f.Name, got, want)
		}
		if isInt && n != v.Int() || isText && !bytes.Equal(text, v.Text()) || isFloat && fmt.Sprint(x) != fmt.Sprint(v.Float()) {
			t.Fatalf("%v: %s is %d %q %v in place, %s decoded", e.Type, f.Name, n, text, x, dumpValue(v))
		}
	}
}

// TestProtobufLibrary has Google's implementation read what this package writes
// and write what it reads, with descriptors made from the catalogue.
func TestProtobufLibrary(t *testing.T) {
	file := &descriptorpb.FileDescriptorProto{Name: proto.String("event.proto"), Package: proto.String("t"), Syntax: proto.String("proto3")}
	names := map[string]*Descriptor{}
	for _, d := range catalogue.messages {
		if !strings.Contains(d.Name, ".") {
			names["M"+d.Name] = d
		}
	}
	for _, d := range Descriptors() {
		if d.Family == Protobuf {
			names["E"+d.Filter] = d
		}
	}
	for name, d := range names {
		file.MessageType = append(file.MessageType, describeProto(name, d))
	}
	fd, err := protodesc.NewFile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(Descriptors()).Filter(func(d *Descriptor) bool { return d.Family == Protobuf }).Draw(t, "event")
		r := drawRecord(t, d)
		e := r.Encode()
		md := fd.Messages().ByName(protoName("E" + d.Filter))
		m := dynamicpb.NewMessage(md)
		if err := proto.Unmarshal(e.Payload, m); err != nil {
			t.Fatal(err)
		}
		if len(m.GetUnknown()) > 0 {
			t.Fatalf("unknown fields %x", m.GetUnknown())
		}
		theirs, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(Event{Type: e.Type, Source: e.Source, Destination: e.Destination, Payload: theirs})
		if err != nil {
			t.Fatal(err)
		}
		if d.Filter != "rebuild_message" { // their maps drop duplicate keys and sort
			if diff := cmp.Diff(dump(r), dump(back)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func TestProtobufForms(t *testing.T) {
	remove := MakeType(3, 8) // 1 index_ids:[u64], 2 metric_ids:[u64]
	f := func(typ Type, payload string, want string) {
		t.Helper()
		b, err := hex.DecodeString(strings.ReplaceAll(payload, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		e := Event{Type: typ, Payload: b}
		r, err := Decode(e)
		checked := Check(e)
		if (err == nil) != (checked == nil) {
			t.Errorf("%s: Decode says %v, Check says %v", payload, err, checked)
		}
		got := fmt.Sprint(err)
		if err == nil {
			got = string(RenderV2(r))
		}
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", payload, got, want)
		}
	}
	head := `{"_type":196616, "category":3, "element":8, `
	f(remove, "0a 02 0203", head+`"index_ids":[2,3], "metric_ids":[]}`)                 // packed
	f(remove, "08 02 08 03 12 01 05", head+`"index_ids":[2,3], "metric_ids":[5]}`)      // unpacked
	f(remove, "08 02 0a 02 0304 08 05", head+`"index_ids":[2,3,4,5], "metric_ids":[]}`) // mixed
	f(remove, "18 01 22 01 00 0a 01 02", head+`"index_ids":[2], "metric_ids":[]}`)      // unknown 3, 4
	f(remove, "a2f40f 05", `cannot decode event storage:RemoveGraphMessage (3:8) of 4 bytes from source 0: unknown field 32580 at offset 0: the payload ends inside it`)
	f(remove, "0a 05 02", `cannot decode event storage:RemoveGraphMessage (3:8) of 3 bytes from source 0: field index_ids at offset 0: the payload ends inside it`)
	f(remove, "0a 01 80", `cannot decode event storage:RemoveGraphMessage (3:8) of 3 bytes from source 0: field index_ids at offset 0: the payload ends inside it`)
	f(remove, "09 0000000000000000", `cannot decode event storage:RemoveGraphMessage (3:8) of 9 bytes from source 0: field index_ids at offset 0: wire type 1 where 0 is expected`)
	f(remove, "00", `cannot decode event storage:RemoveGraphMessage (3:8) of 1 bytes from source 0: field number at offset 0: invalid field number`)
	ba := MakeType(6, 18) // 1 header:{1 conf_version}, 2 ba_id:u32, 3 in_downtime
	head = `{"_type":393234, "category":6, "element":18, `
	f(ba, "", head+`"header":{"conf_version":0}, "ba_id":0, "in_downtime":false}`)
	f(ba, "10 01 10 02 0a 00 0a 02 0807", head+`"header":{"conf_version":7}, "ba_id":2, "in_downtime":false}`) // the last counts, messages merge
	f(ba, "10 ffffffffffffffffff01", head+`"header":{"conf_version":0}, "ba_id":4294967295, "in_downtime":false}`)
	f(MakeType(3, 13), "0a 02 6161", `{"_type":196621, "category":3, "element":13}`)
	f(MakeType(1, 47), "", `cannot decode event neb:HostDependency (1:47): its payload is not known`)
	f(MakeType(1, 99), "", `cannot decode event 1:99: its payload is not known`)
	f(MakeType(300, 99), "", `cannot decode event 300:99: its payload is not known`)
}

// TestTooManyElements checks the bound of what a small payload may become.
func TestTooManyElements(t *testing.T) {
	f := func(typ Type, payload []byte, n int) {
		t.Helper()
		e := Event{Type: typ, Payload: payload}
		_, err := Decode(e)
		checked := Check(e)
		if refused := n > maxElements; (err != nil) != refused || (checked != nil) != refused ||
			refused && !strings.Contains(err.Error(), "the event has more than 1048576 list elements and messages") {
			t.Errorf("%d elements: Decode says %v, Check says %v", n, err, checked)
		}
	}
	for _, n := range []int{maxElements, maxElements + 1} {
		packed := protowire.AppendBytes([]byte{0x0a}, make([]byte, n))
		f(MakeType(3, 8), packed, n)
		f(MakeType(3, 8), bytes.Repeat([]byte{0x08, 0x01}, n), n)
	}
	f(MakeType(1, 27), bytes.Repeat([]byte{0xa2, 0x05, 0x00}, maxElements+1), maxElements+1) // tags
}

func TestLegacyForms(t *testing.T) {
	event := MakeType(6, 1) // ba_id:u32 in_downtime:bool last_state_change:time level_...:dbl x3 state:i16 state_changed:bool
	f := func(payload string, want string) {
		t.Helper()
		e := Event{Type: event, Source: 3, Payload: []byte(payload)}
		r, err := Decode(e)
		if checked := Check(e); (err == nil) != (checked == nil) {
			t.Errorf("%q: Decode says %v, Check says %v", payload, err, checked)
		}
		got := fmt.Sprint(err)
		if err == nil {
			got = string(RenderV2(r))
		}
		if got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", payload, got, want)
		}
	}
	start := "\x00\x00\x00\x07\x02\xff\xff\xff\xff\xff\xff\xff\xff"
	head := `{"_type":393217, "category":6, "element":1, "ba_id":7, "in_downtime":true, "last_state_change":"-1", `
	f(start+"1e2\x00nan\x00-inf\x00\xff\xfe\x00 and more", head+`"level_acknowledgement":100, "level_downtime":nan, "level_nominal":-inf, "state":-2, "state_changed":false}`)
	f(start+"-nan\x001e999\x00-0.000001\x00\x00\x01\x01", head+`"level_acknowledgement":nan, "level_downtime":inf, "level_nominal":-1e-06, "state":1, "state_changed":true}`)
	f(start+"1\x00", `cannot decode event bam:ba_status (6:1) of 15 bytes from source 3: field level_downtime at offset 15: text without its final NUL byte`)
	f(start+"1\x002\x003\x00\x00", `cannot decode event bam:ba_status (6:1) of 20 bytes from source 3: field state at offset 19: 2 bytes needed, 1 left`)
	f(start+"one\x00", `cannot decode event bam:ba_status (6:1) of 17 bytes from source 3: field level_acknowledgement at offset 13: "one" is not a number`)
	f("", `cannot decode event bam:ba_status (6:1) of 0 bytes from source 3: field ba_id at offset 0: 4 bytes needed, 0 left`)
}

// TestServiceSize is the last example of specification 4.10.
func TestServiceSize(t *testing.T) {
	r := NewRecord(Lookup(MakeType(1, 23)))
	r.Set("state", IntValue(4))
	r.Set("last_hard_state", IntValue(4))
	r.Set("enabled", BoolValue(true))
	r.Set("output", TextValue([]byte("Bonjour")))
	r.Set("host_id", IntValue(0x01020304))
	e := r.Encode()
	const header = 16
	if len(e.Payload) != 260 || bytes.Index(e.Payload, []byte("Bonjour")) != 265-header || bytes.Index(e.Payload, []byte{1, 2, 3, 4}) != 91-header {
		t.Errorf("%d bytes, host_id at %d, output at %d", len(e.Payload), header+bytes.Index(e.Payload, []byte{1, 2, 3, 4}), header+bytes.Index(e.Payload, []byte("Bonjour")))
	}
}

// TestRead checks that a record used again holds nothing of the event before.
func TestRead(t *testing.T) {
	var r Record
	for _, d := range Descriptors() {
		if err := r.Read(sample(d).Encode()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(dump(sample(d)), dump(&r)); diff != "" {
			t.Errorf("%v: %s", d.Type, diff)
		}
		e := NewRecord(d).Encode()
		if err := r.Read(e); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(dump(NewRecord(d)), dump(&r)); diff != "" {
			t.Errorf("%v: %s", d.Type, diff)
		}
	}
}

func TestSetUnknownFieldPanics(t *testing.T) {
	defer func() {
		if fmt.Sprint(recover()) != `event instance has no field "nmae"` {
			t.Error("no panic that names the field")
		}
	}()
	r := NewRecord(Lookup(MakeType(1, 15)))
	if r.Get("nmae").Present() {
		t.Error("a field the event does not have is present")
	}
	r.Set("nmae", Value{})
}

func FuzzDecode(f *testing.F) {
	for _, d := range Descriptors() {
		f.Add(uint32(d.Type), sample(d).Encode().Payload)
		f.Add(uint32(d.Type), protowire.AppendTag(nil, 1, protowire.StartGroupType))
	}
	f.Fuzz(func(t *testing.T, typ uint32, payload []byte) {
		e := Event{Type: Type(typ), Payload: payload}
		r, err := Decode(e)
		if checked := Check(e); (err == nil) != (checked == nil) {
			t.Fatalf("Decode says %v, Check says %v", err, checked)
		}
		if err != nil {
			if d := Lookup(e.Type); d != nil { // in place, damage is at most a value that is not found
				for i := range d.Fields {
					e.Int(&d.Fields[i])
					e.Text(&d.Fields[i])
					e.Float(&d.Fields[i])
				}
			}
			return
		}
		inPlace(t, e, r)
		RenderV2(r)
		// What was written by this package reads back and is written the same way.
		again, err := Decode(r.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if a, b := r.Encode().Payload, again.Encode().Payload; !bytes.Equal(a, b) {
			t.Fatalf("written as %x, then as %x", a, b)
		}
		for _, family := range []Family{Legacy, Protobuf} {
			if c := Convert(r, family, nil); c != nil {
				if _, err := Decode(c.Encode()); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
