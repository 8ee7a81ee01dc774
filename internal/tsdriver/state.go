package tsdriver

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/lua/modules"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/telemetry"
)

//go:embed prelude/*.lua
var preludes embed.FS

// output is where the words of a script go.
type output interface {
	Log(level slog.Level, text string)
	Error(err error) // the script goes on
}

// state is one Lua state with all that a script of the contract finds in it. It belongs to one
// goroutine, except for position and interrupt.
type state struct {
	setup Setup
	out   output
	print func(line string)
	now   func() time.Time
	log   *slog.Logger
	warn  *telemetry.Limited

	vm      *lua.VM
	modules *modules.Modules
	entry   *lua.Ref // calls a function of the prelude by its name
	reach   atomic.Pointer[reach]
	front   *front.Front

	cache   *cache
	lines   *lineSpool
	queues  rrdQueues
	rrdtool rrdtool
	clients clients
	drops   int64 // points that the script says it dropped, or that a queue had no room for

	interfaces map[int64]string // by id
	selected   int64
	unknown    map[string]bool // functions that are not there and were called (R27)
	deadline   time.Time       // of the running call, zero for none
}

// reach is what position and interrupt work on.
type reach struct {
	vm      *lua.VM
	modules *modules.Modules
}

const noInterface = -1 // the system interface

// open makes the state. It must be closed, also after an error.
func open(setup Setup, out output, print func(line string)) (*state, error) {
	s := &state{
		setup: setup, out: out, print: print, now: time.Now, log: script.Logger(out.Log), clients: make(clients),
		interfaces: make(map[int64]string), selected: noInterface, unknown: make(map[string]bool),
	}
	s.warn = telemetry.NewLimited(s.log, time.Minute, 10)
	for id, name := range setup.Interfaces {
		if n, ok := interfaceID(id); ok {
			s.interfaces[n] = name
		}
	}
	return s, s.prepare()
}

func (s *state) prepare() error {
	if s.setup.Directory != "" {
		if err := os.MkdirAll(filepath.Join(s.setup.Directory, "tmp"), 0o750); err != nil {
			return fmt.Errorf("cannot make the directory of the script: %w", err)
		}
	}
	var err error
	if s.cache, err = openCache(s.setup.cachePath(), s.setup.Preferences, s.now); err != nil {
		s.log.Warn(err.Error())
	}
	if s.lines, err = openLineSpool(filepath.Join(s.setup.Directory, "tmp", "influxdb"), s.setup.SpoolBytes, s.now, s.spooled); err != nil {
		return err
	}
	s.queues = rrdQueues{dir: filepath.Join(s.setup.Directory, "tmp", "rrd"), log: s.log}
	ids, err := s.queues.recover()
	if err != nil {
		s.log.Warn("points that waited for a round robin database cannot be read", "error", err)
	}
	for _, id := range ids {
		s.know(id)
	}
	s.vm, err = lua.New(lua.Options{Path: s.setup.modulePath(), Compatibility: true, Memory: s.setup.Memory, Output: s.print})
	if err != nil {
		return err
	}
	s.vm.SetDeadline(s.setup.Call)
	if s.modules, err = modules.Register(s.vm, modules.Options{Call: s.setup.Call, Log: s.log}); err != nil {
		return err
	}
	s.reach.Store(&reach{s.vm, s.modules})
	return s.prelude()
}

// spooled counts lines that are ready for export (4.1).
func (s *state) spooled(lines int) {
	if _, err := s.cache.increment("ntopng.cache.influxdb.num_exported_points", int64(lines)); err != nil {
		s.log.Warn(err.Error())
	}
}

func (s *state) prelude() error {
	sources := make(map[string]any)
	for _, name := range []string{"operators", "ts_common", "ts_schema", "ts_utils"} {
		source, err := preludes.ReadFile("prelude/" + name + ".lua")
		if err != nil {
			return err
		}
		sources[name] = string(source)
	}
	source, err := preludes.ReadFile("prelude/init.lua")
	if err != nil {
		return err
	}
	chunk, err := s.vm.Load("=weir/init.lua", source)
	if err != nil {
		return err
	}
	results, err := chunk.Call(s.natives(), map[string]any{"parity": s.setup.Parity}, sources)
	if err != nil {
		return fmt.Errorf("cannot prepare the Lua state: %w", err)
	}
	s.entry = results[0].(*lua.Ref)
	return nil
}

// natives is what the prelude is built on.
func (s *state) natives() *lua.Table {
	t := &lua.Table{}
	t.Set("ntop", functionTable(s.functions()))
	t.Set("interface", functionTable(s.interfaceFunctions()))
	t.Set("log", lua.Function(s.scriptLog))
	t.Set("unknown", lua.Function(func(c *lua.Call) (int, error) {
		name, err := c.String(1)
		if err == nil && !s.unknown[name] && len(s.unknown) < 1000 {
			s.unknown[name] = true
			s.out.Log(slog.LevelWarn, "the script calls "+cut(name)+", which is not there: it gets nil")
		}
		return 0, err
	}))
	t.Set("archives", lua.Function(func(c *lua.Call) (int, error) {
		step, err := c.Float(1)
		if err != nil || !(step >= 1) {
			return 0, nil
		}
		list := &lua.Table{}
		for _, a := range front.Archives(int64(min(step, 1<<31))) {
			one := &lua.Table{}
			one.Set("aggregation_dp", a.Points)
			one.Set("retention_dp", a.Rows)
			list.Array = append(list.Array, one)
		}
		c.Push(list)
		return 1, nil
	}))
	t.Set("operators", lua.Function(func(c *lua.Call) (int, error) {
		source, err := c.String(1)
		c.PushString(operators53(source))
		return 1, err
	}))
	t.Set("select", lua.Function(s.selectInterface))
	t.Set("front", lua.Function(s.callFront))
	return t
}

// functions are those of ntop.
func (s *state) functions() map[string]lua.Function {
	all := s.cache.functions()
	for _, more := range []map[string]lua.Function{fileFunctions(s.setup.Directory), s.rrdFunctions(), s.httpFunctions(), s.ntopFunctions()} {
		maps.Copy(all, more)
	}
	return all
}

func functionTable(functions map[string]lua.Function) *lua.Table {
	t := &lua.Table{}
	for name, f := range functions {
		t.Set(name, f)
	}
	return t
}

// scriptLog writes a line of the prelude.
func (s *state) scriptLog(c *lua.Call) (int, error) {
	level, err := c.String(1)
	if err != nil {
		return 0, err
	}
	text, err := c.String(2)
	if err != nil {
		return 0, err
	}
	severity := slog.LevelError
	if level == "warning" {
		severity = slog.LevelWarn
	}
	s.out.Log(severity, text)
	return 0, nil
}

// callFront calls a function of the front: its name and one argument; the value, or nil with the
// code and the text of an error.
func (s *state) callFront(c *lua.Call) (int, error) {
	name, err := c.String(1)
	if err != nil {
		return 0, err
	}
	if s.front == nil {
		return 0, errors.New("there are no drivers yet: this works once the script has loaded")
	}
	v, err := c.Value(2)
	if err != nil {
		return 0, err
	}
	argument, err := plain(v, name == "append", 0)
	if err != nil {
		return 0, fmt.Errorf("cannot pass this to %s: %w", name, err)
	}
	text, err := json.Marshal(argument)
	if err != nil {
		return 0, err
	}
	ctx, done := s.modules.Block(-1)
	defer done()
	var reply struct {
		Value any
		Code  string
		Error string
	}
	if err := json.Unmarshal(s.front.Call(ctx, name, text), &reply); err != nil {
		return 0, err
	}
	if reply.Code != "" {
		c.PushNil()
		c.PushString(reply.Code)
		c.PushString(reply.Error)
		return 3, nil
	}
	c.Push(fromJSON(reply.Value))
	return 1, nil
}

// maxDepth bounds nested tables: one that holds itself has no form outside.
const maxDepth = 16

// plain is a Lua value in the form that becomes JSON. NaN and infinities have none: as values of points they are
// texts, which are refused with their name, and in a question NaN is what is not given and infinity a large number.
func plain(v lua.Value, values bool, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("tables are nested more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case nil, bool, int64, string:
		return v, nil
	case float64:
		switch {
		case values && (math.IsNaN(v) || math.IsInf(v, 0)):
			return lua.FormatNumber(v), nil
		case math.IsNaN(v):
			return nil, nil
		}
		return min(max(v, -math.MaxFloat64), math.MaxFloat64), nil
	case *lua.Table:
		if len(v.Hash) == 0 {
			list := make([]any, len(v.Array))
			for i, entry := range v.Array {
				var err error
				if list[i], err = plain(entry, values, depth+1); err != nil {
					return nil, err
				}
			}
			return list, nil
		}
		object := make(map[string]any, len(v.Hash)+len(v.Array))
		for i, entry := range v.Array {
			one, err := plain(entry, values, depth+1)
			if err != nil {
				return nil, err
			}
			object[strconv.Itoa(i+1)] = one
		}
		for _, pair := range v.Hash {
			var name string
			switch key := pair.Key.(type) {
			case string:
				name = key
			case int64:
				name = strconv.FormatInt(key, 10)
			default:
				continue
			}
			if _, function := pair.Value.(*lua.Ref); function {
				continue // influx_internal_query
			}
			one, err := plain(pair.Value, values, depth+1)
			if err != nil {
				return nil, err
			}
			if list, ok := one.([]any); ok && len(list) == 0 && name == "values" { // of a sample without any
				one = map[string]any{}
			}
			object[name] = one
		}
		return object, nil
	}
	return nil, fmt.Errorf("a %T is neither text, a number, a boolean nor a table", v)
}

// fromJSON is a decoded value for Lua: null is NaN, as in points that are not known.
func fromJSON(v any) lua.Value {
	switch v := v.(type) {
	case nil:
		return math.NaN()
	case []any:
		t := &lua.Table{Array: make([]lua.Value, len(v))}
		for i := range v {
			t.Array[i] = fromJSON(v[i])
		}
		return t
	case map[string]any:
		t := &lua.Table{}
		for name, member := range v {
			t.Set(name, fromJSON(member))
		}
		return t
	}
	return v
}

// compile compiles the file of a script.
func (s *state) compile(path string) (*lua.Ref, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, &script.Error{Message: fmt.Sprintf("cannot read the script: %v", err), File: path}
	}
	text := string(source)
	if strings.HasPrefix(text, "#") {
		text = "--" + text
	}
	return s.vm.Load("@"+path, []byte(operators53(text)))
}

// call calls a function of the prelude, for as long as a call of the script may take.
func (s *state) call(name string, args ...lua.Value) ([]lua.Value, error) {
	outer := s.deadline
	if s.setup.Call > 0 && outer.IsZero() {
		s.deadline = s.now().Add(s.setup.Call)
		defer func() { s.deadline = outer }()
	}
	return s.entry.Call(append([]lua.Value{name}, args...)...)
}

// within bounds the calls that follow by ctx, until the function returned is called.
func (s *state) within(ctx context.Context) (done func()) {
	at, ok := ctx.Deadline()
	if !ok {
		return func() {}
	}
	left := at.Sub(s.now())
	if s.setup.Call > 0 {
		left = min(left, s.setup.Call)
	}
	outer := s.deadline
	s.deadline = s.now().Add(left)
	s.vm.SetDeadline(max(left, time.Millisecond))
	return func() {
		s.deadline = outer
		s.vm.SetDeadline(s.setup.Call)
	}
}

// settle is called when a call of the script has ended.
func (s *state) settle(last bool) error {
	return errors.Join(s.lines.tick(last), s.lines.flush(), s.queues.settle(), s.cache.save(last))
}

// close ends the state; what waits in queues stays there.
func (s *state) close() error {
	if s.vm != nil {
		s.vm.Close()
	}
	if s.modules != nil {
		s.modules.Close()
	}
	s.clients.close()
	s.rrdtool.close()
	var err error
	if s.lines != nil {
		err = s.settle(true)
	}
	return errors.Join(err, s.queues.close())
}

// position is the file:line the running call is at, "" when nothing runs.
func (s *state) position() string {
	r := s.reach.Load()
	if r == nil {
		return ""
	}
	p := r.vm.Position()
	if p == nil {
		return ""
	}
	return (&script.Error{File: p.File, Line: p.Line}).Position()
}

// interrupt raises an error in the running call.
func (s *state) interrupt() {
	if r := s.reach.Load(); r != nil {
		r.vm.Interrupt()
		r.modules.Interrupt() // after it: what blocks in a module returns to a call that is to end
	}
}

// asScriptError gives an error of the VM the form the daemon shows with its place.
func (s *state) asScriptError(err error, doing string) *script.Error {
	e := &script.Error{Message: doing + err.Error(), File: s.setup.Script}
	var raised *lua.Error
	var exit *lua.ExitError
	switch {
	case errors.As(err, &raised):
		e.Message, e.Traceback, e.Overtime = doing+raised.Message, raised.Traceback, raised.Deadline
		if raised.File != "" {
			e.File, e.Line = raised.File, raised.Line
		}
		if raised.Deadline {
			e.Message = doing + "it was stopped because it took too long"
		}
	case errors.As(err, &exit):
		if exit.File != "" {
			e.File, e.Line = exit.File, exit.Line
		}
	}
	return e
}
