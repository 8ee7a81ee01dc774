package connector

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/broker"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/lua/modules"
	"github.com/weirhq/weir/internal/script"
)

// Script is a loaded stream connector: the script half. It belongs to one goroutine,
// except for Position and Interrupt.
type Script struct {
	setup   Setup
	out     Output
	vm      *lua.VM
	modules *modules.Modules
	reach   atomic.Pointer[reach] // vm and modules for other goroutines, from the moment on that they run something
	cache   *broker.Cache
	table   *cacheTable  // that the script sees
	file    *broker.File // of the cache, nil to keep it in memory only
	family  event.Family

	filter   string // "filter" when the script has a valid one
	probed   string // what filter returned when it was probed, "" without one
	flushes  bool
	readOnly bool // version 2 of the interface

	settle func() error // called after each step of a delivery, nil for nothing

	queue
}

// Output is where a script's effects go.
type Output interface {
	Log(level slog.Level, text string)
	Error(err error)            // the script goes on
	Begin(call string)          // a call of the script begins
	Acknowledge(through uint64) // every event up to and including this number
}

// Load runs the file and its init (1.1). The script must be closed, also after an error.
func Load(setup Setup, out Output) (*Script, error) {
	s := newScript(setup, out)
	return s, s.load()
}

func newScript(setup Setup, out Output) *Script {
	s := &Script{setup: setup, out: out, family: setup.family()}
	s.queue.chunk = 1
	return s
}

// reach is what Position and Interrupt work on.
type reach struct {
	vm      *lua.VM
	modules *modules.Modules
}

func (s *Script) load() error {
	path := s.setup.Script
	fail := func(err error, format string, args ...any) error {
		text := fmt.Sprintf(format, args...)
		e := &script.Error{Message: text, File: path, Line: 1} // what no line is to blame for is said of the first
		var raised *lua.Error
		var exit *lua.ExitError
		switch {
		case errors.As(err, &raised):
			e.Message, e.Traceback = text+": "+raised.Message, raised.Traceback
			if raised.File != "" {
				e.File, e.Line = raised.File, raised.Line
			}
		case errors.As(err, &exit):
			e.Message = text + ": " + exit.Error()
			if exit.File != "" {
				e.File, e.Line = exit.File, exit.Line
			}
		case err != nil:
			e.Message = text + ": " + err.Error()
		}
		return e
	}
	filter, unknown := event.ParseFilters(s.setup.Categories)
	if len(unknown) > 0 {
		s.out.Log(slog.LevelWarn, fmt.Sprintf("unknown entries of the category filter are ignored: %q", unknown))
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return &script.Error{Message: fmt.Sprintf("lua: '%s' could not be loaded: %v", path, err), File: path}
	}
	dir := filepath.Dir(path)
	s.vm, err = lua.New(lua.Options{
		Path: []string{dir + "/?.lua"}, CPath: []string{dir + "/lib/?.so"}, Compatibility: true, Memory: s.setup.Memory,
		Output: func(line string) { s.out.Log(slog.LevelInfo, line) },
	})
	if err != nil {
		return err
	}
	s.vm.SetDeadline(s.setup.Call)
	log := script.Logger(s.out.Log)
	if s.modules, err = modules.Register(s.vm, modules.Options{Call: s.setup.Call, Log: log}); err != nil {
		return err
	}
	s.reach.Store(&reach{s.vm, s.modules})
	s.cache = broker.NewCache(log)
	if s.setup.Cache != "" {
		if s.file, err = broker.OpenFile(s.setup.Cache, s.cache, log); err != nil {
			return err
		}
	}
	if s.setup.Forget {
		s.cache.ForgetDeleted()
	}
	if err := defineFormats(s.vm, s.family, filter, s.setup.TypeAlias); err != nil {
		return err
	}
	globals, err := s.globals()
	if err != nil {
		return err
	}
	if err := s.setGlobals(globals); err != nil {
		return err
	}
	if len(source) > 0 && source[0] == '#' {
		source = append([]byte("--"), source...)
	}
	chunk, err := s.vm.Load("@"+path, source)
	if err != nil {
		return fail(err, "lua: '%s' could not be loaded", path)
	}
	if _, err := chunk.Call(); err != nil {
		return fail(err, "lua: '%s' could not be compiled", path)
	}
	for _, name := range []string{"init", "write"} {
		if !s.defines(name) {
			return fail(nil, "lua: '%s' %s() global function is missing", path, name)
		}
	}
	if s.defines("filter") {
		s.probe()
	}
	s.flushes = s.defines("flush")
	s.readVersion()
	globals.cache.readOnly = s.readOnly
	if err := s.setGlobals(globals); err != nil {
		return err
	}
	if s.setup.Inspect {
		return nil
	}
	s.out.Begin("init")
	if _, err := s.vm.Call("init", s.conf()); err != nil {
		return fail(err, "lua: error running function 'init'")
	}
	return nil
}

// globals are what scripts find besides the standard libraries (5).
type globals struct {
	log    *scriptLog
	cache  *cacheTable
	tables map[string]*lua.Table
}

func (s *Script) globals() (*globals, error) {
	g := &globals{
		log:   &scriptLog{level: 1, say: s.out.Log, now: time.Now},
		cache: &cacheTable{cache: s.cache},
	}
	s.table = g.cache
	cache, err := g.cache.table(s.vm)
	if err != nil {
		return nil, err
	}
	functions, err := functions(s.vm, s.setup.BBDO)
	if err != nil {
		return nil, err
	}
	sockets, err := sockets(s.vm, s.modules)
	if err != nil {
		return nil, err
	}
	g.tables = map[string]*lua.Table{
		"broker_log": g.log.table(), "broker_cache": cache, "broker": functions, "broker_tcp_socket": sockets, "broker_event": {},
	}
	return g, nil
}

// setGlobals is called before the file runs, and again before init: what the file
// put in place of a global, to be tested without a host, must not stay.
func (s *Script) setGlobals(g *globals) error {
	for name, t := range g.tables {
		if err := s.vm.SetGlobal(name, t); err != nil {
			return err
		}
	}
	return nil
}

// defines reports whether a global is a function.
func (s *Script) defines(name string) bool {
	v, err := s.vm.Global(name)
	_, ok := v.(*lua.Ref)
	return err == nil && ok
}

// probe calls filter once. When that fails the script goes on without a filter.
func (s *Script) probe() {
	s.probed = "error"
	results, err := s.vm.Call("filter", 1, 2)
	if err == nil {
		if len(results) > 0 {
			if passes, ok := results[0].(bool); ok {
				s.filter, s.probed = "filter", strconv.FormatBool(passes)
				return
			}
		}
		s.probed = "not_boolean"
		err = s.at("filter", &script.Error{Message: "lua: the function filter does not return a boolean"})
	}
	const unused = "the filter is not used: "
	if e := new(script.Error); errors.As(asScriptError(err), &e) {
		e.Message = unused + strings.TrimPrefix(e.Message, e.Position()+": ")
		s.out.Error(e)
		return
	}
	s.out.Error(fmt.Errorf(unused+"%w", err))
}

// Probe is what filter returned for category 1 and element 2 when the script was
// loaded, as in [Step], and "" when there is no filter.
func (s *Script) Probe() string { return s.probed }

// readVersion reads broker_api_version (1.3).
func (s *Script) readVersion() {
	v, _ := s.vm.Global("broker_api_version")
	if text, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(text, 64); err == nil && f == float64(int64(f)) {
			v = int64(f)
		}
	}
	switch v {
	case nil, int64(1):
	case int64(2):
		s.readOnly = true
	default:
		s.out.Error(&script.Error{Message: fmt.Sprintf("broker_api_version is %v, it must be 1 or 2: 1 is used", v), File: s.setup.Script})
	}
}

// conf is the argument of init.
func (s *Script) conf() *lua.Table {
	t := &lua.Table{}
	seen := map[string]bool{}
	for _, p := range s.setup.Parameters {
		switch {
		case seen[p.Name]: // the first one wins
		case p.Numeric:
			t.Set(p.Name, p.Number)
		default:
			t.Set(p.Name, p.Text)
		}
		seen[p.Name] = true
	}
	return t
}

// asScriptError gives an error of the VM the form the daemon shows with its place.
func asScriptError(err error) error {
	if raised := new(lua.Error); errors.As(err, &raised) {
		return &script.Error{Message: raised.Message, File: raised.File, Line: raised.Line, Traceback: raised.Traceback, Overtime: raised.Deadline}
	}
	return err
}

// at gives an error that has no line the place where a global function begins.
func (s *Script) at(function string, e *script.Error) *script.Error {
	if e.Line > 0 {
		return e
	}
	if p := s.vm.Defined(function); p != nil {
		e.File, e.Line = p.File, p.Line
	}
	e.File = cmp.Or(e.File, s.setup.Script)
	return e
}

// place is the file:line where write begins.
func (s *Script) place() string { return s.at("write", new(script.Error)).Position() }

// Position is the file:line the running call is at, "" when nothing runs.
func (s *Script) Position() string {
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

// Interrupt raises an error in the running call.
func (s *Script) Interrupt() {
	if r := s.reach.Load(); r != nil {
		r.vm.Interrupt()
		r.modules.Interrupt() // after it: what blocks in a module returns to a call that is to end
	}
}

// TakeOver is called when the script gets its first call after Load, in a process that may have
// loaded beside another one of the same connector: what that one learned until it ended is not missing.
func (s *Script) TakeOver() error {
	if s.file == nil {
		return nil
	}
	return s.file.Refresh()
}

// Keep makes durable what the cache has learned of the configuration.
func (s *Script) Keep() error {
	if s.file == nil {
		return nil
	}
	return s.file.Flush()
}

// Close ends the script without a last flush, and saves the cache.
func (s *Script) Close() error {
	if s.vm != nil {
		s.vm.Close()
	}
	if s.modules != nil {
		s.modules.Close()
	}
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
