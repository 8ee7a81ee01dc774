package event

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

// packet reads one of the examples of specification 4.10.
func packet(t *testing.T, text string) Event {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(strings.ReplaceAll(text, "|", "")), ""))
	if err != nil {
		t.Fatal(err)
	}
	if size := int(binary.BigEndian.Uint16(b[2:])); size != len(b)-16 {
		t.Fatalf("the header says %d bytes of payload, there are %d", size, len(b)-16)
	}
	return Event{
		Type:        Type(binary.BigEndian.Uint32(b[4:])),
		Source:      binary.BigEndian.Uint32(b[8:]),
		Destination: binary.BigEndian.Uint32(b[12:]),
		Payload:     b[16:],
	}
}

const (
	exampleE = `8581 0036 0001000f 00000003 00000000 | 43656e7472656f6e20456e67696e6500 00000003 4c796f6e00 01
		00001092 ffffffffffffffff 000000006553f100 32342e31302e3000`
	exampleF = `d1bb 0039 00010020 00000003 00000000 | 0801 1001 2001 2801 30ace4cfaa06 3801 40ace4cfaa06
		6204444f574e 720a7274613d31322e356d73
		810100000000000019 40 9801ace4cfaa06`
	exampleG = `82ce 002e 00030001 00000003 00000000 | 000000006553f22c 0000012c 0000004d 6c6f61643100 00ed4e00
		392e35303030303000 0000 00 00000001 0000000a`
	exampleH = `8f52 0025 00010024 00000003 00000000 | 0807 1003 1801 2a0561646d696e 3802
		60ffffffffffffffffff01 70ffffffffffffffffff01`
)

func TestExamples(t *testing.T) {
	f := func(example, name string, want map[string]any) {
		t.Helper()
		e := packet(t, example)
		if e.Type.Name() != name || e.Source != 3 {
			t.Errorf("type %v source %d, want %s from 3", e.Type, e.Source, name)
		}
		r, err := Decode(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range r.Descriptor.Fields {
			v, text := r.Get(field.Name), ""
			if field.Kind == String {
				text = string(v.Text())
			}
			switch want := want[field.Name].(type) {
			case nil:
				if v.Bool() || text != "" || v.Float() != 0 {
					t.Errorf("%s: %s is %v %q, want the default", name, field.Name, v.Float(), text)
				}
			case string:
				got, ok := e.Text(&field)
				if text != want || string(got) != want || !ok {
					t.Errorf("%s: %s is %q, in place %q %v, want %q", name, field.Name, text, got, ok, want)
				}
			case int:
				got, _ := e.Int(&field)
				if v.Int() != int64(want) || got != int64(want) {
					t.Errorf("%s: %s is %d, in place %d, want %d", name, field.Name, v.Int(), got, want)
				}
			case float64:
				got, ok := e.Float(&field)
				if v.Float() != want || got != want || !ok {
					t.Errorf("%s: %s is %v, in place %v %v, want %v", name, field.Name, v.Float(), got, ok, want)
				}
			}
		}
		if back := r.Encode(); hex.EncodeToString(back.Payload) != hex.EncodeToString(e.Payload) || back.Type != e.Type || back.Source != 3 {
			t.Errorf("%s: encoded as %x, want %x", name, back.Payload, e.Payload)
		}
	}
	f(exampleE, "instance", map[string]any{
		"engine": "Centreon Engine", "instance_id": 3, "name": "Lyon", "running": 1, "pid": 4242,
		"end_time": -1, "start_time": 1700000000, "version": "24.10.0",
	})
	f(exampleF, "HostStatus", map[string]any{
		"host_id": 1, "checked": 1, "state": 1, "state_type": 1, "last_state_change": 1700000300, "last_hard_state": 1,
		"last_hard_state_change": 1700000300, "output": "DOWN", "perfdata": "rta=12.5ms", "percent_state_change": 6.25, "last_check": 1700000300,
	})
	f(exampleG, "metric", map[string]any{
		"ctime": 1700000300, "interval": 300, "metric_id": 77, "name": "load1", "rrd_len": 15552000, "value": 9.5, "host_id": 1, "service_id": 10,
	})
	f(exampleH, "Downtime", map[string]any{
		"id": 7, "instance_id": 3, "host_id": 1, "author": "admin", "type": 2, "actual_end_time": -1, "deletion_time": -1,
	})
}
