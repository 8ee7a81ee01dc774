package snmp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// Columns of the tables of interfaces.
var (
	ifDescr     = request{"1.3.6.1.2.1.2.2.1.2", true}
	ifSpeed     = request{"1.3.6.1.2.1.2.2.1.5", true}
	ifName      = request{"1.3.6.1.2.1.31.1.1.1.1", true}
	ifHighSpeed = request{"1.3.6.1.2.1.31.1.1.1.15", true}
	ifAlias     = request{"1.3.6.1.2.1.31.1.1.1.18", true}
)

// saturated is an ifSpeed that says nothing.
const saturated = 1<<32 - 1

// port is an interface of a device, as it is to be noted.
type port struct {
	name    string
	details map[string]string
}

// interfaces notes which interfaces a device has: entities of the type "interface" below it (section 5.3).
func (s *SNMP) interfaces(ctx context.Context, config *collector.JobConfig) error {
	fail := func(err error) error {
		return fmt.Errorf("cannot look at the interfaces of %q: %w", config.Name, err)
	}
	f, err := ask(ctx, config, []request{ifDescr, ifSpeed, ifName, ifHighSpeed, ifAlias})
	if err != nil {
		return fail(err)
	}
	ports, order, err := portsOf(f.found)
	if err != nil {
		return fail(err)
	}
	known, err := s.config.Entities.Parts(ctx, config.AccountID, config.EntityID, "interface")
	if err != nil {
		return fail(err)
	}
	var failed problems
	note := func(err error) {
		if err != nil {
			failed.add(-1, err)
		}
	}
	for i := range known {
		e := &known[i]
		details, index := detailsOf(e)
		p, ok := ports[index]
		switch {
		case ctx.Err() != nil:
			return fail(ctx.Err())
		case !ok:
			note(s.config.Entities.DeletePart(ctx, config.AccountID, e.ID))
		case p.update(e, details):
			note(s.config.Entities.ChangePart(ctx, config.AccountID, e))
		}
		if ok {
			delete(ports, index) // a second entity of the same interface goes
		}
	}
	for _, index := range order {
		p, ok := ports[index]
		if !ok {
			continue
		}
		if ctx.Err() != nil {
			return fail(ctx.Err())
		}
		details, err := json.Marshal(p.details)
		if err != nil {
			return fail(err)
		}
		note(s.config.Entities.AddPart(ctx, config.AccountID, &bot.Entity{Name: p.name, EntityType: "interface", Parent: &config.EntityID, Details: details}))
	}
	return failed.join(config.Name)
}

// portsOf are the interfaces by index, with the order in which the device tells them. A device that tells
// none, or whose tables do not fit, is not believed.
func portsOf(found answers) (map[string]*port, []string, error) {
	names, speeds := found[ifDescr], found[ifSpeed]
	if err := errors.Join(names.err, speeds.err); err != nil {
		return nil, nil, err
	}
	same := slices.EqualFunc(names.rows, speeds.rows, func(a, b variable) bool { return a.index == b.index })
	if !same || len(names.rows) == 0 {
		return nil, nil, fmt.Errorf("it tells %d names and %d speeds, which do not belong together", len(names.rows), len(speeds.rows))
	}
	ports := make(map[string]*port, len(names.rows))
	var order []string
	for i := range names.rows {
		index := names.rows[i].index
		bps := speeds.rows[i].text
		if high := found[ifHighSpeed].byIndex(index); speeds.rows[i].number >= saturated && high != nil && high.number > 0 {
			bps = strconv.FormatFloat(high.number*1e6, 'f', 0, 64)
		}
		p := &port{name: printable(names.rows[i].text), details: map[string]string{"snmp_index": index, "speed_bps": bps}}
		for key, column := range map[string]request{"if_name": ifName, "if_alias": ifAlias} {
			if v := found[column].byIndex(index); v != nil && v.text != "" {
				p.details[key] = printable(v.text)
			}
		}
		if p.name == "" {
			p.name = "interface " + index
		}
		ports[index] = p
		order = append(order, index)
	}
	return ports, order, nil
}

// maxName bounds names that devices tell, in runes.
const maxName = 200

// printable is text of a device as a name.
func printable(text string) string {
	runes := []rune(text)
	runes = runes[:min(len(runes), maxName)]
	for i, r := range runes {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			runes[i] = ' '
		}
	}
	return string(bytes.TrimSpace([]byte(string(runes))))
}

// detailsOf are those of an entity, with the index of the interface that it is.
func detailsOf(e *bot.Entity) (details map[string]any, index string) {
	if json.Unmarshal(e.Details, &details) != nil || details == nil {
		details = make(map[string]any) // somebody else wrote them
	}
	index, _ = details["snmp_index"].(string)
	return details, index
}

// update makes an entity what the interface is, and reports whether it was something else. Details that
// others have added stay.
func (p *port) update(e *bot.Entity, details map[string]any) bool {
	changed := e.Name != p.name
	for key, value := range p.details {
		if details[key] != value {
			details[key] = value
			changed = true
		}
	}
	if !changed {
		return false
	}
	encoded, err := json.Marshal(details)
	if err != nil {
		return false
	}
	e.Name, e.Details = p.name, encoded
	return true
}
