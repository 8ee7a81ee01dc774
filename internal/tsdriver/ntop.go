package tsdriver

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/weirhq/weir/internal/lua"
)

// ntopFunctions are those of ntop that tell about the installation and the call (4.6).
func (s *state) ntopFunctions() map[string]lua.Function {
	text := func(v string) lua.Function {
		return func(c *lua.Call) (int, error) {
			c.PushString(v)
			return 1, nil
		}
	}
	truth := func(v bool) lua.Function {
		return func(c *lua.Call) (int, error) {
			c.PushBool(v)
			return 1, nil
		}
	}
	empty := func(c *lua.Call) (int, error) {
		c.Push(&lua.Table{})
		return 1, nil
	}
	functions := map[string]lua.Function{
		"getDirs": func(c *lua.Call) (int, error) {
			t := &lua.Table{}
			for name, path := range s.dirs() {
				t.Set(name, path)
			}
			c.Push(t)
			return 1, nil
		},
		"getHttpPrefix": text(""), "getCurrentScriptsDir": text(s.dirs()["scriptdir"]),
		"isDeadlineApproaching": func(c *lua.Call) (int, error) {
			// Near is the last tenth of what a call may take.
			c.PushBool(!s.deadline.IsZero() && s.deadline.Sub(s.now()) < s.setup.Call/10)
			return 1, nil
		},
		"getDeadline": func(c *lua.Call) (int, error) {
			at := int64(0)
			if !s.deadline.IsZero() {
				at = s.deadline.Unix()
			}
			c.PushInt(at)
			return 1, nil
		},
		"isIPv6": func(c *lua.Call) (int, error) {
			address, err := netip.ParseAddr(optional(c, 1))
			c.PushBool(err == nil && address.Is6())
			return 1, nil
		},
		"getInfo": func(c *lua.Call) (int, error) {
			t := &lua.Table{}
			t.Set("product", "ntopng")
			t.Set("version", "6.3")
			c.Push(t)
			return 1, nil
		},
		"getPrefs": empty, "dumpBinaryFile": empty, "addUser": truth(false), "deleteUser": truth(false),
		"resetUserPassword": truth(false), "runLiveExtraction": truth(false),
		"traceEvent":        s.traceEvent,
		"ts_inc_num_writes": func(*lua.Call) (int, error) { return 0, nil },
		"ts_inc_num_drops":  s.rrdFunctions()["rrd_inc_num_drops"],
	}
	for _, name := range []string{"isnEdge", "isPro", "isEnterpriseM", "isWindows", "isFreeBSD", "isClickHouseEnabled", "isShuttingDown", "verboseTrace"} {
		functions[name] = truth(false)
	}
	for _, name := range []string{"isAllowedInterface", "isAllowedNetwork", "isAdministrator"} { // Weir knows no users
		functions[name] = truth(true)
	}
	return functions
}

// dirs are the directories of the installation; "" where there is none.
func (s *state) dirs() map[string]string {
	below := func(path string) string {
		if s.setup.Installation == "" {
			return ""
		}
		return filepath.Join(s.setup.Installation, path)
	}
	scripts := below("scripts")
	return map[string]string{
		"installdir": s.setup.Installation, "workingdir": s.setup.Directory, "bindir": below("bin"), "scriptdir": scripts,
		"httpdocsdir": below("httpdocs"), "callbacksdir": below("scripts/callbacks"), "pcapdir": s.setup.Directory,
		"etcdir": below("etc"), "sharedir": below("share"),
	}
}

// levels of traceEvent, 0 for an error to 4 for debugging.
var traceLevels = []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelInfo, slog.LevelDebug}

func (s *state) traceEvent(c *lua.Call) (int, error) {
	level, err := c.Int(1)
	if err != nil {
		return 0, err
	}
	file, line := optional(c, 2), optional(c, 3)
	s.out.Log(traceLevels[min(max(level, 0), int64(len(traceLevels)-1))], fmt.Sprintf("%s:%s: %s", filepath.Base(file), line, optional(c, 4)))
	return 0, nil
}

// know adds an interface that points came from.
func (s *state) know(id int64) {
	if _, ok := s.interfaces[id]; !ok && len(s.interfaces) < 4096 {
		s.interfaces[id] = "if" + strconv.FormatInt(id, 10)
		if id == noInterface {
			s.interfaces[id] = "__system__"
		}
	}
}

// find is the id of an interface, by its id or its name.
func (s *state) find(text string) (int64, bool) {
	if id, ok := interfaceID(text); ok {
		return id, true
	}
	for id, name := range s.interfaces {
		if name == text {
			return id, true
		}
	}
	return 0, false
}

// selectInterface makes an interface the current one; without one it is that of the system.
func (s *state) selectInterface(c *lua.Call) (int, error) {
	s.selected = noInterface
	if id, ok := s.find(optional(c, 1)); ok {
		s.selected = id
		s.know(id)
	}
	return 0, nil
}

// chosen is the interface an argument names, else the current one.
func (s *state) chosen(c *lua.Call, i int) int64 {
	if id, ok := s.find(optional(c, i)); ok {
		return id
	}
	return s.selected
}

// interfaceFunctions are those of interface (4.6).
func (s *state) interfaceFunctions() map[string]lua.Function {
	empty := func(c *lua.Call) (int, error) {
		c.Push(&lua.Table{})
		return 1, nil
	}
	none := func(*lua.Call) (int, error) { return 0, nil }
	return map[string]lua.Function{
		"select":         s.selectInterface,
		"appendInfluxDB": s.appendInfluxDB,
		"rrd_enqueue":    s.rrdEnqueue,
		"rrd_dequeue": func(c *lua.Call) (int, error) {
			queue := s.queues.queues[s.chosen(c, 1)]
			if queue == nil {
				return 0, nil
			}
			line, err := queue.dequeue()
			if err != nil || line == nil {
				return 0, err
			}
			c.PushBytes(line)
			return 1, nil
		},
		"rrd_queue_length": func(c *lua.Call) (int, error) {
			n := int64(0)
			if queue := s.queues.queues[s.chosen(c, 1)]; queue != nil {
				n = queue.length()
			}
			c.PushInt(n)
			return 1, nil
		},
		"getIfNames": func(c *lua.Call) (int, error) {
			t := &lua.Table{}
			for id, name := range s.interfaces {
				t.Set(strconv.FormatInt(id, 10), name)
			}
			c.Push(t)
			return 1, nil
		},
		"isPacketInterface": func(c *lua.Call) (int, error) {
			c.PushBool(true)
			return 1, nil
		},
		"getStats": func(c *lua.Call) (int, error) {
			t := &lua.Table{}
			t.Set("id", s.selected)
			t.Set("name", s.interfaces[s.selected])
			c.Push(t)
			return 1, nil
		},
		"getId": func(c *lua.Call) (int, error) {
			c.PushInt(s.selected)
			return 1, nil
		},
		"getMaxIfSpeed": func(c *lua.Call) (int, error) {
			speed, err := strconv.ParseInt(s.cache.get(fmt.Sprintf("ntopng.prefs.ifid_%d.speed", s.chosen(c, 1))), 10, 64)
			if err != nil {
				return 0, nil
			}
			c.PushInt(speed)
			return 1, nil
		},
		"getnDPIProtoId": func(c *lua.Call) (int, error) {
			c.PushInt(0)
			return 1, nil
		},
		"getnDPICategoryId": func(c *lua.Call) (int, error) {
			c.PushInt(-1)
			return 1, nil
		},
		"getStatsUpdateFreq": none, "getHostMinInfo": none,
		"liveCapture": empty, "getnDPIProtocols": empty, "getnDPICategories": empty,
	}
}

// known are the ids of the interfaces, sorted.
func (s *state) known() []int64 { return slices.Sorted(maps.Keys(s.interfaces)) }

// queueFull is the key with which scripts stop what is written to the spool (4.1).
const queueFull = "ntopng.cache.influxdb.export_queue_full"

// refuse counts a point that was not taken, says why, and gives the script false.
func (s *state) refuse(c *lua.Call, err error) (int, error) {
	s.drops++
	s.warn.Warn("cannot keep a point", "error", err)
	c.PushBool(false)
	return 1, nil
}

func (s *state) appendInfluxDB(c *lua.Call) (int, error) {
	p, err := readPoint(c)
	var line []byte
	if err == nil {
		line, err = p.line()
	}
	if err == nil && s.cache.get(queueFull) == "1" {
		err = errSpoolFull
	}
	if err == nil {
		err = s.lines.append(s.selected, line)
	}
	if err != nil {
		return s.refuse(c, err)
	}
	c.PushBool(true)
	return 1, nil
}

func (s *state) rrdEnqueue(c *lua.Call) (int, error) {
	p, err := readPoint(c)
	if err == nil {
		var queue *rrdQueue
		if queue, err = s.queues.queue(s.selected); err == nil {
			err = queue.enqueue(p.plain())
		}
	}
	if err != nil {
		return s.refuse(c, err)
	}
	s.know(s.selected)
	c.PushBool(true)
	return 1, nil
}
