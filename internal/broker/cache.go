package broker

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

// Types the cache acts on; the others pass it by.
const (
	legacyCustomVariable        = event.Type(1<<16 | 3)
	legacyHostGroup             = event.Type(1<<16 | 10)
	legacyHostGroupMember       = event.Type(1<<16 | 11)
	legacyHost                  = event.Type(1<<16 | 12)
	legacyHostStatus            = event.Type(1<<16 | 14)
	legacyInstance              = event.Type(1<<16 | 15)
	legacyServiceGroup          = event.Type(1<<16 | 21)
	legacyServiceGroupMember    = event.Type(1<<16 | 22)
	legacyService               = event.Type(1<<16 | 23)
	legacyServiceStatus         = event.Type(1<<16 | 24)
	legacyInstanceConfiguration = event.Type(1<<16 | 25)
	legacyMetric                = event.Type(3<<16 | 1)
	legacyStatus                = event.Type(3<<16 | 4)
	legacyIndexMapping          = event.Type(3<<16 | 5)
	legacyMetricMapping         = event.Type(3<<16 | 6)
	legacyBA                    = event.Type(6<<16 | 7)
	legacyBABV                  = event.Type(6<<16 | 9)
	legacyBV                    = event.Type(6<<16 | 10)
	legacyTruncate              = event.Type(6<<16 | 11)

	pbService               = event.Type(1<<16 | 27)
	pbAdaptiveService       = event.Type(1<<16 | 28)
	pbServiceStatus         = event.Type(1<<16 | 29)
	pbHost                  = event.Type(1<<16 | 30)
	pbAdaptiveHost          = event.Type(1<<16 | 31)
	pbHostStatus            = event.Type(1<<16 | 32)
	pbCustomVariable        = event.Type(1<<16 | 37)
	pbInstance              = event.Type(1<<16 | 44)
	pbHostGroup             = event.Type(1<<16 | 49)
	pbHostGroupMember       = event.Type(1<<16 | 50)
	pbServiceGroup          = event.Type(1<<16 | 51)
	pbServiceGroupMember    = event.Type(1<<16 | 52)
	pbInstanceConfiguration = event.Type(1<<16 | 54)
	pbAdaptiveServiceStatus = event.Type(1<<16 | 55)
	pbAdaptiveHostStatus    = event.Type(1<<16 | 56)
	pbMetric                = event.Type(3<<16 | 9)
	pbStatus                = event.Type(3<<16 | 10)
	pbIndexMapping          = event.Type(3<<16 | 11)
	pbMetricMapping         = event.Type(3<<16 | 12)
	pbBV                    = event.Type(6<<16 | 22)
	pbBABV                  = event.Type(6<<16 | 23)
	pbBA                    = event.Type(6<<16 | 25)
	pbTruncate              = event.Type(6<<16 | 30)
)

// MaxObject is the largest payload in bytes the cache keeps. Larger events are
// counted as refused and change nothing.
const MaxObject = 1 << 20

// pair is the key of a service, of a custom variable (service 0 is the host
// itself), and of an index.
type pair struct{ host, service uint64 }

// Cache is the broker cache (6): the latest state of every object, filled from
// the events a script receives, before the script sees them. Objects keep the
// payloads they came with; a host or service is decoded, brought to the protobuf
// generation and merged with its statuses only when it is asked for.
//
// A Cache belongs to one goroutine. Byte slices it returns alias the cache and
// hold only until the next Update; they must not be changed. Records are the
// caller's own.
type Cache struct {
	hosts         map[uint64]*object
	services      map[pair]*object
	ofHosts       statuses // of each of hosts, service 0
	ofServices    statuses // of each of services
	instances     map[uint64]string
	severities    map[pair]int32
	hostGroups    groups
	serviceGroups groups
	hostMembers   members
	memberships   members // of services
	indexes       map[uint64]pair
	metrics       map[uint64]uint64 // metric to index
	bas, bvs      map[uint64]event.Event
	relations     map[uint64][]uint64 // BA to its BVs, ascending

	version      uint64 // grows with every change but that of a status
	tracks       bool   // the ids whose names have changed are kept:
	hostIDs      []uint64
	pairs        []pair
	settingsOnly bool // statuses are not kept

	names    map[string]string // the names of groups, each kept once
	journal  *frameWriter      // what changed since the last Flush of the file, or nil
	rounds   map[uint32]uint32 // of ForgetDeleted, by poller: the round of a configuration that is being sent; or nil
	round    uint32            // the last one
	counts   Stats
	log      *slog.Logger
	warnings *telemetry.Limited
}

// Stats are figures of a cache. The counters begin at 0 when it is made.
type Stats struct {
	Hosts, Services, Instances int
	IndexMappings              int
	MetricMappings             int

	Unknown int64 // statuses of hosts and services the cache does not know
	Misses  int64 // questions for names and objects that are not known
	Refused int64 // events too large or too damaged to be kept
}

// NewCache returns an empty cache that writes its warnings to log.
func NewCache(log *slog.Logger) *Cache {
	return &Cache{
		hosts:         map[uint64]*object{},
		services:      map[pair]*object{},
		ofHosts:       statuses{of: func(e *event.Event) pair { return pair{host: hostOf(e)} }},
		ofServices:    statuses{of: serviceOf},
		instances:     map[uint64]string{},
		severities:    map[pair]int32{},
		hostGroups:    groups{},
		serviceGroups: groups{},
		hostMembers:   members{},
		memberships:   members{},
		indexes:       map[uint64]pair{},
		metrics:       map[uint64]uint64{},
		bas:           map[uint64]event.Event{},
		bvs:           map[uint64]event.Event{},
		relations:     map[uint64][]uint64{},
		names:         map[string]string{},
		log:           log,
		warnings:      telemetry.NewLimited(log, time.Minute, 10),
	}
}

// WithoutStatuses makes the cache keep no statuses, for users that ask for nothing but
// names and settings: they are most of its memory. Statuses of unknown objects are
// counted all the same. It is called before the first event.
func (c *Cache) WithoutStatuses() { c.settingsOnly = true }

// Stats returns the figures of the cache as of now.
func (c *Cache) Stats() Stats {
	s := c.counts
	s.Hosts, s.Services, s.Instances = len(c.hosts), len(c.services), len(c.instances)
	s.IndexMappings, s.MetricMappings = len(c.indexes), len(c.metrics)
	return s
}

// Update applies an event (6.1). The payload is copied where it is kept. Events
// the cache has no use for are ignored; damaged ones are counted and change
// nothing.
func (c *Cache) Update(e event.Event) {
	switch e.Type {
	case pbServiceStatus, legacyServiceStatus:
		if id := serviceOf(&e); !c.status(&c.ofServices, id, &e) {
			c.unknownService(id)
		}
		return
	case pbHostStatus, legacyHostStatus:
		if id := hostOf(&e); !c.status(&c.ofHosts, pair{host: id}, &e) {
			c.unknownHost(id)
		}
		return
	case pbAdaptiveServiceStatus, pbAdaptiveService:
		if id := serviceOf(&e); !c.adapt(c.services[id], c.ofServices.find(id), &e) {
			c.unknownService(id)
			return
		}
	case pbAdaptiveHostStatus, pbAdaptiveHost:
		if id := hostOf(&e); !c.adapt(c.hosts[id], c.ofHosts.find(pair{host: id}), &e) {
			c.unknownHost(id)
			return
		}
	case pbHost, legacyHost:
		id := hostOf(&e)
		if !configure(c, c.hosts, id, &c.ofHosts, pair{host: id}, &e) {
			return
		}
		if c.tracks {
			c.hostIDs = append(c.hostIDs, id)
		}
	case pbService, legacyService:
		id := serviceOf(&e)
		if !configure(c, c.services, id, &c.ofServices, id, &e) {
			return
		}
		if c.tracks {
			c.pairs = append(c.pairs, id)
		}
	default:
		if !c.rare(&e) {
			return
		}
	}
	if e.Type != pbAdaptiveServiceStatus && e.Type != pbAdaptiveHostStatus {
		c.version++
	}
	if c.journal != nil {
		c.journal.add(e)
	}
}

// Version is another number whenever a name or another text, a severity or a group
// may have changed. Statuses do not change it.
func (c *Cache) Version() uint64 { return c.version }

// TrackNames makes Names tell what has changed: at first everything.
func (c *Cache) TrackNames() {
	c.tracks = true
	for id := range c.hosts {
		c.hostIDs = append(c.hostIDs, id)
	}
	for id := range c.services {
		c.pairs = append(c.pairs, id)
	}
}

// Names calls the functions for each host and service whose name may have changed
// since it was called last, in the order of the changes; the name is nil when the
// object is gone.
func (c *Cache) Names(host func(id uint64, name []byte), service func(host, service uint64, name []byte)) {
	name := func(o *object) []byte {
		switch {
		case o == nil:
			return nil
		case o.name == nil:
			return []byte{}
		}
		return o.name
	}
	for _, id := range c.hostIDs {
		host(id, name(c.hosts[id]))
	}
	for _, id := range c.pairs {
		service(id.host, id.service, name(c.services[id]))
	}
	c.hostIDs, c.pairs = c.hostIDs[:0], c.pairs[:0]
	if cap(c.hostIDs) > 4096 || cap(c.pairs) > 4096 { // of a whole dump
		c.hostIDs, c.pairs = nil, nil
	}
}

// rare applies the events that only a configuration dump or a central broker
// sends, and reports whether the cache changed.
func (c *Cache) rare(e *event.Event) bool {
	switch e.Type {
	case pbInstance, legacyInstance, pbHostGroup, legacyHostGroup, pbServiceGroup, legacyServiceGroup,
		pbHostGroupMember, legacyHostGroupMember, pbServiceGroupMember, legacyServiceGroupMember,
		pbCustomVariable, legacyCustomVariable, pbIndexMapping, legacyIndexMapping, pbMetricMapping, legacyMetricMapping,
		pbBA, legacyBA, pbBV, legacyBV, pbBABV, legacyBABV, pbTruncate, legacyTruncate,
		pbInstanceConfiguration, legacyInstanceConfiguration:
	default:
		return false
	}
	r := c.decode(*e)
	if r == nil {
		return false
	}
	number := func(name string) uint64 { return uint64(r.Get(name).Int()) }
	switch r.Descriptor.Type {
	case pbInstanceConfiguration:
		c.turn(r)
	case pbInstance:
		c.turn(r)
		return replace(c.instances, number("instance_id"), string(r.Get("name").Text()))
	case pbHostGroup:
		return c.hostGroups.update(c, number("hostgroup_id"), r)
	case pbServiceGroup:
		return c.serviceGroups.update(c, number("servicegroup_id"), r)
	case pbHostGroupMember:
		return c.hostMembers.update(c, pair{host: number("host_id")}, number("hostgroup_id"), r)
	case pbServiceGroupMember:
		return c.memberships.update(c, pair{number("host_id"), number("service_id")}, number("servicegroup_id"), r)
	case pbCustomVariable:
		return c.customVariable(r)
	case pbIndexMapping:
		return replace(c.indexes, number("index_id"), pair{number("host_id"), number("service_id")})
	case pbMetricMapping:
		return replace(c.metrics, number("metric_id"), number("index_id"))
	case pbBA:
		return keep(c.bas, number("ba_id"), e)
	case pbBV:
		return keep(c.bvs, number("bv_id"), e)
	case pbBABV:
		return c.relate(number("ba_id"), number("bv_id"))
	case pbTruncate:
		if r.Get("update_started").Bool() {
			clear(c.bas)
			clear(c.bvs)
			clear(c.relations)
			return true
		}
	}
	return false
}

// replace sets an entry and reports whether that changed anything.
func replace[K, V comparable](m map[K]V, key K, value V) bool {
	if old, ok := m[key]; ok && old == value {
		return false
	}
	m[key] = value
	return true
}

// decode returns an event as a record of the protobuf generation, or nil (counted)
// when it is damaged.
func (c *Cache) decode(e event.Event) *event.Record {
	if len(e.Payload) <= MaxObject {
		if r, err := event.Decode(e); err == nil {
			return event.Convert(r, event.Protobuf, nil)
		}
	}
	c.counts.Refused++
	return nil
}

// unknownHost and unknownService count an update of an object that is not there:
// its poller connected before Weir did, and sends its configuration only when it
// is restarted or reloaded (6.3).
func (c *Cache) unknownHost(id uint64) {
	c.counts.Unknown++
	c.warn("Attempt to update host (%d) in lua cache, but it does not exist; reload the engine to have its configuration sent", id)
}

func (c *Cache) unknownService(id pair) {
	c.counts.Unknown++
	c.warn("Attempt to update service (%d, %d) in lua cache, but it does not exist; reload the engine to have its configuration sent", id.host, id.service)
}

func (c *Cache) warn(format string, numbers ...uint64) {
	missed, ok := c.warnings.Allow()
	if !ok {
		return
	}
	args := make([]any, len(numbers))
	for i, n := range numbers {
		args[i] = n
	}
	c.log.Warn(fmt.Sprintf(format, args...), "left_out", missed)
}
