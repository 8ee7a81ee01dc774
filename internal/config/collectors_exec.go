package config

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/collector"
)

// Exec is what may be run.
type Exec struct {
	Targets  []Command // run at every interval
	Commands []Command // which sensors of the inventory may name
}

// Command is a program with its arguments.
type Command struct {
	Name    string
	Words   []string
	Timeout time.Duration
}

func execOptions(c *Collector) []option {
	commands := func(to *[]Command, word, name, about string) list[Command] {
		return list[Command]{to: to, what: "commands", fresh: Command{Timeout: 10 * time.Second}, entry: func(t *Command) value {
			return section{options: []option{
				{name: "name", value: text{to: &t.Name, check: plainName}, required: true, example: name, doc: about},
				{name: "command", value: argv{&t.Words}, required: true, example: "[/usr/lib/nagios/plugins/check_http, -H, " + word + "]",
					doc: "The path of a program, and its arguments. A text is taken apart as a shell would, without a shell: quotes and backslashes mean what they mean there, and everything else means itself."},
				{name: "timeout", value: duration{to: &t.Timeout, least: 10 * time.Millisecond, max: time.Hour}, doc: "How long it may take. Then it is killed, with everything it has started."},
			}}
		}}
	}
	return []option{
		{name: "targets", value: commands(&c.Exec.Targets, "www.example.org", "shop", "What paths of values have, as `target.NAME`."),
			example: `[{name: disk, command: "/usr/lib/nagios/plugins/check_disk -w 10% -c 5% -p /"}]`, doc: "What is run at every interval."},
		{name: "commands", value: commands(&c.Exec.Commands, `"{ipv4}"`, "web", "What sensors of the inventory call it in `command`."),
			example: `[{name: web, command: "/usr/lib/nagios/plugins/check_http -H {ipv4}"}]`,
			doc:     "What sensors of the inventory may name besides the targets, and nothing else is run for them. `{ipv4}` is the address or the name of their entity."},
	}
}

// argv is a command.
type argv struct{ to *[]string }

func (argv) kind() string {
	return "a list of words, or a text, `${NAME}` for variables of the environment"
}

func (v argv) yaml() string { return v.list().yaml() }

func (v argv) list() list[string] {
	return list[string]{to: v.to, what: "words", some: true, entry: func(s *string) value { return text{to: s, expand: true, secret: true} }}
}

func (v argv) decode(d *decoder, path string, n ast.Node) {
	if _, ok := n.(*ast.SequenceNode); ok {
		v.list().decode(d, path, n)
	} else {
		whole := ""
		text{to: &whole, expand: true, secret: true}.decode(d, path, n)
		var err error
		if *v.to, err = split(whole); err != nil {
			d.at(place(n), "cannot use "+path+": "+err.Error())
			return
		}
	}
	if len(*v.to) == 0 {
		return // a mistake that has been reported, or an empty text
	}
	if program := (*v.to)[0]; !filepath.IsAbs(program) {
		d.at(place(n), "cannot use the program "+quote(program)+" for "+path+": it must be a path from the root, such as /usr/lib/nagios/plugins/check_load")
	}
}

// split takes text apart as a shell does: blanks between words, quotes, and backslashes.
func split(text string) (words []string, err error) {
	var word strings.Builder
	begun, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && quote != '\'':
			if i++; i == len(text) {
				return nil, errors.New("it ends with a backslash")
			}
			if quote == '"' && !strings.ContainsRune("\"\\$`", rune(text[i])) {
				word.WriteByte('\\')
			}
			word.WriteByte(text[i])
			begun = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, begun = c, true
		case quote == 0 && strings.IndexByte(" \t\r\n", c) >= 0:
			if begun {
				words = append(words, word.String())
				word.Reset()
			}
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if quote != 0 {
		return nil, errors.New("the quote " + string(quote) + " has no end")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

func execDevices(c *Collector) (all []*collector.JobConfig) {
	for _, t := range c.Exec.Targets {
		all = append(all, c.device(t.Name, object{}, object{}, object{"command": t.Name, "output_path": ""}))
	}
	return all
}

// checkExec finds commands that cannot be told apart, or cannot end in time.
func (c *Collector) checkExec() (reasons []string) {
	seen := make(map[string]bool)
	for i, command := range slices.Concat(c.Exec.Targets, c.Exec.Commands) {
		target := i < len(c.Exec.Targets)
		what := cmp.Or(command.Name, "a command")
		switch {
		case seen[command.Name] && !target: // two targets are found elsewhere
			reasons = append(reasons, "two commands are called "+quote(what)+"; give one of them another name")
		case len(command.Words) == 0:
			reasons = append(reasons, "the command "+quote(what)+" is empty; it must begin with the path of a program")
		case target && slices.ContainsFunc(command.Words, func(w string) bool { return strings.Contains(w, "{ipv4}") }):
			reasons = append(reasons, "the target "+quote(what)+" has no entity whose address could stand for {ipv4}; write the address, or put it below commands")
		case target && command.Timeout > c.Interval:
			reasons = append(reasons, "the target "+quote(what)+" has a timeout of "+FormatDuration(command.Timeout)+", which is longer than the interval "+FormatDuration(c.Interval))
		}
		seen[command.Name] = true
	}
	return reasons
}
