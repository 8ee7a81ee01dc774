package monitor

import (
	"embed"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/lua/modules"
)

//go:embed prelude/*.lua
var preludes embed.FS

// preludeFiles in the order in which they run; init.lua runs them.
var preludeFiles = []string{"environment", "errors", "engine", "table", "dispatch", "items", "packets", "async", "lifecycle", "probe"}

// state is one Lua state with the host's prelude: of an instance, of the probe or of a worker.
type state struct {
	host    *host
	log     func(level slog.Level, text string)
	vm      *lua.VM
	modules *modules.Modules
	entry   *lua.Ref // calls a function of the prelude by its name
}

// newState makes the state of an instance, or of the probe without one.
func (h *host) newState(i *instance, groups *Groups) (*state, error) {
	s := &state{host: h, log: func(level slog.Level, text string) { h.log(level, h.name(), text) }}
	natives := s.natives()
	info := Instance{Type: TypePlain}
	if i != nil {
		s.log = i.log
		info = i.Instance
		i.natives(natives)
	}
	return s, s.open(natives, s.options(&info, groups))
}

func (s *state) open(natives map[string]lua.Value, options *lua.Table) error {
	h := s.host
	var err error
	s.vm, err = lua.New(lua.Options{
		Compatibility: true, Memory: h.setup.Memory,
		Output: func(line string) { s.log(slog.LevelInfo, line) },
	})
	if err != nil {
		return err
	}
	s.vm.SetDeadline(h.call())
	if s.modules, err = modules.Register(s.vm, modules.Options{Call: h.call()}); err != nil {
		return err
	}
	if err := definePatterns(s.vm); err != nil {
		return err
	}
	var files []any
	for _, name := range preludeFiles {
		source, err := preludes.ReadFile("prelude/" + name + ".lua")
		if err != nil {
			return err
		}
		files = append(files, map[string]any{"name": name + ".lua", "source": source})
	}
	source, err := preludes.ReadFile("prelude/init.lua")
	if err != nil {
		return err
	}
	chunk, err := s.vm.Load("=weir/init.lua", source)
	if err != nil {
		return err
	}
	results, err := chunk.Call(natives, options, int64(s.vm.Counter()), files)
	if err != nil {
		return fmt.Errorf("cannot prepare the Lua state: %w", err)
	}
	s.entry = results[0].(*lua.Ref)
	return nil
}

func (s *state) close() {
	if s.vm != nil {
		s.vm.Close()
	}
	if s.modules != nil {
		s.modules.Close()
	}
}

// call calls a function of the prelude.
func (s *state) call(name string, args ...lua.Value) ([]lua.Value, error) {
	outer := s.host.running.Swap(s)
	defer s.host.running.Store(outer)
	return s.entry.Call(append([]lua.Value{name}, args...)...)
}

// patiently is call for what may take as long as the supervisor lets it: loading, and reading a feed in onload.
func (s *state) patiently(name string, args ...lua.Value) ([]lua.Value, error) {
	s.vm.SetDeadline(0)
	defer s.vm.SetDeadline(s.host.call())
	return s.call(name, args...)
}

// load runs the file and returns whether it is a plugin. The error is one to show.
func (s *state) load() (plugin bool, err error) {
	var results []lua.Value
	chunk, err := s.vm.Load("@"+s.host.setup.Path, s.host.source)
	if err == nil {
		results, err = s.patiently("run", chunk)
	}
	if err != nil {
		return false, s.host.asScriptError(err, "cannot load the script: ")
	}
	return results[0] == true, nil
}

// options are what the prelude is told: the table o in it.
func (s *state) options(i *Instance, groups *Groups) *lua.Table {
	h := s.host
	half := "backend"
	if isFrontend(i.Type) {
		half = "frontend"
	}
	t := &lua.Table{}
	for name, v := range map[string]lua.Value{
		"path": strings.Join(modulePath(&h.setup), ";"), "ffi": h.setup.FFI, "popen": h.setup.Popen,
		"type": i.Type, "context": i.Context, "engine": i.Engine, "half": half,
		"probe_id": h.setup.ProbeID, "version": h.setup.Version, "context_name": h.setup.Context, "args": h.setup.Args,
		"config_file": h.setup.ConfigFile, "domain_config_file": h.setup.DomainConfigFile,
		"config_path": h.setup.ConfigPath, "data_path": h.setup.DataPath,
		"env": texts(h.setup.Env), "domain_env": texts(h.setup.DomainEnv), "homes": h.homes.table(),
		"countergroups": titles(groups.Counter), "alertgroups": titles(groups.Alert), "resourcegroups": titles(groups.Resource),
		"ftsgroups": titles(groups.FTS), "sessiongroups": titles(groups.Session),
	} {
		t.Set(name, v)
	}
	blocks := append([]string(nil), definitions...)
	for _, b := range blockTypes {
		blocks = append(blocks, b.name)
	}
	t.Set("blocks", blocks)
	if i.GUID != "" {
		t.Set("guid", i.GUID)
		t.Set("title", i.Title)
	}
	return t
}

func texts(m map[string]string) *lua.Table {
	t := &lua.Table{}
	for name, v := range m {
		t.Set(name, v)
	}
	return t
}

func titles(groups []Group) *lua.Table {
	t := &lua.Table{}
	for _, g := range groups {
		t.Set(g.Title, g.GUID)
	}
	return t
}

// modulePath is where modules are looked for (3.2): beside the script, in the directories above it up to the root of
// the scan, in helpers there, and where the configuration says.
func modulePath(setup *Setup) []string {
	var path []string
	add := func(dir string) {
		if template := filepath.Join(dir, "?.lua"); !slices.Contains(path, template) {
			path = append(path, template)
		}
	}
	dir := filepath.Dir(setup.Path)
	add(dir)
	if root := filepath.Clean(setup.Root); setup.Root != "" {
		if rel, err := filepath.Rel(root, dir); err == nil && filepath.IsLocal(rel) {
			for dir != root {
				dir = filepath.Dir(dir)
				add(dir)
			}
		}
		add(filepath.Join(root, "helpers"))
	}
	for _, dir := range setup.Paths {
		add(dir)
	}
	return path
}

// levels of T.K.loglevel as those of the daemon's log.
func logLevel(level int64) slog.Level {
	switch {
	case level <= 4:
		return slog.LevelError
	case level == 5:
		return slog.LevelWarn
	case level <= 7:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// natives are the functions in Go that every prelude gets. Those of an instance replace some.
func (s *state) natives() map[string]lua.Value {
	nothing := lua.Function(func(*lua.Call) (int, error) { return 0, nil })
	return map[string]lua.Value{
		"log": lua.Function(func(c *lua.Call) (int, error) {
			level, err := c.Float(1)
			if err != nil {
				return 0, err
			}
			text, err := c.String(2)
			if err != nil {
				return 0, err
			}
			s.log(logLevel(int64(level)), text)
			return 0, nil
		}),
		"guid": lua.Function(func(c *lua.Call) (int, error) {
			text, err := c.String(1)
			if err != nil {
				return 0, err
			}
			guid, err := countergroup.ParseGUID(text)
			if err != nil {
				return 0, nil
			}
			c.PushString(guid)
			return 1, nil
		}),
		"is_home":     lua.Function(s.host.homes.isHome),
		"is_home_key": lua.Function(s.host.homes.isHomeKey),
		"ipv6":        lua.Function(readableIPv6),
		"re2":         lua.Function(newPattern),
		"ac":          lua.Function(newMatcher),
		// What a probe causes has no effect: its instances will cause it again.
		"errors": nothing, "disabled": nothing, "updates": nothing, "not_finite": nothing, "effect": nothing,
		"slot": lua.Function(func(c *lua.Call) (int, error) {
			c.PushInt(0)
			return 1, nil
		}),
		"schedule": nothing, "file": nothing,
	}
}

// homes are the home networks (7.1).
type homes []netip.Prefix

func (h *homes) parse(texts []string) error {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("cannot use the home network %q: want an address and a length such as 10.0.0.0/8", text)
		}
		*h = append(*h, p.Masked())
	}
	return nil
}

func (h homes) contains(a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(h, func(p netip.Prefix) bool { return p.Contains(a) })
}

// table lists the IPv4 networks, with masks as scripts know them.
func (h homes) table() []any {
	var list []any
	for _, p := range h {
		if !p.Addr().Is4() {
			continue
		}
		mask := ^uint32(0) << (32 - p.Bits())
		list = append(list, []any{p.Addr().String(), netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}).String()})
	}
	return list
}

func (h *homes) isHome(c *lua.Call) (int, error) {
	text, err := c.String(1)
	if err != nil {
		return 0, err
	}
	a, err := netip.ParseAddr(text)
	c.PushBool(err == nil && h.contains(a))
	return 1, nil
}

func (h *homes) isHomeKey(c *lua.Call) (int, error) {
	key, err := c.String(1)
	if err != nil {
		return 0, err
	}
	a, ok := addressOfKey(key)
	c.PushBool(ok && h.contains(a))
	return 1, nil
}

// addressOfKey reads an address in the form of keys (6.1): C0.A8.01.02, or 32 hexadecimal digits.
func addressOfKey(key string) (netip.Addr, bool) {
	digits := key
	if len(key) == 11 && key[2] == '.' && key[5] == '.' && key[8] == '.' {
		digits = key[:2] + key[3:5] + key[6:8] + key[9:]
	} else if len(key) != 32 {
		return netip.Addr{}, false
	}
	b := make([]byte, len(digits)/2)
	for i := range b {
		n, err := strconv.ParseUint(digits[2*i:2*i+2], 16, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFromSlice(b)
}
