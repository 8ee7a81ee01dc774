package luabot

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/lua/modules"
	"github.com/weirhq/weir/internal/script"
)

// luaScript is a script in its Lua state. It belongs to one goroutine, except for position and interrupt.
type luaScript struct {
	setup   Setup
	vm      *lua.VM
	modules *modules.Modules
	devices *lua.Table // of the call of jobs that runs
	values  []value    // of the call of perform_job that runs
	running bool       // perform_job
	exited  bool       // os.exit was called: the state is finished
}

// Bounds of what a script hands over.
const (
	maxJobs   = 100_000
	maxValues = 100_000 // of one call
	maxParams = 1 << 20 // bytes of one job as JSON
	maxDepth  = 16      // of tables
)

// newScript makes the state, and runs nothing. print gets what the script prints.
func newScript(setup Setup, print func(line string), log *slog.Logger) (*luaScript, error) {
	dir := filepath.Dir(setup.Script)
	vm, err := lua.New(lua.Options{Path: []string{dir + "/?.lua", dir + "/?/init.lua"}, Compatibility: true, Memory: setup.Memory, Output: print})
	if err != nil {
		return nil, err
	}
	vm.SetDeadline(setup.Call)
	s := &luaScript{setup: setup, vm: vm}
	if s.modules, err = modules.Register(vm, modules.Options{Call: setup.Call, Log: log}); err != nil {
		vm.Close()
		return nil, err
	}
	return s, nil
}

// load runs the file.
func (s *luaScript) load() error {
	path := s.setup.Script
	source, err := os.ReadFile(path)
	if err != nil {
		return &script.Error{Message: fmt.Sprintf("cannot read the script: %v", err), File: path}
	}
	for name, v := range s.globals() {
		if err := s.vm.SetGlobal(name, v); err != nil {
			return err
		}
	}
	if len(source) > 0 && source[0] == '#' {
		source = append([]byte("--"), source...)
	}
	chunk, err := s.vm.Load("@"+path, source)
	if err == nil {
		_, err = chunk.Call()
	}
	if err != nil {
		return s.asError(err)
	}
	for _, name := range []string{"jobs", "perform_job"} {
		v, err := s.vm.Global(name)
		if err != nil {
			return err
		}
		if _, ok := v.(*lua.Ref); !ok {
			return &script.Error{Message: fmt.Sprintf("the script has no global function %s(): it must have jobs() and perform_job(affecting_intervals, params)", name), File: path}
		}
	}
	return nil
}

// globals are what scripts find besides the standard libraries and the modules.
func (s *luaScript) globals() map[string]lua.Value {
	options := &lua.Table{}
	for name, v := range s.setup.Options {
		options.Set(name, v)
	}
	return map[string]lua.Value{"options": options, "send_results": lua.Function(s.sendResults), "fetch_job_configs": lua.Function(s.fetchJobConfigs)}
}

// fetchJobConfigs returns the devices there are for the collector.
func (s *luaScript) fetchJobConfigs(c *lua.Call) (int, error) {
	if s.devices == nil {
		return 0, errors.New("fetch_job_configs is for jobs(): hand what it returns on as params of jobs")
	}
	c.Push(s.devices)
	return 1, nil
}

// sendResults takes values: {[path] = value}, or a list of {p = path, v = value, t = Unix time}.
func (s *luaScript) sendResults(c *lua.Call) (int, error) {
	if !s.running {
		return 0, errors.New("send_results is for perform_job()")
	}
	given, err := c.Table(1)
	if err != nil {
		return 0, err
	}
	account := s.setup.Account
	if !c.IsNil(2) {
		if account, err = c.Int(2); err != nil {
			return 0, err
		}
	}
	if len(s.values)+len(given.Array)+len(given.Hash) > maxValues {
		return 0, fmt.Errorf("cannot send so many values: a call of perform_job may send %d", maxValues)
	}
	var all []value // with one that is wrong none are sent
	for i, entry := range given.Array {
		t, ok := entry.(*lua.Table)
		if !ok {
			return 0, fmt.Errorf("cannot send entry %d: it must be a table {p = path, v = value}, not %s", i+1, describe(entry))
		}
		path, ok := t.Get("p").(string)
		if !ok {
			return 0, fmt.Errorf("cannot send entry %d: its path p must be a string, not %s", i+1, describe(t.Get("p")))
		}
		v, err := measured(path, t.Get("v"))
		if err != nil {
			return 0, err
		}
		v.Account = account
		if at := t.Get("t"); at != nil {
			n, ok := float(at)
			if !ok || !(n >= 1) || n >= 1e10 {
				return 0, fmt.Errorf("cannot send the value of %q: its time t must be Unix time in seconds, not %s", path, describe(at))
			}
			v.Time = n
		}
		all = append(all, v)
	}
	for _, pair := range given.Hash {
		path, ok := pair.Key.(string)
		if !ok {
			return 0, fmt.Errorf("cannot send the value of %s: its path must be a string", describe(pair.Key))
		}
		v, err := measured(path, pair.Value)
		if err != nil {
			return 0, err
		}
		v.Account = account
		all = append(all, v)
	}
	s.values = append(s.values, all...)
	return 0, nil
}

func measured(path string, v lua.Value) (value, error) {
	if err := collector.CheckPath(path); err != nil {
		return value{}, err
	}
	n, ok := float(v)
	if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
		return value{}, fmt.Errorf("cannot send the value of %q: it must be a finite number, not %s", path, describe(v))
	}
	return value{Path: path, Value: n}, nil
}

func float(v lua.Value) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// describe is a Lua value in a message.
func describe(v lua.Value) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case string:
		return fmt.Sprintf("%.100q", v)
	case *lua.Table:
		return "a table"
	case *lua.Ref:
		return "a function"
	case float64:
		return lua.FormatNumber(v)
	}
	return fmt.Sprintf("%v", v)
}

// jobs calls jobs() of the script.
func (s *luaScript) jobs(devices []json.RawMessage) ([]job, error) {
	s.devices = &lua.Table{}
	defer func() { s.devices = nil }()
	for _, device := range devices {
		v, message := modules.DecodeJSON(string(device))
		if message != "" {
			return nil, fmt.Errorf("cannot hand a device to the script: %s", message)
		}
		s.devices.Array = append(s.devices.Array, v)
	}
	results, err := s.vm.Call("jobs")
	if err != nil {
		return nil, s.asError(err)
	}
	var list *lua.Table
	if len(results) > 0 {
		list, _ = results[0].(*lua.Table)
	}
	switch {
	case list == nil || len(list.Hash) > 0:
		return nil, &script.Error{Message: "jobs() must return a list of jobs, such as {{id = \"load\", intervals = {60}}}", File: s.setup.Script}
	case len(list.Array) > maxJobs:
		return nil, &script.Error{Message: fmt.Sprintf("jobs() returned %d jobs, and may return %d", len(list.Array), maxJobs), File: s.setup.Script}
	}
	all := make([]job, 0, len(list.Array))
	for i, entry := range list.Array {
		one, err := s.job(entry)
		if err != nil {
			return nil, &script.Error{Message: fmt.Sprintf("cannot use job %d of jobs(): %v", i+1, err), File: s.setup.Script}
		}
		all = append(all, one)
	}
	return all, nil
}

// job reads one entry of what jobs() returned. What the intervals are worth is for collector.Collector to say.
func (s *luaScript) job(entry lua.Value) (j job, err error) {
	t, ok := entry.(*lua.Table)
	if !ok {
		return j, fmt.Errorf("it must be a table, not %s", describe(entry))
	}
	switch id := t.Get("id").(type) {
	case string:
		j.ID = id
	case int64:
		j.ID = strconv.FormatInt(id, 10)
	}
	if j.ID == "" || len(j.ID) > 200 {
		return j, fmt.Errorf("its id must be a string of 1 to 200 bytes, not %s", describe(t.Get("id")))
	}
	switch intervals := t.Get("intervals").(type) {
	case nil:
		j.Intervals = []float64{s.setup.Interval.Seconds()}
	case *lua.Table:
		for _, v := range intervals.Array {
			n, ok := float(v)
			if !ok || math.IsNaN(n) || n < 1 || n > 1e9 {
				return j, fmt.Errorf("the interval %s of job %q must be a number of seconds, 1 or more", describe(v), j.ID)
			}
			j.Intervals = append(j.Intervals, n)
		}
	default:
		return j, fmt.Errorf("intervals of job %q must be a list of seconds, such as {60}, not %s", j.ID, describe(intervals))
	}
	if start := t.Get("start"); start != nil {
		n, ok := float(start)
		if !ok || !(n >= 0) || n >= 1e10 {
			return j, fmt.Errorf("start of job %q must be Unix time in seconds, not %s", j.ID, describe(start))
		}
		j.Start = n
	}
	params, err := plain(t.Get("params"), 0)
	if err != nil {
		return j, fmt.Errorf("params of job %q: %w", j.ID, err)
	}
	if j.Params, err = json.Marshal(params); err == nil && len(j.Params) > maxParams {
		err = fmt.Errorf("params of job %q have %d bytes as JSON, and may have %d", j.ID, len(j.Params), maxParams)
	}
	return j, err
}

// plain is a Lua value in the form that becomes JSON.
func plain(v lua.Value, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("tables are nested more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case nil, bool, int64, string:
		return v, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%s has no form outside of the script", lua.FormatNumber(v))
		}
		return v, nil
	case *lua.Table:
		if len(v.Hash) == 0 {
			list := make([]any, len(v.Array))
			for i, entry := range v.Array {
				var err error
				if list[i], err = plain(entry, depth+1); err != nil {
					return nil, err
				}
			}
			return list, nil
		}
		object := make(map[string]any, len(v.Hash))
		for _, pair := range v.Hash {
			name, ok := pair.Key.(string)
			if !ok || len(v.Array) > 0 {
				return nil, errors.New("a table must be a list, or have strings as keys")
			}
			one, err := plain(pair.Value, depth+1)
			if err != nil {
				return nil, err
			}
			object[name] = one
		}
		return object, nil
	}
	return nil, fmt.Errorf("%s cannot be handed on", describe(v))
}

// perform calls perform_job of the script. What it had sent before an error is returned too.
func (s *luaScript) perform(q *performRequest) ([]value, error) {
	params, message := modules.DecodeJSON(string(q.Params))
	if message != "" {
		return nil, errors.New("BUG: " + message)
	}
	affecting := &lua.Table{}
	for _, seconds := range q.Affecting {
		affecting.Array = append(affecting.Array, seconds)
	}
	s.values, s.running = nil, true
	defer func() { s.values, s.running = nil, false }()
	_, err := s.vm.Call("perform_job", affecting, params)
	if err != nil {
		return s.values, s.asError(err)
	}
	return s.values, nil
}

// asError is an error of the VM with its place.
func (s *luaScript) asError(err error) *script.Error {
	e := &script.Error{Message: err.Error(), File: s.setup.Script}
	var raised *lua.Error
	var exit *lua.ExitError
	switch {
	case errors.As(err, &raised):
		e.Traceback, e.Overtime = raised.Traceback, raised.Deadline
		if raised.File != "" {
			e.File, e.Line = raised.File, raised.Line
		}
		if raised.Deadline {
			e.Message = fmt.Sprintf("the call was stopped because it took longer than %s", s.setup.Call)
		}
	case errors.As(err, &exit):
		s.exited = true
		if exit.File != "" {
			e.File, e.Line = exit.File, exit.Line
		}
	}
	return e
}

func (s *luaScript) position() string {
	p := s.vm.Position()
	if p == nil {
		return ""
	}
	return (&script.Error{File: p.File, Line: p.Line}).Position()
}

// interrupt raises an error in the running call.
func (s *luaScript) interrupt() {
	s.vm.Interrupt()
	s.modules.Interrupt() // after it: what blocks in a module returns to a call that is to end
}

func (s *luaScript) close() {
	s.vm.Close()
	s.modules.Close()
}

// at is a Unix time in seconds; 0 is the zero time.
func at(seconds float64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(seconds * 1e6)))
}
