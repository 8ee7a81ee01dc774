package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/script"
)

// Inspection is what a script comes to when it is only looked at.
type Inspection struct {
	File     string
	Name     string
	Defines  []string // titles of groups
	Attaches []string // "TYPE to GROUP", or the type alone where it is bound to none
	Problems []string // the script is used all the same
	Err      error    // why it is not: with file and line where they are known
}

// Inspect loads the scripts of an entry, each in a process of its own, finds what they would be attached to, and calls none of their functions
// but those that name groups. The groups that they define are registered in groups. Files that are no scripts are left out.
func Inspect(ctx context.Context, e Entry, groups *countergroup.Registry) ([]Inspection, error) {
	sources, failed := scan([]Entry{e})
	m := &Monitors{groups: groups, others: countergroup.OtherGroups()}
	var all []*inspected
	defer func() {
		for _, one := range all {
			if one.stop != nil {
				one.stop()
			}
		}
	}()
	for _, s := range sources {
		text, err := os.ReadFile(s.path)
		if err == nil && !bytes.Contains(text, []byte("TrisulPlugin")) {
			continue
		}
		one := &inspected{Inspection: Inspection{File: s.path, Err: err}}
		if err == nil {
			one.Err = one.load(ctx, &member{m: m, source: s})
		}
		if one.Err == nil {
			one.Err = one.probe(ctx, m)
		}
		if one.Err == nil {
			one.define(m)
		}
		all = append(all, one)
	}
	var found []Inspection
	for _, one := range all {
		if one.Err == nil { // again: all groups are known now
			if one.Err = one.probe(ctx, m); one.Err == nil && !one.result.Plugin {
				continue // a module
			}
		}
		if one.Err == nil {
			one.attach(m)
		}
		found = append(found, one.Inspection)
	}
	return found, errors.Join(failed...)
}

// inspected is a script while it is looked at.
type inspected struct {
	Inspection
	process *script.Process
	stop    func()
	result  Probe
}

// load starts the process.
func (i *inspected) load(ctx context.Context, of *member) error {
	var err error
	i.process, i.stop, err = script.Load(ctx, of.spec(of.source, nil))
	return err
}

func (i *inspected) probe(ctx context.Context, m *Monitors) error {
	answer, err := i.process.Request(ctx, KindProbe, encode(m.snapshot()))
	if err != nil {
		return fmt.Errorf("%s: %w", i.File, err)
	}
	i.result = Probe{}
	if err := json.Unmarshal(answer, &i.result); err != nil {
		return err
	}
	if i.result.Failed != "" {
		return &script.Error{Message: i.result.Failed, File: i.File}
	}
	i.Name = i.result.Name
	return nil
}

// define registers the groups of the script.
func (i *inspected) define(m *Monitors) {
	for _, d := range i.result.Counter {
		if _, err := m.groups.Register(d.Definition); err != nil {
			i.Problems = append(i.Problems, err.Error())
			continue
		}
		i.Defines = append(i.Defines, d.Title)
	}
	for kind, list := range map[string][]Definition{"alert": i.result.Alert, "resource": i.result.Resource} {
		for _, d := range list {
			m.define(kind, d)
			i.Defines = append(i.Defines, d.Name)
		}
	}
}

// attach finds what the script would be attached to.
func (i *inspected) attach(m *Monitors) {
	i.Problems = append(append(i.Problems, i.result.Warnings...), i.result.Errors...)
	groups := m.snapshot()
	for _, block := range i.result.Blocks {
		from, bindable := groups.of(block.Type)
		if !bindable {
			i.Attaches = append(i.Attaches, block.Type)
			continue
		}
		if block.Attach == nil {
			continue
		}
		matched, notes := match(*block.Attach, from)
		i.Problems = append(i.Problems, notes...)
		for _, g := range matched {
			i.Attaches = append(i.Attaches, block.Type+" to "+g.Title)
		}
		if len(matched) == 0 {
			i.Problems = append(i.Problems, fmt.Sprintf("no %s matches %s", groupKind(block.Type), describe(block.Attach)))
		}
	}
}
