package broker

import (
	"slices"

	"github.com/weirhq/weir/internal/event"
)

// The methods in this file answer the functions of the script's broker_cache
// (5.2). ok is false, or a record nil, when the object is not known: the script
// gets nil. Service 0 stands for the host itself.

// Hostname returns the name of a host.
func (c *Cache) Hostname(host uint64) (name []byte, ok bool) {
	o := c.hosts[host]
	if o == nil {
		c.counts.Misses++
		return nil, false
	}
	return o.name, true
}

// ServiceDescription returns the name of a service.
func (c *Cache) ServiceDescription(host, service uint64) (name []byte, ok bool) {
	o := c.services[pair{host, service}]
	if o == nil {
		c.counts.Misses++
		return nil, false
	}
	return o.name, true
}

// Host returns a host with its statuses merged in, as a Host event of the
// protobuf generation.
func (c *Cache) Host(host uint64) *event.Record {
	o := c.hosts[host]
	if o == nil {
		c.counts.Misses++
		return nil
	}
	return c.record(o, c.ofHosts.get(pair{host: host}), hostKind)
}

// Service returns a service with its statuses merged in, as a Service event of
// the protobuf generation.
func (c *Cache) Service(host, service uint64) *event.Record {
	o := c.services[pair{host, service}]
	if o == nil {
		c.counts.Misses++
		return nil
	}
	return c.record(o, c.ofServices.get(pair{host, service}), serviceKind)
}

// object returns a service, or with service 0 a host.
func (c *Cache) object(host, service uint64) *object {
	var o *object
	if service == 0 {
		o = c.hosts[host]
	} else {
		o = c.services[pair{host, service}]
	}
	if o == nil {
		c.counts.Misses++
	}
	return o
}

// text reads a member that no status changes and that has one name in both
// generations.
func (c *Cache) text(host, service uint64, member string) ([]byte, bool) {
	o := c.object(host, service)
	if o == nil {
		return nil, false
	}
	e := event.Event{Type: o.configType, Payload: o.config}
	return e.Text(event.Lookup(o.configType).Field(member))
}

// Notes returns the notes of a host or service, possibly empty.
func (c *Cache) Notes(host, service uint64) ([]byte, bool) { return c.text(host, service, "notes") }

// NotesURL returns the address of the notes of a host or service, possibly empty.
func (c *Cache) NotesURL(host, service uint64) ([]byte, bool) {
	return c.text(host, service, "notes_url")
}

// ActionURL returns the action address of a host or service, possibly empty.
func (c *Cache) ActionURL(host, service uint64) ([]byte, bool) {
	return c.text(host, service, "action_url")
}

// CheckCommand returns the check command of a host or service, as an external
// command may have changed it.
func (c *Cache) CheckCommand(host, service uint64) ([]byte, bool) {
	if o := c.hosts[host]; service == 0 && o != nil && o.more != nil {
		e := event.Event{Type: pbAdaptiveHost, Payload: o.more.settings}
		if text, ok := e.Text(adaptiveHostCommand); ok {
			return text, true
		}
	}
	if o := c.services[pair{host, service}]; service != 0 && o != nil && o.more != nil {
		e := event.Event{Type: pbAdaptiveService, Payload: o.more.settings}
		if text, ok := e.Text(adaptiveServiceCommand); ok {
			return text, true
		}
	}
	return c.text(host, service, "check_command")
}

var (
	adaptiveHostCommand    = event.Lookup(pbAdaptiveHost).Field("check_command")
	adaptiveServiceCommand = event.Lookup(pbAdaptiveService).Field("check_command")
)

// Severity returns the custom variable CRITICALITY_LEVEL of a host or service.
func (c *Cache) Severity(host, service uint64) (level int32, ok bool) {
	level, ok = c.severities[pair{host, service}]
	return level, ok
}

// HostGroups returns the groups of a host, ascending by number. The caller may
// keep the slice.
func (c *Cache) HostGroups(host uint64) []Group {
	return slices.Clone(c.hostMembers[pair{host: host}])
}

// ServiceGroups returns the groups of a service, ascending by number. The caller
// may keep the slice.
func (c *Cache) ServiceGroups(host, service uint64) []Group {
	return slices.Clone(c.memberships[pair{host, service}])
}

// HostGroupName returns the name of a host group.
func (c *Cache) HostGroupName(id uint64) (name string, ok bool) { return c.hostGroups.name(c, id) }

// ServiceGroupName returns the name of a service group.
func (c *Cache) ServiceGroupName(id uint64) (name string, ok bool) {
	return c.serviceGroups.name(c, id)
}

func (m groups) name(c *Cache, id uint64) (string, bool) {
	g := m[id]
	if g == nil {
		c.counts.Misses++
		return "", false
	}
	return g.name, true
}

// HostGroupAlias returns the alias of a host group, empty when it came in a
// legacy event.
func (c *Cache) HostGroupAlias(id uint64) (alias string, ok bool) {
	g := c.hostGroups[id]
	if g == nil {
		c.counts.Misses++
		return "", false
	}
	return g.alias, true
}

// InstanceName returns the name of a poller.
func (c *Cache) InstanceName(id uint64) (name string, ok bool) {
	name, ok = c.instances[id]
	if !ok {
		c.counts.Misses++
	}
	return name, ok
}

// IndexMapping returns which service an index belongs to, as an IndexMapping
// event of the protobuf generation.
func (c *Cache) IndexMapping(index uint64) *event.Record {
	of, ok := c.indexes[index]
	if !ok {
		c.counts.Misses++
		return nil
	}
	return indexMapping(index, of)
}

func indexMapping(index uint64, of pair) *event.Record {
	return newRecord(pbIndexMapping, "index_id", index, "host_id", of.host, "service_id", of.service)
}

// MetricMapping returns which index a metric belongs to, as a MetricMapping event
// of the protobuf generation.
func (c *Cache) MetricMapping(metric uint64) *event.Record {
	index, ok := c.metrics[metric]
	if !ok {
		c.counts.Misses++
		return nil
	}
	return metricMapping(metric, index)
}

func metricMapping(metric, index uint64) *event.Record {
	return newRecord(pbMetricMapping, "metric_id", metric, "index_id", index)
}

// BA returns a business activity as a DimensionBaEvent of the protobuf generation.
func (c *Cache) BA(id uint64) *event.Record { return c.kept(c.bas, id) }

// BV returns a business view as a DimensionBvEvent of the protobuf generation.
func (c *Cache) BV(id uint64) *event.Record { return c.kept(c.bvs, id) }

func (c *Cache) kept(m map[uint64]event.Event, id uint64) *event.Record {
	e, ok := m[id]
	if !ok {
		c.counts.Misses++
		return nil
	}
	return c.decode(e)
}

// BVs returns the numbers of the business views of a business activity,
// ascending. The caller may keep the slice.
func (c *Cache) BVs(ba uint64) []uint64 { return slices.Clone(c.relations[ba]) }

// newRecord returns a record with members set: pairs of a name and a uint64, string
// or bool.
func newRecord(t event.Type, members ...any) *event.Record {
	r := event.NewRecord(event.Lookup(t))
	for i := 0; i < len(members); i += 2 {
		var v event.Value
		switch x := members[i+1].(type) {
		case uint64:
			v = event.IntValue(int64(x))
		case string:
			v = event.TextValue([]byte(x))
		case bool:
			v = event.BoolValue(x)
		}
		r.Set(members[i].(string), v)
	}
	return r
}
