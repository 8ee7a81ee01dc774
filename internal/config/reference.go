package config

import (
	"fmt"
	"strings"
)

// Reference is docs/configuration.md: every option as it is declared.
func Reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	r := reference{out: &b}
	b.WriteString("\n")
	r.table("", root(Default()))
	return b.String()
}

const referenceHead = `# Configuration

<!-- Written from internal/config by: UPDATE=1 go test ./internal/config -->

` + "`weir run -c FILE` reads one YAML file; `weir check -c FILE` says what is wrong with it and starts nothing. Without" + `
a file every option has its default. Nothing is read that is not named: no file in the current directory, no
environment variable except where an option says so.

A key that does not exist, a value of the wrong type or out of range, two keys of one name: each is an error with its
place, all of them are reported, and the exit code is 2.

` + "```" + `
weir.yaml:4:3: cannot use the key "flush_intervall": statsd has no such key; did you mean "flush_interval"?
weir.yaml:5:19: cannot use "10" for statsd.key_flush.interval: a duration is a number with a unit, such as 10s, 1m30s or 7d; did you mean "10s"?
` + "```" + `

On SIGHUP the file is read again. Options marked with ↻ take their new values at once; for the others the log says that they
need a restart. A file with a mistake changes nothing.

[examples/weir.yaml](../examples/weir.yaml) is a file to begin with.
`

// reference writes tables of options.
type reference struct{ out *strings.Builder }

func (r *reference) table(path string, s section) {
	r.out.WriteString("| option | default | what it does |\n|---|---|---|\n")
	var below []option
	for _, o := range s.options {
		r.row(path, o)
		if len(r.sections(o, path)) > 0 {
			below = append(below, o)
		}
	}
	for _, o := range below {
		for _, part := range r.sections(o, path) {
			fmt.Fprintf(r.out, "\n## `%s`\n\n%s\n", part.path, part.doc)
			if len(part.section.options) > 0 {
				r.out.WriteString("\n")
				r.table(part.path, part.section)
			}
		}
	}
}

func (r *reference) row(path string, o option) {
	mark := ""
	if o.reload {
		mark = " ↻"
	}
	standard, meaning := "", o.doc
	switch v := o.value.(type) {
	case section:
	default:
		standard = v.yaml()
		meaning += " Value: " + v.kind() + "."
	}
	if o.required {
		standard = "none, required"
	} else if standard == `""` {
		standard = "none"
		if t, ok := o.value.(text); ok && t.check == nil { // may be empty
			standard = "`\"\"`"
		}
	} else if standard != "" {
		standard = "`" + standard + "`"
	}
	if o.example != "" {
		meaning += " Example: `" + o.name + ": " + o.example + "`."
	}
	fmt.Fprintf(r.out, "| `%s`%s | %s | %s |\n", o.name, mark, standard, meaning)
}

// part is a section somewhere in the value of an option.
type part struct {
	path, doc string
	section   section
}

// sections are the tables that go with an option below path.
func (r *reference) sections(o option, path string) []part {
	path = join(path, o.name)
	v := o.value
	if list, ok := v.(sampler); ok {
		path, v = path+"[]", list.sample()
	}
	if of, ok := v.(interface{ declared() section }); ok {
		v = of.declared()
	}
	switch v := v.(type) {
	case section:
		return []part{{path, o.doc, v}}
	case named:
		var all []part
		for _, c := range v.cases {
			all = append(all, part{strings.TrimSuffix(path, "[]") + ": " + c.name, c.doc, c.section})
		}
		return all
	}
	return nil
}

// sampler is a list.
type sampler interface{ sample() value }

// Change is an option whose value differs between two configurations.
type Change struct {
	Path   string
	Reload bool // it can be applied while the daemon runs
}

// Changes compares two configurations.
func Changes(from, to *Config) []Change {
	before := make(map[string]string)
	walk("", root(from), func(path string, o option) { before[path] = o.value.yaml() })
	var changes []Change
	walk("", root(to), func(path string, o option) {
		if _, ok := o.value.(section); !ok && before[path] != o.value.yaml() {
			changes = append(changes, Change{path, o.reload})
		}
	})
	return changes
}

// Setting is an option and its value, as it could be written in the file.
type Setting struct{ Path, Value string }

// Settings are the options below the section name, with paths below it.
func (c *Config) Settings(name string) []Setting {
	var all []Setting
	walk("", root(c), func(path string, o option) {
		below, ok := strings.CutPrefix(path, name+".")
		if _, is := o.value.(section); ok && !is {
			all = append(all, Setting{below, o.value.yaml()})
		}
	})
	return all
}
