package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// LuaKind is the kind of drivers in scripts.
const LuaKind = "lua"

// LuaDriver is an entry of timeseries.write of the kind lua: a driver in a script.
type LuaDriver struct {
	Script       string // a path, or the name of a driver of the installation
	Options      map[string]any
	Preferences  map[string]string // by name, with or without "ntopng.prefs." in front
	Interfaces   map[string]string // names by id
	Installation string
	Modules      string // one of moduleSources
	Call, Query  time.Duration
	Memory       int // bytes of its process
	Queue        int // bytes that wait for it
}

// Where the modules of the front come from.
const (
	builtInModules      = "built-in"
	installationModules = "installation"
)

// Parity reports whether the modules of the installation win over the built-in ones.
func (l *LuaDriver) Parity() bool { return l.Modules == installationModules }

func newLuaDriver() LuaDriver {
	return LuaDriver{Modules: builtInModules, Call: time.Minute, Query: 30 * time.Second, Memory: 1 << 30, Queue: 512 << 20}
}

func luaDriverSection(l *LuaDriver) section {
	return section{options: []option{
		{name: "script", value: text{to: &l.Script, what: "a file", check: filled, expand: true}, required: true, example: "/etc/weir/drivers/mine.lua",
			doc: "The file of the driver, or, without a directory and `.lua`, the name of one in the driver directory of the installation. A changed file is noticed within seconds."},
		{name: "options", value: scalars{&l.Options}, example: `{url: "http://192.0.2.1:8086", db: weir}`,
			doc: "What its constructor `new` gets."},
		{name: "preferences", value: texts{to: &l.Preferences}, example: `{influx_dbname: weir}`,
			doc: "What `ntop.getPref` answers for `ntopng.prefs.NAME`; they win over what the script has set."},
		{name: "interfaces", value: texts{to: &l.Interfaces}, example: `{"1": eth0}`,
			doc: "Names of interfaces by id. Others become known by the tag `ifid` of points."},
		{name: "installation", value: text{to: &l.Installation, what: "a directory", expand: true}, example: "/usr/share/ntopng",
			doc: "An installation of ntopng, whose modules the script may require."},
		{name: "modules", value: choice{&l.Modules, []string{builtInModules, installationModules}},
			doc: "Whether `ts_utils`, `ts_schema` and `ts_common` are those of Weir or those of the installation."},
		{name: "call_timeout", value: duration{to: &l.Call, least: 100 * time.Millisecond, max: time.Hour}, doc: "How long one call of the driver may take, such as `export`; then an error is raised in it."},
		{name: "query_timeout", value: duration{to: &l.Query, least: 100 * time.Millisecond, max: time.Hour}, doc: "How long a question may take."},
		{name: "memory", value: size{&l.Memory}, doc: "How much memory its process may take; then it is started again."},
		{name: "queue", value: size{&l.Queue}, doc: "How many bytes of points may wait on disk for the script, and as many of what it spools. Points for which there is no room are dropped and counted."},
	}}
}

// scalars is a mapping of names to text, numbers, true and false.
type scalars struct{ to *map[string]any }

func (scalars) kind() string {
	return "a mapping of names to text, numbers, `true` or `false`, `${NAME}` for variables of the environment"
}

func (v scalars) yaml() string {
	var pairs []string
	for name, of := range *v.to {
		if s, ok := of.(string); ok {
			of = strconv.Quote(s)
		}
		pairs = append(pairs, quoted(name)+": "+fmt.Sprint(of))
	}
	slices.Sort(pairs)
	return "{" + strings.Join(pairs, ", ") + "}"
}

func (v scalars) decode(d *decoder, path string, n ast.Node) {
	entries, ok := pairs(n)
	if !ok {
		d.at(place(n), "cannot use the value of "+path+": it must be a mapping of names to values, not "+what(n)) // there may be secrets in it
		return
	}
	found := make(map[string]any)
	for _, entry := range entries {
		name := unquoted(entry.Key)
		full := join(path, name)
		d.config.positions[full] = place(entry.Key)
		if _, twice := found[name]; twice || name == "" {
			d.at(place(entry.Key), fmt.Sprintf("cannot use the option %s of %s: it is empty or given twice", quote(name), path))
			continue
		}
		switch value := d.resolve(entry.Value).(type) {
		case *ast.IntegerNode, *ast.FloatNode:
			found[name], _ = numberOf(value)
		case *ast.BoolNode:
			found[name] = value.Value
		default:
			s := ""
			text{to: &s, expand: true, secret: true}.decode(d, full, value)
			found[name] = s
		}
	}
	*v.to = found
}
