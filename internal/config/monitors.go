package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Monitor is one entry of monitors: a directory of scripts, or one script.
type Monitor struct {
	Path    string
	Modules []string          // further directories of modules
	Env     map[string]string // by path such as "App>DBRoot"
	Popen   bool              // io.popen and os.execute
	FFI     bool
	Call    time.Duration
	Memory  int // bytes of a process
}

// NewMonitor is an entry with every default.
func NewMonitor(path string) Monitor {
	m := newMonitor()
	m.Path = path
	return m
}

func newMonitor() Monitor { return Monitor{Popen: true, Call: 10 * time.Second, Memory: 1 << 30} }

func monitorList(to *[]Monitor) list[Monitor] {
	return list[Monitor]{to: to, what: "monitors", fresh: newMonitor(), entry: func(m *Monitor) value {
		return section{options: []option{
			{name: "path", value: text{to: &m.Path, what: "a directory or a file", check: filled, expand: true}, required: true, example: "/etc/weir/monitors",
				doc: "A directory that is searched for scripts, with those below it, or one script. Changed, new and removed files are noticed within seconds."},
			{name: "modules", value: list[string]{to: &m.Modules, what: "directories", entry: func(s *string) value {
				return text{to: s, what: "a directory", check: filled, expand: true}
			}}, doc: "Where else modules are looked for that scripts require.", example: `["/usr/share/trisul/helpers"]`},
			{name: "env", value: texts{to: &m.Env}, example: `{"App>DBRoot": /var/lib/trisul/db}`,
				doc: "What `T.env.get_config` answers, besides the usual paths, which are below `data`."},
			{name: "popen", value: flag{&m.Popen}, doc: "Whether scripts may start programs with `io.popen` and `os.execute`."},
			{name: "ffi", value: flag{&m.FFI}, doc: "Whether scripts may `require` LuaJIT's `ffi`."},
			{name: "call_timeout", value: duration{to: &m.Call, least: 100 * time.Millisecond, max: time.Hour}, doc: "How long one callback may take; then an error is raised in it."},
			{name: "memory", value: size{&m.Memory}, doc: "How much memory the process of one script may take; then it is started again."},
		}}
	}}
}

// texts is a mapping of names to text.
type texts struct {
	to     *map[string]string
	secret bool // messages do not quote the texts
}

func (texts) kind() string { return "a mapping of names to text" }

func (v texts) yaml() string {
	var pairs []string
	for name, value := range *v.to {
		shown := strconv.Quote(value)
		if v.secret {
			shown = text{to: &value, secret: true}.yaml()
		}
		pairs = append(pairs, quoted(name)+": "+shown)
	}
	slices.Sort(pairs)
	return "{" + strings.Join(pairs, ", ") + "}"
}

func (v texts) decode(d *decoder, path string, n ast.Node) {
	entries, ok := pairs(n)
	if !ok {
		d.refuse(n, path, "it must be a mapping of names to text, not "+what(n), "")
		return
	}
	found := make(map[string]string)
	for _, entry := range entries {
		name, value := unquoted(entry.Key), ""
		full := join(path, name)
		d.config.positions[full] = place(entry.Key)
		if _, twice := found[name]; twice || name == "" {
			d.at(place(entry.Key), fmt.Sprintf("cannot use the name %s of %s: it is empty or given twice", quote(name), path))
			continue
		}
		text{to: &value, expand: true, secret: v.secret}.decode(d, full, entry.Value)
		found[name] = value
	}
	*v.to = found
}

// unquoted is a key as text.
func unquoted(n ast.Node) string {
	if s, ok := stringOf(n); ok {
		return s
	}
	return source(n)
}
