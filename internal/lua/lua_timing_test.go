package lua

import (
	"syscall"
	"testing"
	"time"
)

// The figures: events per second of one core through a script, and what single crossings cost.

var statusFormat = RecordFormat{
	Name: "status", Constants: []Constant{{"_type", plain}, {"category", 1}, {"element", 14}},
	Fields: []Field{
		{Name: "host_id", Kind: KindUint32}, {Name: "service_id", Kind: KindUint32}, {Name: "state", Kind: KindInt32},
		{Name: "state_type", Kind: KindInt16}, {Name: "last_check", Kind: KindInt64}, {Name: "last_hard_state", Kind: KindInt32},
		{Name: "latency", Kind: KindDouble}, {Name: "execution_time", Kind: KindDouble}, {Name: "enabled", Kind: KindBool},
		{Name: "output", Kind: KindString}, {Name: "perfdata", Kind: KindString}, {Name: "command", Kind: KindString},
	},
}

func statusBatch(n int) []byte {
	var batch []byte
	for i := range n {
		p := []byte{0, 0, byte(i >> 8), byte(i), 0, 0, 0, 5, 0, 0, 0, byte(i % 3), 0, 1, 0, 0, 0, 0, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 0}
		p = append(p, "0.012000\x000.250000\x00\x01CPU OK: 12 % used\x00cpu=12%;80;90;0;100\x00check_cpu\x00"...)
		batch = appendRecord(batch, plain, p)
	}
	return batch
}

// processorTime is what the process has used: other programs on the machine do not count.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkDispatch(b *testing.B, script string, o DispatchOptions) {
	vm, _ := open(b, Options{Compatibility: true})
	if err := vm.DefineRecord(plain, statusFormat); err != nil {
		b.Fatal(err)
	}
	eval(b, vm, script)
	const n = 512
	batch := statusBatch(n)
	o.Filter, o.Handler = "filter", "write"
	b.ReportAllocs()
	b.ResetTimer()
	start := processorTime()
	for range b.N {
		r, err := vm.Dispatch(batch, o)
		if err != nil || r.Records != n || r.Failed+r.NotBoolean+r.Malformed > 0 {
			b.Fatalf("%+v, %v", r, err)
		}
	}
	b.ReportMetric(float64(b.N)*n/(processorTime()-start).Seconds(), "events/CPU-s")
}

const formatLine = `
	function filter(category, element) return category == 1 and element == 14 end
	local lines, n = {}, 0
	function write(d)
		if d.state_type ~= 1 then return false end
		n = n + 1
		lines[n] = "status,host=" .. d.host_id .. ",service=" .. d.service_id .. " state=" .. d.state ..
			",latency=" .. d.latency .. ",output=\"" .. d.output .. "\" " .. d.last_check
		if n < 100 then return false end
		local body = table.concat(lines, "\n")
		n = 0
		return #body > 0
	end`

func BenchmarkDispatchFormatLine(b *testing.B) { benchmarkDispatch(b, formatLine, DispatchOptions{}) }

func BenchmarkDispatchFormatLineReadOnly(b *testing.B) {
	benchmarkDispatch(b, formatLine, DispatchOptions{ReadOnly: true})
}

func BenchmarkDispatchFormatLineBefore(b *testing.B) {
	var n int
	benchmarkDispatch(b, formatLine, DispatchOptions{Before: func(_ int, _, _, _ uint32, payload []byte) { n += len(payload) }})
}

func BenchmarkDispatchSkipAll(b *testing.B) {
	benchmarkDispatch(b, "function filter() return false end function write() end", DispatchOptions{})
}

func BenchmarkDispatchTableOnly(b *testing.B) {
	benchmarkDispatch(b, "function filter() return true end function write(d) return true end", DispatchOptions{})
}

// One call of a Go function by Lua with a number and a string, one string back.
func BenchmarkGoFunction(b *testing.B) {
	f := func(name string, body string, function Function) {
		b.Run(name, func(b *testing.B) {
			vm, _ := open(b, Options{})
			vm.SetGlobal("f", function)
			eval(b, vm, "function run(n) local f = f for i = 1, n do "+body+" end end")
			b.ReportAllocs()
			b.ResetTimer()
			if _, err := vm.Call("run", b.N); err != nil {
				b.Fatal(err)
			}
		})
	}
	f("empty", "f()", func(*Call) (int, error) { return 0, nil })
	f("number", "f(i)", func(c *Call) (int, error) {
		n, err := c.Int(1)
		c.PushInt(n + 1)
		return 1, err
	})
	f("string", "f(i, 'some text')", func(c *Call) (int, error) {
		s, err := c.Bytes(2)
		c.PushBytes(s)
		return 1, err
	})
	f("table", "f({1, 2, 3, a = 'b', c = {}})", func(c *Call) (int, error) {
		_, err := c.Table(1)
		return 0, err
	})
}

// A call from Go into Lua and back.
func BenchmarkCall(b *testing.B) {
	vm, _ := open(b, Options{})
	eval(b, vm, "function f(x) return x end")
	f := func(name string, v Value) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := vm.Call("f", v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f("number", 1)
	f("table", &Table{Array: []Value{1, 2, 3}, Hash: []Pair{{"a", "b"}, {"c", &Table{}}}})
}
