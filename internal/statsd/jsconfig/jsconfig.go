// Package jsconfig reads the configuration files of StatsD, which are JavaScript
// (StatsD specification sections 4.1 and 4.2).
//
// A file is evaluated as the reference daemon does it: its text is the right side
// of an assignment, in sloppy mode, with require, process, module and __dirname in
// scope. Evaluation happens in a sandbox: require knows os, path, fs and util,
// nothing can be written, and time, stack and memory are bounded. What the file
// says then becomes typed options by JavaScript's own rules for truth and numbers.
package jsconfig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dop251/goja"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/console"
	"github.com/weirhq/weir/internal/statsd/graphite"
)

// maxFile is the largest file that is read, in bytes. It also bounds what nests
// without brackets, such as a long row of operators.
const maxFile = 64 << 10

// File is what a configuration file says.
type File struct {
	Path     string
	StatsD   statsd.Config
	Backends []Backend // in the order of the file

	Graphite graphite.Config
	Console  console.Config
	Repeater Repeater
	Store    Store
	Node     Node
	Servers  []Server // modules that receive packets, besides StatsD.Listen
	Log      Log

	Reload bool // automaticConfigReload: follow changes of the file

	servers  bool      // the listeners come from the list servers
	listens  []int     // where in it those of StatsD.Listen are
	settings []Setting // of the file, with what the reference daemon adds when it starts
	flushed  []Setting // and with what it adds at the first flush
}

// Backend is the name of a backend: one that Weir has, or a module for Node.
type Backend string

// The backends a file can name. The first three are './backends/...' in the
// file, the last one is Weir's own and called 'store'.
const (
	Graphite Backend = "graphite"
	Console  Backend = "console"
	Repeat   Backend = "repeater"
	Stored   Backend = "store"
)

// Native reports whether Weir has the backend; any other is a module for Node.
func (b Backend) Native() bool { return native(b) || b == Stored }

// native reports whether b is one of StatsD's own.
func native(b Backend) bool { return b == Graphite || b == Console || b == Repeat }

// Node says how modules are run: parts of the option weir of the file, which the
// reference daemon ignores.
type Node struct {
	Program string // weir.node: path or name of the program, "node" by default
	Root    string // weir.root: the directory that plays the part of StatsD's own; "" for that of the file
	Isolate bool   // weir.isolate: a process of its own for every backend
}

// Server is a server that is a module for Node.
type Server struct {
	Module string
	Index  int // of its options in the list servers; -1 for the file itself
}

// Repeater says where packets are sent on to.
type Repeater struct {
	Targets  []string // "host:port"
	Protocol string   // "udp4", "udp6" or "tcp"
}

// Store is for the backend 'store': the option weir of the file, which the
// reference daemon ignores.
type Store struct {
	Data string // weir.data: directory of the store, "weir-data" by default
	HTTP string // weir.http: "host:port" that answers queries, "127.0.0.1:8088" by default
}

// Log says where log lines go (specification section 4.4).
type Log struct {
	Syslog      bool
	Application string // name in syslog
	Level       string // level in syslog of lines of no level of their own, such as "LOG_INFO"
}

// Setting is one line of the management command config, already rendered.
type Setting struct{ Name, Sub, Value string }

// Error is a file that cannot be used. Line and Column count from 1 and are 0
// when the error has no place in the file.
type Error struct {
	Path         string
	Line, Column int
	Message      string
}

// Error implements error as "path:line:column: message".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Path + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Path, e.Line, e.Column, e.Message)
}

// Read reads the file at path. Its errors are of type [*Error], but for a file
// that cannot be opened. It takes 3 s at most, whatever the file says.
func Read(path string) (*File, error) {
	text, err := content(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text)
}

func content(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{Path: path, Message: "not a regular file"}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return text, nil
}

// Parse reads text; path is for messages and for __dirname.
func Parse(path string, text []byte) (*File, error) {
	f := &File{Path: path}
	if err := evaluateText(path, text, f.fill); err != nil {
		return nil, err
	}
	return f, nil
}

// evaluateText evaluates text and has use read what it says.
func evaluateText(path string, text []byte, use func(*goja.Runtime, *goja.Object, positions) error) error {
	if len(text) > maxFile {
		return &Error{Path: path, Message: fmt.Sprintf("%d bytes are more than the %d a configuration may have", len(text), maxFile)}
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		absolute = path
	}
	err = evaluate(source{name: path, directory: filepath.Dir(absolute), text: string(text)}, use)
	if err == nil {
		return nil
	}
	wrong := new(Error)
	if !errors.As(err, &wrong) {
		wrong.Message = err.Error()
	}
	wrong.Path = path
	return wrong
}

// Settings are the lines of the management command config, in order; flushed
// says whether there was a flush yet, after which more options are filled in.
func (f *File) Settings(flushed bool) []Setting {
	if flushed {
		return f.flushed
	}
	return f.settings
}

// Module is how a file names the backend.
func (b Backend) Module() string {
	if native(b) {
		return "./backends/" + string(b)
	}
	return string(b)
}

// ServerModule is how a file names the server that made l.
func ServerModule(l statsd.Listen) string {
	if strings.HasPrefix(l.Network, "udp") {
		return "./servers/udp"
	}
	return "./servers/tcp"
}

// ListenOption names the options that made StatsD.Listen[index].
func (f *File) ListenOption(index int) string {
	option := "port"
	if f.StatsD.Listen[index].Network == "unix" {
		option = "socket"
	}
	if f.servers {
		option = fmt.Sprintf("servers[%d].%s", f.listens[index], option)
	}
	return "option " + option
}

// optionNames are the options behind fields of statsd.Config and File whose
// names differ by more than their first letter.
var optionNames = map[string]string{
	"Listen": "servers, server, address, port or socket", "Management": "mgmt_port or mgmt_address", "Percentiles": "percentThreshold",
	"Healthy": "healthStatus", "Graphite": "graphite...", "Store": "weir", "Node": "weir", "Servers": "servers",
}

// OptionNames turns names of fields into the names of the options behind them,
// in order and for a sentence.
func OptionNames(fields []string) string {
	var names []string
	for _, field := range fields {
		name, ok := optionNames[field]
		if !ok {
			name = strings.ToLower(field[:1]) + field[1:]
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
