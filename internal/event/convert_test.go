package event

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// fields makes a record of an event from "name=value" in JSON values.
func fields(t *testing.T, typ Type, members string) *Record {
	t.Helper()
	text := fmt.Sprintf(`{"_type":%d`, typ)
	if members != "" {
		text += "," + members
	}
	e, err := ParseJSON([]byte(text + "}"))
	if err != nil {
		t.Fatal(err)
	}
	e.Source, e.Destination = 3, 4
	r, err := Decode(e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// content is the visible members, only those not at their protobuf default.
func content(r *Record) string {
	var out []string
	for i, v := range r.Values {
		f := &r.Descriptor.Fields[i]
		if !f.Visible(v) || f.Number != 0 && f.appendProtobuf(nil, v, false) == nil ||
			f.Number == 0 && f.Absent == AbsentNever && v.bits == 0 && len(v.text) == 0 {
			continue
		}
		if f.Repeated {
			out = append(out, f.Name+"="+dumpValue(v))
			continue
		}
		out = append(out, fmt.Sprintf("%s=%s", f.Name, f.render(nil, v)))
	}
	return strings.Join(out, " ")
}

type objects struct{ host, service *Record }

func (o objects) Host(id uint64) *Record {
	if id != 1 {
		return nil
	}
	return o.host
}

func (o objects) Service(host, id uint64) *Record {
	if host != 1 || id != 10 {
		return nil
	}
	return o.service
}

func TestConvert(t *testing.T) {
	// f converts an event given by its members and compares the visible content.
	f := func(from Type, members string, to Type, want string) {
		t.Helper()
		r := fields(t, from, members)
		before := dump(r)
		got := Convert(r, Lookup(to).Family, nil)
		if got == nil || got.Descriptor.Type != to || got.Source != 3 || got.Destination != 4 {
			t.Fatalf("%v became %+v", from, got)
		}
		if c := content(got); c != want {
			t.Errorf("%v:\ngot  %s\nwant %s", from, c, want)
		}
		if diff := cmp.Diff(before, dump(r)); diff != "" {
			t.Errorf("%v was changed: %s", from, diff)
		}
	}
	legacy := func(element int) Type { return MakeType(1, element) }
	// Renames of 2.4.
	f(legacy(23), `"volatile":true,"host_id":1,"service_id":2`, legacy(27), `host_id=1 service_id=2 is_volatile=true`)
	f(legacy(27), `"is_volatile":true,"host_id":1`, legacy(23), `host_id=1 volatile=true output="\n"`)
	f(legacy(5), `"internal_id":7,"type":2`, legacy(36), `id=7 type=2 actual_start_time=18446744073709551615 actual_end_time=18446744073709551615 deletion_time=18446744073709551615`)
	f(legacy(36), `"id":7,"actual_end_time":-1,"actual_start_time":-1,"deletion_time":-1`, legacy(5), `internal_id=7`)
	f(legacy(36), `"id":7,"type":"HOST","actual_start_time":5,"deletion_time":6,"start_time":4,"duration":60`, legacy(5),
		`actual_end_time="0" actual_start_time="5" type=2 deletion_time="6" duration="60" internal_id=7 start_time="4"`)
	f(legacy(5), `"actual_start_time":5,"start_time":4,"end_time":-1`, legacy(36), `actual_start_time=5 actual_end_time=18446744073709551615 start_time=4 deletion_time=18446744073709551615`)
	f(MakeType(3, 1), `"ctime":5,"is_for_rebuild":true,"metric_id":2,"value":1.5,"value_type":2,"interval":300`, MakeType(3, 9), `metric_id=2 interval=300 value_type=2 time=5 value=1.5`)
	f(MakeType(3, 9), `"time":5,"metric_id":2,"name":"a"`, MakeType(3, 1), `ctime="5" metric_id=2 name="a"`)
	f(MakeType(3, 4), `"ctime":5,"index_id":3,"rrd_len":77`, MakeType(3, 10), `index_id=3 rrd_len=77 time=5`)
	f(MakeType(6, 5), `"kpi_id":1,"first_output":"o","first_perfdata":"p"`, MakeType(6, 21), `kpi_id=1 output="o" perfdata="p"`)
	f(MakeType(6, 21), `"kpi_id":1,"output":"o","perfdata":"p","ba_id":4`, MakeType(6, 5), `kpi_id=1 first_output="o" first_perfdata="p"`)
	f(MakeType(6, 7), `"ba_id":1,"sla_month_duration_crit":5`, MakeType(6, 25), `ba_id=1 sla_duration_crit=5`)
	f(MakeType(6, 24), `"id":1,"name":"24x7"`, MakeType(6, 13), `tp_id=1 name="24x7"`)
	f(legacy(11), `"group_name":"Linux","host_id":1,"enabled":true`, legacy(50), `enabled=true name="Linux" host_id=1`)
	// Values that mean absent.
	f(legacy(15), `"end_time":-1,"start_time":5,"pid":4242`, legacy(44), `pid=4242 start_time=5`)
	f(legacy(44), `"pid":-1,"start_time":5`, legacy(15), `start_time="5"`)
	f(legacy(1), `"deletion_time":-1,"entry_time":9`, legacy(45), `entry_time=9`)
	f(legacy(45), `"entry_time":9,"host_id":1`, legacy(1), `entry_time="9" host_id=1`)
	// Widths.
	f(legacy(45), `"state":4294967295,"host_id":18446744073709551615`, legacy(1), `host_id=4294967295 state=32767`)
	f(legacy(23), `"check_interval":5.9,"retry_interval":1.5,"output":"one\ntwo\nthree"`, legacy(27), `check_interval=5 output="one" long_output="two\nthree" retry_interval=1.5`)
	// Output.
	f(legacy(14), `"output":"DOWN\n","host_id":1,"acknowledgement_type":2`, legacy(32), `host_id=1 output="DOWN" acknowledgement_type=2`)
	f(legacy(12), `"output":"a\nb","name":"srv"`, legacy(30), `output="a\nb" name="srv"`)
	f(legacy(27), `"output":"a","long_output":"b\nc"`, legacy(23), `output="a\nb\nc"`)
	// Special services.
	f(legacy(24), `"host_name":"_Module_Meta","service_description":"meta_12"`, legacy(29), `type=2 internal_id=12`)
	f(legacy(24), `"host_name":"_Module_Meta","service_description":"ba_12"`, legacy(29), ``)
	f(legacy(23), `"host_name":"_Module_BAM_3","description":"ba_7"`, legacy(27), `host_name="_Module_BAM_3" description="ba_7" type=3 internal_id=7`)
	f(legacy(23), `"host_name":"srv","description":"ba_7"`, legacy(27), `host_name="srv" description="ba_7"`)
	f(legacy(23), `"host_name":"_Module_BAM_3","description":"ba_x"`, legacy(27), `host_name="_Module_BAM_3" description="ba_x"`)
	// A status without its object.
	f(legacy(32), `"host_id":1,"output":"DOWN","acknowledgement_type":"STICKY","last_check":50`, legacy(14),
		`acknowledged=true acknowledgement_type=2 host_id=1 last_check="50" last_update="50" output="DOWN\n"`)
}

func TestConvertStatusWithObjects(t *testing.T) {
	known := objects{
		host: fields(t, MakeType(1, 30), `"host_id":1,"check_interval":5,"check_command":"ping","state":2,"enabled":true,"notify":true,"max_check_attempts":3,
			"output":"old","acknowledged":true,"last_update":1,"next_host_notification":77`),
		service: fields(t, MakeType(1, 27), `"host_id":1,"service_id":10,"host_name":"srv","description":"cpu","retry_interval":1.5,"obsess_over_service":true,"perfdata":"old"`),
	}
	f := func(from Type, members, want string) *Record {
		t.Helper()
		r := Convert(fields(t, from, members), Legacy, known)
		if got := content(r); got != want {
			t.Errorf("%v:\ngot  %s\nwant %s", from, got, want)
		}
		return r
	}
	f(MakeType(1, 32), `"host_id":1,"state":1,"last_check":50`,
		`check_interval=5 state=1 enabled=true host_id=1 last_check="50" last_update="50" max_check_attempts=3 notify=true check_command="ping" output="\n"`)
	f(MakeType(1, 32), `"host_id":2,"state":1`, `state=1 host_id=2 output="\n"`)
	r := f(MakeType(1, 29), `"host_id":1,"service_id":10,"state":2`, `state=2 host_id=1 obsess_over_service=true retry_interval=1.5 service_id=10 output="\n"`)
	if host, service := r.Get("host_name").Text(), r.Get("service_description").Text(); string(host) != "srv" || string(service) != "cpu" {
		t.Errorf("hidden names %q %q", host, service)
	}
	f(MakeType(1, 29), `"host_id":1,"service_id":11`, `host_id=1 service_id=11 output="\n"`)
	// Objects may be of the legacy generation too.
	known.service = fields(t, MakeType(1, 23), `"description":"old","host_name":"srv","check_period":"24x7","flap_detection":true`)
	r = f(MakeType(1, 29), `"host_id":1,"service_id":10`, `check_period="24x7" flap_detection=true host_id=1 service_id=10 output="\n"`)
	if got := r.Get("service_description").Text(); string(got) != "old" {
		t.Errorf("description %q", got)
	}
}

func TestConvertWithoutForm(t *testing.T) {
	var without []string
	for _, d := range Descriptors() {
		r := NewRecord(d)
		if Convert(r, d.Family, nil) != r {
			t.Errorf("%v: not itself in its own generation", d.Type)
		}
		if Convert(r, Legacy+Protobuf-d.Family, nil) == nil && d.Type.Category() != 2 {
			without = append(without, fmt.Sprint(d.Type))
		}
	}
	want := []string{
		"storage:remove_graph (3:3)", "bam:rebuild (6:12)", "neb:AdaptiveService (1:28)", "neb:AdaptiveHost (1:31)", "neb:Severity (1:33)", "neb:Tag (1:34)",
		"neb:AdaptiveServiceStatus (1:55)", "neb:AdaptiveHostStatus (1:56)", "neb:AgentStats (1:57)", "storage:rebuild_message (3:7)",
		"storage:RemoveGraphMessage (3:8)", "storage:OTLMetrics (3:13)", "bam:BaState (6:31)", "extcmd:Bench (7:1)", "extcmd:ba_info (7:2)",
	}
	if diff := cmp.Diff(want, without); diff != "" {
		t.Error(diff)
	}
}

// TestConvertThereAndBack checks that what both generations have survives.
func TestConvertThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(Descriptors()).Filter(func(d *Descriptor) bool {
			_, ok := Pair(d.Type)
			return ok && d.Family == Legacy
		}).Draw(t, "event")
		r := drawRecord(t, d)
		other := Convert(r, Protobuf, nil)
		if again, err := Decode(other.Encode()); err != nil || !slices.Equal(dump(again), dump(other)) {
			t.Fatalf("the protobuf form does not read back: %v", err)
		}
		back := Convert(other, Legacy, nil)
		for i := range d.Fields {
			f := &d.Fields[i]
			pb := other.Descriptor.Field(f.Name)
			switch {
			case pb == nil || f.Name == "type" || f.Name == "internal_id" || f.OffWire:
				continue
			case f.Name == "output" && other.Descriptor.splitsOutput():
				if a, b := string(r.Values[i].Text()), string(back.Values[i].Text()); a != b && a+"\n" != b {
					t.Fatalf("output %q became %q", a, b)
				}
				continue
			case f.Absent == AbsentMinusOne && r.Values[i].Int() == 0: // 0 means absent in protobuf
				continue
			case f.Kind == Double && pb.Kind != Double:
				whole := math.Trunc(r.Values[i].Float())
				if got := back.Values[i].Float(); got != float64(pb.Kind.clamp(int64(whole))) {
					t.Fatalf("%s %v became %v", f.Name, whole, got)
				}
				continue
			case pb.Kind.clamp(r.Values[i].Int()) != r.Values[i].Int():
				continue
			}
			if a, b := dumpValue(r.Values[i]), dumpValue(back.Values[i]); a != b {
				t.Fatalf("%v: %s %s became %s", d.Type, f.Name, a, b)
			}
		}
	})
}

// A converter gives what Decode, Convert and Encode give, also after other events.
func TestConverter(t *testing.T) {
	var c Converter
	objects := known{sample(Lookup(MakeType(1, 30))), sample(Lookup(MakeType(1, 27)))}
	for range 2 {
		for _, d := range Descriptors() {
			r := sample(d)
			r.Source, r.Destination = 3, 4
			e := r.Encode()
			to := Legacy + Protobuf - d.Family
			got, ok, err := c.Convert(e, to, objects)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := Decode(e)
			if err != nil {
				t.Fatal(err)
			}
			want := Convert(decoded, to, objects)
			if ok != (want != nil) {
				t.Errorf("%s: %v, want %v", d.Name, ok, want != nil)
			}
			if want != nil && !reflect.DeepEqual(got, want.Encode()) {
				t.Errorf("%s: got %+v\nwant %+v", d.Name, got, want.Encode())
			}
			if same, ok, err := c.Convert(e, d.Family, nil); !ok || err != nil || !reflect.DeepEqual(same, e) {
				t.Errorf("%s: not the same: %+v, %v, %v", d.Name, same, ok, err)
			}
		}
	}
	if _, ok, err := c.Convert(Event{Type: MakeType(1, 24), Payload: []byte{1}}, Protobuf, nil); ok || err == nil {
		t.Error("a damaged event was converted")
	}
}
