package feed

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/countergroup"
)

// Group is a group that is declared, and what is counted in it.
type Group struct {
	countergroup.Definition
	Feeds []Spec
}

// Spec says what is counted of one source in one meter.
type Spec struct {
	From  string   // a name of Sources
	Match []string // FIELD=PATTERN or FIELD=~EXPRESSION, all of which must fit
	Key   string   // text with {FIELD} for the text of a field, and {1}, {2} and so on for what the stars and the groups of Match stand for
	Meter string   // the name of a meter of the group
	Value string   // a value of the source; "" is its first one, and of an event 1
}

// Mistake is why a Spec cannot be used.
type Mistake struct {
	Option string // "from", "match[0]", "key", "meter" or "value"
	Value  string // what stands there
	Reason string
	Known  []string // what could stand there, to find the nearest; nil when there is no such list
}

func (m *Mistake) Error() string {
	return fmt.Sprintf("cannot use %q for %s: %s", m.Value, m.Option, m.Reason)
}

// feed is a Spec that was checked.
type feed struct {
	group   *countergroup.Group // set by New
	meter   int
	source  source
	matches []match
	key     []part
	grabs   bool // the key uses what a match stands for
	value   field
	counts  bool // the value of an event is 1
	every   bool // all values of a timer
}

// part of a key: text, or a field, or a capture.
type part struct {
	text    string
	field   *field
	capture int // from 1
}

// match is a condition on a field.
type match struct {
	field    field
	text     string
	pattern  *regexp.Regexp // nil: the text must be text
	captures int
}

// Check reports the Mistake in a Spec for a group with these meters, nil when there is none.
func Check(s Spec, meters []countergroup.Meter) *Mistake {
	_, mistake := compile(s, meters)
	return mistake
}

func compile(s Spec, meters []countergroup.Meter) (*feed, *Mistake) {
	of, known := lookup(s.From)
	if !known {
		return nil, &Mistake{"from", s.From, "it must be a schema or an event that can be counted", Sources()}
	}
	f := &feed{source: of}
	captures := 0
	for i, text := range s.Match {
		m, mistake := f.parseMatch(text)
		if mistake != nil {
			mistake.Option, mistake.Value = fmt.Sprintf("match[%d]", i), cmp.Or(mistake.Value, text)
			return nil, mistake
		}
		captures += m.captures
		f.matches = append(f.matches, *m)
	}
	if mistake := f.parseKey(s.Key, captures); mistake != nil {
		mistake.Option = "key"
		return nil, mistake
	}
	var names []string
	for _, m := range meters {
		names = append(names, m.Name)
	}
	if f.meter = slices.Index(names, s.Meter); f.meter < 0 {
		return nil, &Mistake{"meter", s.Meter, "the group has no meter of this name", names}
	}
	return f, f.parseValue(s.Value)
}

// field finds a field of the source for keys and matches.
func (f *feed) field(name string) (field, *Mistake) {
	found := field{name: name, index: slices.Index(f.source.fields, name)}
	if f.source.fields == nil { // StatsD: the name and its tags, whatever they are
		return found, nil
	}
	if found.index < 0 {
		return found, &Mistake{Value: name, Reason: "the source has no such field", Known: f.source.fields}
	}
	if f.source.event != nil {
		found.event = f.source.event.Field(name)
	}
	return found, nil
}

func (f *feed) parseMatch(text string) (*match, *Mistake) {
	name, pattern, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return nil, &Mistake{Reason: "it must be FIELD=PATTERN, such as name=web.*.requests, or FIELD=~EXPRESSION"}
	}
	of, mistake := f.field(name)
	if mistake != nil {
		return nil, mistake
	}
	m := &match{field: of, text: pattern}
	expression, regular := strings.CutPrefix(pattern, "~")
	if !regular {
		if !strings.Contains(pattern, "*") {
			return m, nil
		}
		expression = strings.NewReplacer(`\*\*`, "(.*)", `\*`, `([^.]*)`).Replace(regexp.QuoteMeta(pattern))
	}
	var err error
	if m.pattern, err = regexp.Compile("^(?s:" + expression + ")$"); err != nil {
		return nil, &Mistake{Reason: "it is no regular expression: " + err.Error()}
	}
	m.captures = m.pattern.NumSubexp()
	return m, nil
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

func (f *feed) parseKey(text string, captures int) *Mistake {
	if text == "" {
		return &Mistake{Reason: "it must say what the key is made of, such as {host}"}
	}
	add := func(text string) *Mistake {
		if strings.ContainsAny(text, "{}") {
			return &Mistake{Value: text, Reason: "a { without its }"}
		}
		if text != "" {
			f.key = append(f.key, part{text: text})
		}
		return nil
	}
	end := 0
	for _, at := range placeholder.FindAllStringIndex(text, -1) {
		if mistake := add(text[end:at[0]]); mistake != nil {
			return mistake
		}
		end = at[1]
		name := text[at[0]+1 : at[1]-1]
		if n, err := strconv.Atoi(name); err == nil {
			if n < 1 || n > captures {
				return &Mistake{Value: text, Reason: fmt.Sprintf("there is no {%d}: match has %d stars and groups", n, captures)}
			}
			f.key, f.grabs = append(f.key, part{capture: n}), true
			continue
		}
		of, mistake := f.field(name)
		if name == "" {
			mistake = &Mistake{Value: text, Reason: "{} names no field", Known: f.source.fields}
		}
		if mistake != nil {
			return mistake
		}
		f.key = append(f.key, part{field: &of})
	}
	return add(text[end:])
}

// timerField are the figures of timers; those of percentiles end with their number.
var timerField = regexp.MustCompile(`^(std|upper|lower|count|count_ps|sum|sum_squares|mean|median|(count|mean|upper|lower|sum|sum_squares)_(top)?[0-9]+(_[0-9]+)?)$`)

func (f *feed) parseValue(name string) *Mistake {
	f.value = field{name: name}
	switch {
	case f.source.kind == fromTimers:
		if f.every = name == "" || name == "values"; !f.every && !timerField.MatchString(name) {
			return &Mistake{Option: "value", Value: name, Reason: "it must be values, or a figure of timers such as mean, count or upper_90"}
		}
		return nil
	case f.source.kind == fromEvents && name == "":
		f.counts = true
		return nil
	case name != "":
		if f.value.index = slices.Index(f.source.values, name); f.value.index < 0 {
			return &Mistake{Option: "value", Value: name, Reason: "the source has no such value", Known: f.source.values}
		}
	}
	if f.source.event != nil {
		f.value.event = f.source.event.Field(name)
	}
	return nil
}
