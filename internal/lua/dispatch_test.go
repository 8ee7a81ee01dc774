package lua

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// appendRecord adds a record to a batch.
func appendRecord(batch []byte, recordType uint32, payload []byte) []byte {
	batch = binary.AppendUvarint(batch, uint64(recordType))
	batch = binary.AppendUvarint(batch, 7)
	batch = binary.AppendUvarint(batch, 9)
	batch = binary.AppendUvarint(batch, uint64(len(payload)))
	return append(batch, payload...)
}

const (
	plain    = 1<<16 | 14
	message  = 1<<16 | 29
	sequence = 3<<16 | 1
)

var plainFormat = RecordFormat{
	Name:      "plain",
	Constants: []Constant{{"_type", plain}, {"category", 1}, {"element", 14}},
	Fields: []Field{
		{Name: "flag", Kind: KindBool},
		{Name: "small", Kind: KindInt16},
		{Name: "state", Kind: KindInt32, Absent: AbsentMinusOne},
		{Name: "host", Kind: KindUint32, Absent: AbsentZero},
		{Name: "", Kind: KindString},
		{Name: "time", Kind: KindInt64, Absent: AbsentZero},
		{Name: "big", Kind: KindUint64},
		{Name: "load", Kind: KindDouble},
		{Name: "output", Kind: KindString},
		{Name: "note", Kind: KindString, Absent: AbsentEmpty},
	},
}

func plainPayload(state int32, host uint32, time int64, load, output, note string) []byte {
	b := []byte{1, 0xff, 0xfe}
	b = binary.BigEndian.AppendUint32(b, uint32(state))
	b = binary.BigEndian.AppendUint32(b, host)
	b = append(b, "hidden\x00"...)
	b = binary.BigEndian.AppendUint64(b, uint64(time))
	b = binary.BigEndian.AppendUint64(b, math.MaxUint64)
	b = append(b, load+"\x00"+output+"\x00"...)
	return append(b, note+"\x00"...)
}

var (
	tagFormat     = RecordFormat{Name: "tag", Protobuf: true, Fields: []Field{{Name: "id", Number: 1, Kind: KindUint64}, {Name: "name", Number: 2, Kind: KindString}}}
	messageFormat = RecordFormat{
		Name: "message", Protobuf: true,
		Constants: []Constant{{"_type", message}},
		Fields: []Field{
			{Name: "host", Number: 1, Kind: KindUint64},
			{Name: "flag", Number: 2, Kind: KindBool},
			{Name: "state", Number: 3, Kind: KindInt32},
			{Name: "load", Number: 4, Kind: KindDouble},
			{Name: "output", Number: 5, Kind: KindString},
			{Name: "notify", Number: 6, Kind: KindBool, Optional: true},
			{Name: "period", Number: 7, Kind: KindString, Optional: true},
			{Name: "numbers", Number: 8, Kind: KindUint32, Repeated: true},
			{Name: "tags", Number: 20, Kind: KindMessage, Repeated: true, Message: &tagFormat},
			{Name: "tag", Number: 21, Kind: KindMessage, Message: &tagFormat},
			{Name: "raw", Number: 22, Kind: KindOpaque},
			{Number: 23, Kind: KindUint32}, // scripts do not see it
		},
	}
)

func varintField(b []byte, number int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(number)<<3), v)
}

func bytesField(b []byte, number int, v string) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(b, uint64(number)<<3|2), uint64(len(v))), v...)
}

func messagePayload() []byte {
	b := varintField(nil, 1, math.MaxUint64)
	b = varintField(b, 3, uint64(math.MaxUint64-1)) // -2
	b = varintField(b, 99, 5)                       // of a newer sender
	b = binary.LittleEndian.AppendUint64(append(b, 4<<3|1), math.Float64bits(0.25))
	b = bytesField(b, 5, "out\xff")
	b = varintField(b, 6, 0)
	b = varintField(b, 8, 1)
	b = bytesField(b, 20, string(varintField(nil, 1, 11)))
	b = bytesField(b, 8, "\x02\x03")
	b = bytesField(b, 20, string(bytesField(nil, 2, "n")))
	return b
}

// records returns a VM that knows all formats of this file, and functions to show a record.
func records(t testing.TB, o Options) *VM {
	t.Helper()
	o.Compatibility = true
	vm, _ := open(t, o)
	for recordType, f := range map[uint32]RecordFormat{plain: plainFormat, message: messageFormat} {
		if err := vm.DefineRecord(recordType, f); err != nil {
			t.Fatal(err)
		}
	}
	eval(t, vm, `
		function text(v)
			if type(v) == "string" then return '"' .. v .. '"' end
			if type(v) ~= "table" then return tostring(v) end
			local keys, parts = {}, {}
			for k in pairs(v) do keys[#keys + 1] = k end
			table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
			for _, k in ipairs(keys) do parts[#parts + 1] = tostring(k) .. "=" .. text(v[k]) end
			return "{" .. table.concat(parts, " ") .. "}"
		end
		function ordered(v)
			local parts = {}
			for k, x in pairs(v) do parts[#parts + 1] = k .. "=" .. text(x) end
			return table.concat(parts, " ")
		end`)
	return vm
}

func TestRecords(t *testing.T) {
	vm := records(t, Options{})
	f := func(recordType uint32, payload []byte, show string, readOnly bool, want string) {
		t.Helper()
		if err := vm.SetGlobal("d", Record{recordType, payload, readOnly}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, eval(t, vm, "return "+show+"(d)")[0]); diff != "" {
			t.Error(diff)
		}
	}
	full := plainPayload(2, 12, 1700000000, "1.500000", "OK", "n")
	sparse := plainPayload(-1, 0, 0, "nan", "", "")
	f(plain, full, "text", false, `{_type=65550 big=-1 category=1 element=14 flag=true host=12 load=1.5 note="n" output="OK" small=-2 state=2 time=1700000000}`)
	f(plain, sparse, "text", false, `{_type=65550 big=-1 category=1 element=14 flag=true load=nan output="" small=-2}`)
	f(plain, full, "ordered", true, `_type=65550 category=1 element=14 flag=true small=-2 state=2 host=12 time=1700000000 big=-1 load=1.5 output="OK" note="n"`)
	f(plain, sparse, "ordered", true, `_type=65550 category=1 element=14 flag=true small=-2 state=nil host=nil time=nil big=-1 load=nan output="" note=nil`)
	f(plain, append(full, "more"...), "type", false, "table")

	out := "load=0.25 "
	f(message, messagePayload(), "text", false, `{_type=65565 flag=false host=-1 `+out+`notify=false numbers={1=1 2=2 3=3} output="out`+"\xff"+`" raw="not_implemented" state=-2 tag={id=0 name=""} tags={1={id=11 name=""} 2={id=0 name="n"}}}`)
	f(message, nil, "text", false, `{_type=65565 flag=false host=0 load=0 numbers={} output="" raw="not_implemented" state=0 tag={id=0 name=""} tags={}}`)
	f(message, messagePayload(), "ordered", true, `_type=65565 host=-1 flag=false state=-2 `+out+`output="out`+"\xff"+`" notify=false numbers={1=1 2=2 3=3} tags={1={id=11 name=""} 2={id=0 name="n"}} tag={id=0 name=""} raw="not_implemented"`)
}

func TestDecimals(t *testing.T) {
	vm := records(t, Options{})
	f := func(text string, want Value) {
		t.Helper()
		if err := vm.SetGlobal("d", Record{Type: plain, Payload: plainPayload(0, 0, 0, text, "", "")}); err != nil {
			if want != nil {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if got := eval(t, vm, "return d.load")[0]; got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
	f("0.100000", 0.1)
	f("-3.25", -3.25)
	f("123456789.123456", 123456789.123456)
	f("12345678901234567.5", 12345678901234567.5)
	f("1e3", int64(1000))
	f("1.7976931348623157e+308", math.MaxFloat64)
	f("inf", math.Inf(1))
	f("-inf", math.Inf(-1))
	f("", int64(0))
	f("-", nil)
	f(".", nil)
	f("abc", nil)
	f("1,5", nil)
	f("1.5x", nil)
	f("1.2.3", nil)
}

func TestReadOnlyRecords(t *testing.T) {
	vm := records(t, Options{})
	vm.SetGlobal("d", Record{plain, plainPayload(2, 12, 5, "1", "OK", ""), true})
	vm.SetGlobal("id", Function(func(c *Call) (int, error) {
		recordType, payload, ok := c.Record(1)
		c.Push(recordType)
		c.Push(len(payload))
		c.Push(ok)
		c.PushRecord(recordType, payload, false)
		c.PushRecord(recordType, payload, true)
		return 5, nil
	}))
	f := func(source, want string) {
		t.Helper()
		got, err := vm.DoString("=test", "return "+source)
		if err != nil {
			got = []Value{err.Error()}
		}
		if s := strings.TrimSpace(fmt.Sprintln(got...)); !strings.Contains(s, want) {
			t.Errorf("%s: got %q, want %q", source, s, want)
		}
	}
	f("type(d), d.host, d['output'], d.nothing, d.note, d[1], d[true], d.category", "userdata 12 OK <nil> <nil> <nil> <nil> 1")
	f("tostring(d)", "plain: 0x")
	f("d == d", "true")
	f("(function() d.host = 1 end)()", "attempt to assign to field 'host' of a read-only record")
	f("next(d)", "table expected")
	f("pcall(getmetatable(d).__index, io.stdout, 'x')", "true")
	f("getmetatable(d).__pairs({})", "record expected")
	f("getmetatable(d).__next(d, 'nokey')", "invalid key")
	f("select(4, id(d)).host", "12")
	f("select(5, id(d)).host", "12")
	f("select('#', id(d)), (id(d))", "5 65550")
	if v := eval(t, vm, "return d")[0].(Record); v.Type != plain || !v.ReadOnly {
		t.Errorf("got %+v", v)
	}
	eval(t, vm, "local all = {} for i = 1, 1000 do all[i] = select(5, id(d)) end d = nil collectgarbage() for i = 1, 1000 do assert(all[i].host == 12) end")
	if err := vm.SetGlobal("x", Record{Type: 5}); err == nil || !strings.Contains(err.Error(), "type 5 is not defined") {
		t.Errorf("undefined: %v", err)
	}
}

func TestDefineRecordErrors(t *testing.T) {
	vm, _ := open(t, Options{})
	f := func(format RecordFormat, want string) {
		t.Helper()
		if err := vm.DefineRecord(1, format); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f(RecordFormat{Fields: make([]Field, 300)}, "300 members")
	f(RecordFormat{Fields: []Field{{Kind: 77}}}, "unknown kind")
	f(RecordFormat{Fields: []Field{{Kind: KindMessage}}}, "message needs")
	f(RecordFormat{Fields: []Field{{Kind: KindString, Repeated: true}}}, "only protobuf")
	f(RecordFormat{Protobuf: true, Fields: []Field{{Kind: KindString, Number: 1, Absent: AbsentEmpty}}}, "only positional")
	f(RecordFormat{Protobuf: true, Fields: []Field{{Name: "n", Kind: KindString}}}, `field "n": number 0`)
}

func TestRecursiveFormat(t *testing.T) {
	vm, _ := open(t, Options{})
	node := &RecordFormat{Name: "node", Protobuf: true}
	node.Fields = []Field{{Name: "children", Number: 1, Kind: KindMessage, Repeated: true, Message: node}}
	if err := vm.DefineRecord(1, *node); err != nil {
		t.Fatal(err)
	}
	payload := ""
	for range 10 {
		payload = string(bytesField(nil, 1, payload))
	}
	if err := vm.SetGlobal("d", Record{Type: 1, Payload: []byte(payload)}); err != nil {
		t.Fatal(err)
	}
	if got := eval(t, vm, "local n = 0 while d do d = d.children[1] n = n + 1 end return n")[0]; got != int64(11) {
		t.Errorf("depth %v", got)
	}
	for range 100 {
		payload = string(bytesField(nil, 1, payload))
	}
	if err := vm.SetGlobal("d", Record{Type: 1, Payload: []byte(payload)}); err == nil {
		t.Error("endless nesting was decoded")
	}
}

func TestDispatch(t *testing.T) {
	vm := records(t, Options{})
	var batch []byte
	for i := range 5 {
		batch = appendRecord(batch, plain, plainPayload(0, uint32(i+1), 0, "0", "", ""))
	}
	f := func(script string, o DispatchOptions, want DispatchResult) {
		t.Helper()
		eval(t, vm, "filter = nil "+script)
		o.Handler = "write"
		if want.Used == 0 && want.Records == 5 {
			want.Used = len(batch)
		}
		got, err := vm.Dispatch(batch, o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Errors {
			got.Errors[i].Err.Traceback = ""
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(script, diff)
		}
	}
	f("function write(d) return true end", DispatchOptions{}, DispatchResult{Records: 5, True: 5, LastTrue: 4})
	f("function write(d) return false end", DispatchOptions{Pending: 3, Given: 2}, DispatchResult{Records: 5, False: 5, LastTrue: -1, Pending: 8, Given: 7})
	// Results false, filtered, error, true, false: four are acknowledged.
	f(`local n = 0
		function filter(c, e) n = n + 1 assert(c == 1 and e == 14) return n ~= 2 end
		function write(d) if d.host == 3 then error("third") end return d.host == 4 end`,
		DispatchOptions{Filter: "filter", Messages: 9},
		DispatchResult{Records: 5, Filtered: 1, Failed: 1, True: 1, False: 2, LastTrue: 3, Pending: 1, Given: 1,
			Errors: []RecordError{{2, plain, CauseError, &Error{Message: "test:3: third", File: "test", Line: 3}}}})
	f(`local n = 0 function write(d) n = n + 1 if n == 1 then return 1 elseif n == 2 then return "true" elseif n == 3 then return end return n == 5 end`,
		DispatchOptions{Messages: 2},
		DispatchResult{Records: 5, NotBoolean: 3, False: 1, True: 1, LastTrue: 4, Errors: []RecordError{
			{0, plain, CauseNotBoolean, &Error{Message: "'write' must return a boolean, got number", File: "test", Line: 1}},
			{1, plain, CauseNotBoolean, &Error{Message: "'write' must return a boolean, got string", File: "test", Line: 1}}}})
	f("function filter() return 'x' end function write() return true end", DispatchOptions{Filter: "filter", Messages: 1},
		DispatchResult{Records: 5, NotBoolean: 5, LastTrue: -1, Pending: 5, Given: 5, Errors: []RecordError{
			{0, plain, CauseNotBoolean, &Error{Message: "'filter' must return a boolean, got string", File: "test", Line: 1}}}})
	f("function filter() error('x') end function write() return true end", DispatchOptions{Filter: "filter", Limit: 3},
		DispatchResult{Records: 3, Used: len(batch) / 5 * 3, Stop: StopLimit, Failed: 3, LastTrue: -1, Pending: 3, Given: 3})
	f("function filter() return false end", DispatchOptions{Filter: "filter", Limit: 3},
		DispatchResult{Records: 5, Filtered: 5, LastTrue: -1, Pending: 5})
	f("function write() return false end", DispatchOptions{Limit: 3},
		DispatchResult{Records: 3, Used: len(batch) / 5 * 3, Stop: StopLimit, False: 3, LastTrue: -1, Pending: 3, Given: 3})
	// Replaced while running.
	f("function write(d) function write() return true end return false end", DispatchOptions{},
		DispatchResult{Records: 5, False: 1, True: 4, LastTrue: 4})
	f("write = nil", DispatchOptions{},
		DispatchResult{Records: 5, Failed: 5, LastTrue: -1, Pending: 5, Given: 5})
	f("function write(d) return type(d) == 'userdata' and d.host == 5 end", DispatchOptions{ReadOnly: true},
		DispatchResult{Records: 5, False: 4, True: 1, LastTrue: 4})
	f("function write(d) d.extra = {} return pcall(error) end", DispatchOptions{},
		DispatchResult{Records: 5, False: 5, LastTrue: -1, Pending: 5, Given: 5})

	var seen []string
	before := func(index int, recordType, source, destination uint32, payload []byte) {
		seen = append(seen, fmt.Sprint(index, recordType, source, destination, len(payload)))
	}
	f("function write() return true end", DispatchOptions{Before: before}, DispatchResult{Records: 5, True: 5, LastTrue: 4})
	if len(seen) != 5 || seen[4] != fmt.Sprint(4, plain, 7, 9, len(batch)/5-6) {
		t.Errorf("before saw %q", seen)
	}
}

// What a script sees does not depend on the members of records before: first none are sent, then more and more.
func TestDispatchMembers(t *testing.T) {
	vm := records(t, Options{})
	eval(t, vm, `
		seen, kept = {}, {}
		function shown() for i = 1, #kept do kept[i] = text(kept[i]) end local all = table.concat(kept, "\n") kept = {} return all end
		function write(d)
			kept[#kept + 1] = d
			return d.host == 5
		end`)
	type member struct {
		payload     []byte
		set, absent string
	}
	message5 := bytesField(nil, 2, "five")
	f := func(recordType uint32, prefix string, members []member, payload func(sent []member, given uint) []byte) {
		t.Helper()
		for most := range len(members) + 1 {
			var batch []byte
			var want []string
			for n := range 200 {
				given := uint(n*2654435761) >> 7 & (1<<most - 1)
				batch = appendRecord(batch, recordType, payload(members, given))
				all := strings.Fields(prefix)
				for i, m := range members {
					text := m.absent
					if given>>i&1 != 0 {
						text = m.set
					}
					if text != "" {
						all = append(all, text)
					}
				}
				slices.Sort(all)
				want = append(want, "{"+strings.Join(all, " ")+"}")
			}
			r, err := vm.Dispatch(batch, DispatchOptions{Handler: "write", Messages: 1})
			if err != nil || r.Failed+r.NotBoolean+r.Malformed > 0 || r.True+r.False != 200 {
				t.Fatalf("%+v, %v", r, err)
			}
			got, err := vm.Call("shown")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Join(want, "\n"), got[0]); diff != "" {
				t.Fatal(diff)
			}
		}
	}
	f(message, fmt.Sprintf("_type=%d", message), []member{
		{varintField(nil, 1, 5), "host=5", "host=0"},
		{varintField(nil, 2, 1), "flag=true", "flag=false"},
		{varintField(nil, 3, 3), "state=3", "state=0"},
		{binary.LittleEndian.AppendUint64([]byte{4<<3 | 1}, math.Float64bits(0.25)), "load=0.25", "load=0"},
		{bytesField(nil, 5, "out"), `output="out"`, `output=""`},
		{varintField(nil, 6, 0), "notify=false", ""},
		{bytesField(nil, 7, ""), `period=""`, ""},
		{varintField(varintField(nil, 8, 7), 8, 8), "numbers={1=7 2=8}", "numbers={}"},
		{bytesField(nil, 20, string(message5)), `tags={1={id=0 name="five"}}`, "tags={}"},
		{bytesField(nil, 21, string(message5)), `tag={id=0 name="five"}`, `tag={id=0 name=""}`},
		{nil, `raw="not_implemented"`, `raw="not_implemented"`},
	}, func(members []member, given uint) (b []byte) {
		for i, m := range members {
			if given>>i&1 != 0 {
				b = append(b, m.payload...)
			}
		}
		return b
	})
	f(plain, "flag=true small=-2 load=1 big=-1 output=\"\" category=1 element=14 "+fmt.Sprintf("_type=%d", plain), []member{
		{nil, "state=0", ""}, {nil, "host=5", ""}, {nil, "time=9", ""}, {nil, `note="n"`, ""},
	}, func(_ []member, given uint) []byte {
		one := func(i int, set, absent string) string {
			if given>>i&1 != 0 {
				return set
			}
			return absent
		}
		return plainPayload(-int32(1-given&1), uint32(given>>1&1*5), int64(given>>2&1*9), "1", "", one(3, "n", ""))
	})
}

// A finalizer may run while the values of a record are pushed, and get a record of the same type with more members.
func TestDispatchFinalizer(t *testing.T) {
	const wide, members = 77, 100
	format := RecordFormat{Name: "wide", Protobuf: true, Fields: []Field{{Name: "text", Number: 1, Kind: KindString}}}
	for n := 2; n < 2+members; n++ {
		format.Fields = append(format.Fields, Field{Name: fmt.Sprint("m", n), Number: n, Kind: KindInt32})
	}
	vm := records(t, Options{})
	if err := vm.DefineRecord(wide, format); err != nil {
		t.Fatal(err)
	}
	made := 0
	vm.SetGlobal("make", Function(func(c *Call) (int, error) {
		c.PushRecord(wide, varintField(nil, 2+made%members, 5), false)
		made++
		return 1, nil
	}))
	eval(t, vm, `
		local function arm()
			local p = newproxy(true)
			getmetatable(p).__gc = function() assert(make()) arm() end
		end
		for i = 1, 20 do arm() end
		function write(d)
			for k, v in pairs(d) do
				if v ~= 0 and k ~= "text" then error(k .. " is " .. tostring(v)) end
			end
			return #d.text > 8
		end`)
	for round := range 20 {
		var batch []byte
		for i := range 2000 {
			batch = appendRecord(batch, wide, bytesField(nil, 1, fmt.Sprintf("text %d of %d", i, round)))
		}
		r, err := vm.Dispatch(batch, DispatchOptions{Handler: "write", Messages: 1})
		if err != nil || r.True != 2000 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if made < members {
		t.Errorf("finalizers ran %d times", made)
	}
}

// A recursion without end is reported with the line where it is, also when LuaJIT has compiled it.
func TestDispatchRecursion(t *testing.T) {
	vm := records(t, Options{})
	if _, err := vm.DoString("=deep", "function write(d)\n  local function f() return 1 + f() end\n  f()\nend"); err != nil {
		t.Fatal(err)
	}
	var batch []byte
	for i := range 100 {
		batch = appendRecord(batch, message, bytesField(nil, 5, fmt.Sprintf("text %d", i)))
	}
	r, err := vm.Dispatch(batch, DispatchOptions{Handler: "write", Messages: 100})
	if err != nil || len(r.Errors) != 100 {
		t.Fatalf("%d errors, %v", len(r.Errors), err)
	}
	for i, e := range r.Errors {
		if e.Err.File != "deep" || e.Err.Line != 2 || !strings.Contains(e.Err.Message, "stack overflow") {
			t.Fatalf("record %d: %s:%d: %s", i, e.Err.File, e.Err.Line, e.Err.Message)
		}
	}
}

func TestDispatchBadRecords(t *testing.T) {
	vm := records(t, Options{})
	eval(t, vm, "function write() return true end")
	good := plainPayload(0, 1, 0, "0", "", "")
	batch := appendRecord(nil, 5, nil)
	batch = appendRecord(batch, plain, good[:len(good)-1])
	batch = appendRecord(batch, message, []byte{0x0a})
	batch = appendRecord(batch, plain, good)
	used := len(batch)
	batch = append(batch, 1, 2)
	got, err := vm.Dispatch(batch, DispatchOptions{Handler: "write", Messages: 5})
	if err != nil {
		t.Fatal(err)
	}
	bad := &Error{Message: "malformed payload"}
	want := DispatchResult{Records: 4, Used: used, Stop: StopBatch, Undefined: 1, Malformed: 2, True: 1, LastTrue: 3,
		Errors: []RecordError{{1, plain, CauseMalformed, bad}, {2, message, CauseMalformed, bad}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Every prefix of a payload, and every payload with a byte changed, is decoded or refused; run
// with -asan it shows that no byte beyond the payload is read.
func FuzzDecode(f *testing.F) {
	for _, seed := range [][]byte{plainPayload(2, 12, 1700000000, "1.500000", "OK", "n"), messagePayload()} {
		for i := range len(seed) + 1 {
			f.Add(seed[:i])
		}
		for i := range seed {
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				changed := append([]byte(nil), seed...)
				changed[i] ^= flip
				f.Add(changed)
			}
		}
	}
	members := [][]byte{varintField(nil, 1, 1<<40|7), varintField(nil, 3, 1<<32|2), binary.LittleEndian.AppendUint64([]byte{4<<3 | 1}, 5), bytesField(nil, 5, "out"), varintField(nil, 6, 1)}
	for i := range members { // in another order, and again
		f.Add(slices.Concat(slices.Concat(members[i:]...), slices.Concat(members[:i]...)))
		f.Add(slices.Concat(slices.Concat(members...), members[i]))
	}
	newer := [][]byte{varintField(nil, 99, 5), varintField(nil, 23, 300), bytesField(nil, 30, "new"), varintField(nil, 9, 1), {0, 0}, {9<<3 | 7, 0}}
	for _, unknown := range newer { // or not shown, before, among and behind the others
		for i := range len(members) + 1 {
			f.Add(slices.Concat(slices.Concat(members[:i]...), unknown, slices.Concat(members[i:]...)))
		}
	}
	vm := records(f, Options{})
	eval(f, vm, `
		function write(d) text(d) for k, v in pairs(d) do text(v) text(d[k]) end return true end
		function keep(d) last = text(d) return true end
		function kept() return last end`)
	// What a handler gets is what a table of the same payload has: they come about in different ways.
	handed := func(t *testing.T, recordType uint32, payload []byte) {
		r, err := vm.Dispatch(appendRecord(nil, recordType, payload), DispatchOptions{Handler: "keep"})
		if err != nil {
			t.Fatal(err)
		}
		want, err := vm.Call("text", Record{recordType, payload, false})
		if r.Malformed == 1 {
			if err == nil || !strings.Contains(err.Error(), "malformed payload") {
				t.Errorf("not handed to the handler, and a table is made of it: %v, %v", want, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := vm.Call("kept"); err != nil || got[0] != want[0] {
			t.Errorf("the handler got %q, a table has %q, %v", got, want, err)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		exact := append(make([]byte, 0, len(payload)), payload...)
		handed(t, plain, exact)
		handed(t, message, exact)
		for _, readOnly := range []bool{false, true} {
			batch := appendRecord(nil, plain, exact)
			batch = appendRecord(batch, message, exact)
			r, err := vm.Dispatch(batch, DispatchOptions{Handler: "write", ReadOnly: readOnly, Messages: 2})
			if err != nil || r.Records != 2 || r.True+r.Malformed != 2 {
				t.Errorf("%+v, %v", r, err)
			}
			for _, recordType := range []uint32{plain, message} { // the payload ends where its memory does
				if _, err := vm.Call("type", Record{recordType, exact, readOnly}); err != nil && !strings.Contains(err.Error(), "malformed payload") {
					t.Error(err)
				}
			}
			if _, err := vm.Dispatch(exact, DispatchOptions{Handler: "write", ReadOnly: readOnly}); err != nil {
				t.Error(err)
			}
		}
	})
}
