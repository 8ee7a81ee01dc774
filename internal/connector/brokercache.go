package connector

import (
	_ "embed"
	"errors"
	"fmt"
	"math"

	"github.com/weirhq/weir/internal/broker"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/lua"
)

//go:embed prelude/cache.lua
var cachePrelude string

// cacheTable is the global broker_cache (5.2), over a cache that only this script uses.
type cacheTable struct {
	cache    *broker.Cache
	readOnly bool // objects are userdata: version 2 of the interface

	version       uint64   // of the cache that Lua knows
	learn, forget *lua.Ref // see prelude/cache.lua
}

// table is what the script gets, as it is now; refresh has to be called after every
// change of the cache.
func (t *cacheTable) table(vm *lua.VM) (*lua.Table, error) {
	chunk, err := vm.Load("=weir/cache.lua", []byte(cachePrelude))
	if err != nil {
		return nil, err
	}
	results, err := chunk.Call(t.methods())
	if err != nil {
		return nil, err
	}
	t.learn, t.forget = results[1].(*lua.Ref), results[2].(*lua.Ref)
	t.cache.TrackNames()
	return results[0].(*lua.Table), t.refresh()
}

// refresh tells Lua what is not any more as it knows it.
func (t *cacheTable) refresh() error {
	if t.cache.Version() == t.version {
		return nil
	}
	t.version = t.cache.Version()
	const exact = 1 << 53 // larger numbers are not exact in Lua
	hosts, services := &lua.Table{}, &lua.Table{}
	name := func(text []byte) any {
		if text == nil {
			return false
		}
		return text
	}
	t.cache.Names(func(host uint64, text []byte) {
		if host < exact {
			hosts.Array = append(hosts.Array, host, name(text))
		}
	}, func(host, service uint64, text []byte) {
		if host < exact && service < exact {
			services.Array = append(services.Array, host, service, name(text))
		}
	})
	if _, err := t.learn.Call(hosts, services); err != nil {
		return err
	}
	_, err := t.forget.Call()
	return err
}

func (t *cacheTable) methods() *lua.Table {
	id := func(f func(c *lua.Call, id uint64)) lua.Function {
		return cacheMethod(1, 0, func(c *lua.Call, a, _ uint64) { f(c, a) })
	}
	host := func(f func(host, service uint64) ([]byte, bool)) lua.Function { // service may be missing
		return cacheMethod(1, 1, func(c *lua.Call, a, b uint64) { pushText(c)(f(a, b)) })
	}
	all := &lua.Table{}
	for name, f := range map[string]lua.Function{
		"get_hostname": id(func(c *lua.Call, host uint64) { pushText(c)(t.cache.Hostname(host)) }),
		"get_host":     id(func(c *lua.Call, host uint64) { t.push(c, t.cache.Host(host)) }),
		"get_service_description": cacheMethod(2, 0, func(c *lua.Call, host, service uint64) {
			pushText(c)(t.cache.ServiceDescription(host, service))
		}),
		"get_service":       cacheMethod(2, 0, func(c *lua.Call, host, service uint64) { t.push(c, t.cache.Service(host, service)) }),
		"get_notes":         host(t.cache.Notes),
		"get_notes_url":     host(t.cache.NotesURL),
		"get_action_url":    host(t.cache.ActionURL),
		"get_check_command": host(t.cache.CheckCommand),
		"get_severity": cacheMethod(1, 1, func(c *lua.Call, host, service uint64) {
			if level, ok := t.cache.Severity(host, service); ok {
				c.PushInt(int64(level))
			} else {
				c.PushNil()
			}
		}),
		"get_hostgroups": id(func(c *lua.Call, host uint64) { pushGroups(c, t.cache.HostGroups(host)) }),
		"get_servicegroups": cacheMethod(2, 0, func(c *lua.Call, host, service uint64) {
			pushGroups(c, t.cache.ServiceGroups(host, service))
		}),
		"get_hostgroup_name":    id(func(c *lua.Call, id uint64) { pushName(c)(t.cache.HostGroupName(id)) }),
		"get_hostgroup_alias":   id(func(c *lua.Call, id uint64) { pushName(c)(t.cache.HostGroupAlias(id)) }),
		"get_servicegroup_name": id(func(c *lua.Call, id uint64) { pushName(c)(t.cache.ServiceGroupName(id)) }),
		"get_instance_name":     id(func(c *lua.Call, id uint64) { pushName(c)(t.cache.InstanceName(id)) }),
		"get_index_mapping": id(func(c *lua.Call, id uint64) {
			pushMembers(c, t.cache.IndexMapping(id), "index_id", "host_id", "service_id")
		}),
		"get_metric_mapping": id(func(c *lua.Call, id uint64) { t.pushShort(c, t.cache.MetricMapping(id), "metric_id", "index_id") }),
		"get_ba":             id(func(c *lua.Call, id uint64) { t.pushShort(c, t.cache.BA(id), "ba_id", "ba_name", "ba_description") }),
		"get_bv":             id(func(c *lua.Call, id uint64) { t.pushShort(c, t.cache.BV(id), "bv_id", "bv_name", "bv_description") }),
		"get_bvs": id(func(c *lua.Call, id uint64) {
			list := []any{}
			for _, bv := range t.cache.BVs(id) {
				list = append(list, bv)
			}
			c.Push(list)
		}),
	} {
		all.Set(name, named(name, f))
	}
	return all
}

// named makes the errors of a method name it also where it is called by another function.
func named(name string, f lua.Function) lua.Function {
	return func(c *lua.Call) (int, error) {
		n, err := f(c)
		if wrong := (*lua.ArgumentError)(nil); errors.As(err, &wrong) && wrong.Argument > 1 {
			err = fmt.Errorf("bad argument #%d to '%s' (%s)", wrong.Argument-1, name, wrong.Message)
		}
		return n, err
	}
}

// cacheMethod is a method with required and then optional numbers; ids that
// cannot exist find nothing.
func cacheMethod(required, optional int, f func(c *lua.Call, a, b uint64)) lua.Function {
	return func(c *lua.Call) (int, error) {
		if c.Type(1) != "table" {
			return 0, &lua.ArgumentError{Argument: 1, Message: "broker_cache expected, got " + c.Type(1) + ": call it with a colon"}
		}
		var ids [2]uint64
		for i := range required + optional {
			if i >= required && c.IsNil(i+2) {
				break
			}
			id, err := c.Float(i + 2)
			switch {
			case err != nil:
				return 0, err
			case id < 0 || id > 1<<53:
				ids[i] = math.MaxUint64
			case id != math.Trunc(id):
				return 0, &lua.ArgumentError{Argument: i + 2, Message: "number has no integer representation"}
			default:
				ids[i] = uint64(id)
			}
		}
		f(c, ids[0], ids[1])
		return 1, nil
	}
}

func pushText(c *lua.Call) func([]byte, bool) {
	return func(text []byte, ok bool) {
		if ok {
			c.PushBytes(text)
		} else {
			c.PushNil()
		}
	}
}

func pushName(c *lua.Call) func(string, bool) {
	return func(name string, ok bool) {
		if ok {
			c.PushString(name)
		} else {
			c.PushNil()
		}
	}
}

func pushGroups(c *lua.Call, groups []broker.Group) {
	list := make([]any, len(groups))
	for i, g := range groups {
		t := &lua.Table{}
		t.Set("group_id", g.ID)
		t.Set("group_name", g.Name)
		list[i] = t
	}
	c.Push(list)
}

// push pushes a new copy of an object.
func (t *cacheTable) push(c *lua.Call, r *event.Record) {
	if r == nil {
		c.PushNil()
		return
	}
	e := r.Encode()
	c.PushRecord(cached|uint32(e.Type), e.Payload, t.readOnly)
}

// pushShort pushes an object of which version 1 shows only some members.
func (t *cacheTable) pushShort(c *lua.Call, r *event.Record, names ...string) {
	if t.readOnly {
		t.push(c, r)
		return
	}
	pushMembers(c, r, names...)
}

func pushMembers(c *lua.Call, r *event.Record, names ...string) {
	if r == nil {
		c.PushNil()
		return
	}
	t := &lua.Table{}
	for _, name := range names {
		if f := r.Descriptor.Field(name); f.Kind == event.String {
			t.Set(name, r.Get(name).Text())
		} else {
			t.Set(name, r.Get(name).Int())
		}
	}
	c.Push(t)
}
