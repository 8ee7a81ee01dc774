package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/event"
)

// An output of Centreon Broker's own configuration can be used as it is: pasted
// as an entry of connectors, or read from the file by connectors[].broker_file.

// ignoredOutputKeys are members of an output that mean nothing here: the stream
// keeps events, and scripts are started again with a growing pause.
var ignoredOutputKeys = []string{"buffering_timeout", "read_timeout", "retry_interval", "cache_directory", "failover", "secondary_failover", "one_peer_retention_mode"}

// pastedKeys are keys that only outputs of Centreon Broker have.
var pastedKeys = []string{"lua_parameter", "path", "type", "filters"}

// anything is a value of any kind, as encoding/json with UseNumber would give it.
type anything struct{ to *any }

func (anything) kind() string { return "anything" }
func (anything) yaml() string { return `""` }

func (v anything) decode(d *decoder, path string, n ast.Node) { *v.to = d.plain(path, n) }

// plain returns what is at n and below it, and remembers the places.
func (d *decoder) plain(path string, n ast.Node) any {
	if empty(n) {
		return nil
	}
	n = d.resolve(n)
	d.config.positions[path] = place(n)
	if entries, ok := pairs(n); ok {
		all := make(map[string]any)
		for _, e := range entries {
			all[source(e.Key)] = d.plain(join(path, source(e.Key)), e.Value)
		}
		return all
	}
	switch of := n.(type) {
	case *ast.SequenceNode:
		all := make([]any, len(of.Values))
		for i, entry := range of.Values {
			all[i] = d.plain(index(path, i), entry)
		}
		return all
	case *ast.IntegerNode, *ast.FloatNode:
		return json.Number(source(n))
	case *ast.BoolNode:
		return of.Value
	}
	return source(n)
}

// finding is something about a member of an output, such as "lua_parameter[2]".
type finding struct{ member, message string }

// findings are what is wrong with an output, and what is left out of it.
type findings struct{ mistakes, warnings []finding }

func (f *findings) mistake(member, format string, args ...any) {
	f.mistakes = append(f.mistakes, finding{member, fmt.Sprintf(format, args...)})
}

func (f *findings) warn(member, format string, args ...any) {
	f.warnings = append(f.warnings, finding{member, fmt.Sprintf(format, args...)})
}

// useOutput takes script, parameters and categories of an output that c does not have.
// Values of parameters are in no message, except numbers that are none.
func useOutput(c *Connector, output map[string]any) (f findings) {
	path, _ := output["path"].(string)
	if c.Script == "" && path == "" {
		f.mistake("", "lua: no 'path' defined for endpoint '%s'", c.Name)
	}
	if c.Script == "" {
		c.Script = path
	}
	if c.Categories == nil {
		f.categories(c, output["filters"])
	}
	list, ok := output["lua_parameter"].([]any)
	if one := output["lua_parameter"]; !ok && one != nil {
		list = []any{one}
	}
	given := len(c.Parameters) // in the YAML file: they count
	for i, entry := range list {
		member := index("lua_parameter", i)
		if !ok {
			member = "lua_parameter"
		}
		p, fine := f.parameter(member, entry)
		at := slices.IndexFunc(c.Parameters, func(other connector.Parameter) bool { return other.Name == p.Name })
		switch {
		case !fine:
		case at >= given:
			f.warn(member, "the parameter '%s' is given twice: the first one is used", p.Name)
		case at < 0:
			c.Parameters = append(c.Parameters, p)
		}
	}
	return f
}

// categories reads filters: {"category": NAME or [NAME, ...]}. Unknown ones are left out.
func (f *findings) categories(c *Connector, filters any) {
	of, ok := filters.(map[string]any)
	if !ok && filters != nil {
		f.mistake("filters", `filters must be a mapping such as {"category": ["neb"]}`)
		return
	}
	var names []string
	list, ok := of["category"].([]any)
	if one := of["category"]; !ok && one != nil {
		list = []any{one}
	}
	for _, entry := range list {
		name, ok := entry.(string)
		if !ok {
			f.mistake("filters", "filters.category must be a name or a list of names")
			return
		}
		names = append(names, name)
	}
	_, unknown := event.ParseFilters(names)
	if len(unknown) == 0 {
		c.Categories = names
		return
	}
	c.Categories = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(unknown, name) })
	rest := "the others count"
	if len(c.Categories) == 0 {
		rest = "none is left, so everything passes"
	}
	f.warn("filters", "unknown categories are left out: %q; %s", unknown, rest)
}

// parameter reads one object {"name", "type", "value"}.
func (f *findings) parameter(member string, entry any) (p connector.Parameter, ok bool) {
	of, isMapping := entry.(map[string]any)
	if !isMapping {
		f.mistake(member, `%s must be a mapping such as {"type": "string", "name": "a", "value": "b"}`, member)
		return p, false
	}
	for _, key := range []string{"name", "type", "value"} {
		_, isText := of[key].(string)
		if _, isNumber := of[key].(json.Number); !isText && (!isNumber || key != "value" || of["type"] != "number") {
			f.mistake(member, "the member %q of %s is missing or is not text", key, member)
			return p, false
		}
	}
	if p.Name = of["name"].(string); p.Name == "" {
		f.mistake(member, "lua: couldn't read a configuration field because its name is empty")
		return p, false
	}
	text, _ := of["value"].(string)
	switch of["type"] {
	case "", "string":
		p.Text = text
	case "password":
		p.Text, p.Secret = text, true
	case "number":
		if number, ok := of["value"].(json.Number); ok {
			text = number.String()
		}
		number, err := strconv.ParseFloat(text, 64)
		if err != nil || strings.Trim(text, "0123456789.+-eE") != "" {
			f.mistake(member, "lua: unable to read '%s' content (%s) as a number", p.Name, text)
			return p, false
		}
		p.Number, p.Numeric = number, true
	default:
		f.warn(member, "the parameter '%s' is left out: its type %q is none of string, number and password", p.Name, of["type"])
		return p, false
	}
	return p, true
}

// readOutput finds an output of type lua in a configuration of Centreon Broker,
// and the size of the queues there, 0 when it does not say.
func readOutput(path, name string) (output map[string]any, queue int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	var root map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&root); err != nil {
		if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
			line := 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
			return nil, 0, fmt.Errorf("line %d is not JSON: %w", line, err)
		}
		return nil, 0, errors.New("the file is not a JSON object")
	}
	broker, ok := root["centreonBroker"].(map[string]any)
	if !ok {
		broker = root
	}
	list, ok := broker["output"].([]any)
	if one := broker["output"]; !ok && one != nil {
		list = []any{one}
	}
	if list == nil && broker["lua_parameter"] != nil { // a single output
		list = []any{broker}
	}
	var names []string
	for _, entry := range list {
		of, _ := entry.(map[string]any)
		if of["type"] != "lua" {
			continue
		}
		found, _ := of["name"].(string)
		if names = append(names, strconv.Quote(found)); found == name {
			output = of
		}
	}
	switch {
	case output == nil && len(names) == 0:
		return nil, 0, errors.New(`it has no output of type "lua"`)
	case output == nil:
		return nil, 0, fmt.Errorf("it has no output %q of type \"lua\"; those it has are %s", name, strings.Join(names, ", "))
	}
	queue, _ = strconv.Atoi(fmt.Sprint(broker["event_queue_max_size"]))
	return output, queue, nil
}

// readOutputs fills in connectors from the files they name.
func (c *Config) readOutputs() (failed Errors) {
	for i := range c.Events.Connectors {
		s := &c.Events.Connectors[i]
		if s.BrokerFile == "" {
			continue
		}
		path, name := index("connectors", i), s.Output
		if name == "" {
			name = s.Name
		}
		output, queue, err := readOutput(s.BrokerFile, name)
		if err != nil {
			failed = append(failed, c.Fail(path+".broker_file", fmt.Errorf("cannot use %s for %s.broker_file: %s", quote(s.BrokerFile), path, reason(err))))
			continue
		}
		if _, given := c.positions[path+".queue_size"]; !given && queue > 0 {
			s.Queue = queue
		}
		found := useOutput(s, output)
		say := func(f finding) *Error {
			return c.Fail(path+".broker_file", fmt.Errorf("in the output %q of %s: %s", name, quote(s.BrokerFile), f.message))
		}
		for _, f := range found.mistakes {
			failed = append(failed, say(f))
		}
		for _, f := range found.warnings {
			c.Warnings = append(c.Warnings, say(f))
		}
	}
	return failed
}
