package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// option is one key of a section: the only declaration of it there is.
type option struct {
	name     string
	value    value
	doc      string // sentences for the reference
	example  string // a value, when the default shows too little
	required bool
	reload   bool // a running daemon takes a new value on SIGHUP
}

// section is a mapping with fixed keys.
type section struct {
	options []option
	later   []string // keys of which the design speaks and which do nothing yet
}

func (section) kind() string { return "a mapping" }

func (v section) yaml() string {
	pairs := make([]string, len(v.options))
	for i, o := range v.options {
		pairs[i] = o.name + ": " + o.value.yaml()
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

func (v section) names() []string {
	names := make([]string, len(v.options))
	for i, o := range v.options {
		names[i] = o.name
	}
	return names
}

func (v section) decode(d *decoder, path string, n ast.Node) {
	if empty(n) && path != "" && !v.requires() { // everything below the key is commented out
		return
	}
	entries, ok := pairs(n)
	if !ok {
		d.at(place(n), fmt.Sprintf("cannot use %s for %s: it must be a mapping with the keys %s, not %s",
			quote(source(n)), orFile(path), strings.Join(v.names(), ", "), what(n)))
		return
	}
	seen := make(map[string]position)
	for _, entry := range entries {
		name, at := source(entry.Key), place(entry.Key)
		if first, twice := seen[name]; twice {
			d.at(at, fmt.Sprintf("cannot use the key %s of %s twice: it is on line %d already", quote(name), orFile(path), first.line))
			continue
		}
		seen[name] = at
		i := slices.IndexFunc(v.options, func(o option) bool { return o.name == name })
		if i < 0 {
			d.unknown(at, path, name, v)
			continue
		}
		d.option(join(path, name), v.options[i], at, entry.Value)
	}
	for _, o := range v.options {
		if _, given := seen[o.name]; o.required && !given {
			d.at(place(n), fmt.Sprintf("cannot use %s without the key %q: write for example %s: %s", path, o.name, o.name, o.example))
		}
	}
}

func (v section) requires() bool {
	return slices.ContainsFunc(v.options, func(o option) bool { return o.required })
}

// option decodes the value of one option that was given at a place.
func (d *decoder) option(path string, o option, at position, n ast.Node) {
	if empty(n) {
		if _, ok := o.value.(section); !ok {
			d.at(at, fmt.Sprintf("cannot use the key %q without a value: %s must be %s", o.name, path, plain(o.value.kind())))
			return
		}
	}
	d.decode(path, o.value, n)
}

// decode decodes n into v and remembers its place.
func (d *decoder) decode(path string, v value, n ast.Node) {
	if empty(n) {
		n = &ast.NullNode{BaseNode: &ast.BaseNode{}, Token: n.GetToken()}
	}
	n = d.resolve(n)
	if _, known := d.config.positions[path]; !known {
		d.config.positions[path] = place(n)
	}
	v.decode(d, path, n)
}

// unknown reports a key that does not exist.
func (d *decoder) unknown(at position, path, name string, s section) {
	full := join(path, name)
	switch {
	case slices.Contains(s.later, name):
		d.at(at, fmt.Sprintf("cannot use the key %s: %s is not supported yet in this version", quote(name), full))
		return
	case name == "<<":
		d.at(at, `cannot use the key "<<": merge keys are not supported, write the keys out`)
		return
	}
	message := fmt.Sprintf("cannot use the key %s: %s has no such key", quote(name), orFile(path))
	if near := nearest(name, s.names()); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	} else if elsewhere := d.elsewhere(name); elsewhere != "" {
		message += fmt.Sprintf("; did you mean %s?", elsewhere)
	} else {
		message += "; its keys are " + strings.Join(s.names(), ", ")
	}
	d.at(at, message)
}

// elsewhere is the path of an option of this name in another section.
func (d *decoder) elsewhere(name string) (found string) {
	walk("", root(Default()), func(path string, o option) {
		if o.name == name && found == "" {
			found = path
		}
	})
	return found
}

// walk visits every option below v, a section before what is in it. Lists are
// visited as one option, their entries are not.
func walk(path string, v section, visit func(path string, o option)) {
	for _, o := range v.options {
		full := join(path, o.name)
		visit(full, o)
		if below, ok := o.value.(section); ok {
			walk(full, below, visit)
		}
	}
}

// list is any number of entries of one kind.
type list[T any] struct {
	to    *[]T
	fresh T                 // an entry of which nothing is given
	entry func(to *T) value // where an entry goes
	what  string            // the entries, in words
	some  bool              // an empty list makes no sense
}

func (v list[T]) kind() string { return "a list of " + v.what }

func (v list[T]) yaml() string {
	entries := make([]string, len(*v.to))
	for i := range *v.to {
		entries[i] = v.entry(&(*v.to)[i]).yaml()
	}
	return "[" + strings.Join(entries, ", ") + "]"
}

// sample is an entry with its defaults.
func (v list[T]) sample() value { return v.entry(&v.fresh) }

func (v list[T]) decode(d *decoder, path string, n ast.Node) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		suggestion := ""
		if scalar(n) {
			suggestion = "[" + source(n) + "]"
		}
		d.refuse(n, path, "it must be a list of "+v.what+", not "+what(n), suggestion)
		return
	}
	if v.some && len(sequence.Values) == 0 {
		d.refuse(n, path, "it must be a list of at least one of "+v.what, "")
		return
	}
	if len(sequence.Values) == 0 {
		*v.to = nil
		return
	}
	entries := make([]T, len(sequence.Values))
	for i, n := range sequence.Values {
		entries[i] = v.fresh
		if n == nil {
			d.at(place(sequence), fmt.Sprintf("cannot use entry %d of %s: nothing is written there", i+1, path))
			continue
		}
		d.decode(index(path, i), v.entry(&entries[i]), n)
	}
	*v.to = entries
}

// named is one of a few things by name, with options or without: "graphite" or
// "graphite: {host: 192.0.2.1}".
type named struct {
	to    *string
	cases []namedCase
	what  string
	later func(name string) (reason string) // names the design speaks of and that do nothing yet
	other func(name string) bool            // names that are none of the cases and right all the same; nil for none
}

type namedCase struct {
	name, doc string
	section   section // empty when there are no options
}

func (v named) names() []string {
	names := make([]string, len(v.cases))
	for i, c := range v.cases {
		names[i] = c.name
	}
	return names
}

func (v named) kind() string { return "one of `" + strings.Join(v.names(), "`, `") + "`" }

func (v named) yaml() string {
	i := slices.Index(v.names(), *v.to)
	if i < 0 || len(v.cases[i].section.options) == 0 {
		return *v.to
	}
	return "{" + *v.to + ": " + v.cases[i].section.yaml() + "}"
}

func (v named) decode(d *decoder, path string, n ast.Node) {
	name, below := "", ast.Node(nil)
	if s, ok := stringOf(n); ok {
		name = s
	} else if entries, ok := pairs(n); ok && len(entries) == 1 {
		name, below = source(entries[0].Key), entries[0].Value
	} else {
		d.refuse(n, path, "it must be a name or a mapping with one name as its only key, one of "+either(v.names()), "")
		return
	}
	i := slices.Index(v.names(), name)
	if i < 0 && below == nil && v.other != nil && v.other(name) {
		*v.to = name
		return
	}
	if i < 0 {
		if reason := v.later(name); reason != "" {
			d.at(place(n), fmt.Sprintf("cannot use %s for %s: %s", quote(name), path, reason))
			return
		}
		message := fmt.Sprintf("cannot use %s for %s: it must be %s", quote(name), path, either(v.names()))
		if near := nearest(name, v.names()); near != "" {
			message += "; did you mean " + strconv.Quote(near) + "?"
		}
		d.at(place(n), message)
		return
	}
	*v.to = name
	if below == nil {
		for _, o := range v.cases[i].section.options {
			if o.required {
				d.at(place(n), fmt.Sprintf("cannot use %s for %s without options: write for example %q", quote(name), path, name+": {"+o.name+": "+o.example+"}"))
			}
		}
		return
	}
	d.decode(path+"."+name, v.cases[i].section, below)
}

// orFile names the section at path.
func orFile(path string) string {
	if path == "" {
		return "the configuration"
	}
	return path
}

// plain takes the marks of Markdown out.
func plain(s string) string { return strings.ReplaceAll(s, "`", "") }
