package countergroup

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// TotalsKey is the key under which a group's totals are flushed, after all others (specification 1.6).
// Updates to it are dropped.
const TotalsKey = "SYS:GROUP_TOTALS"

// Limits of what a group may be.
const (
	MaxKey    = 512 // bytes of a key
	MaxMeters = 64
)

// Definition describes a group (specification 1.1).
type Definition struct {
	GUID         string
	Aliases      []string // further GUIDs that mean the same group
	Title        string
	Description  string
	Bucket       int    // seconds over which values are added up; 0 means 60. The engine rounds it up to windows
	TopperBucket int    // seconds over which toppers are found; 0 means 300. The engine rounds it up to buckets
	Resolver     string // GUID of the group whose labels this group's keys are shown with; "" is the group itself
	Meters       []Meter
	HighWater    int  // keys above which the longest unused are forgotten, at a flush; 0 means the engine's
	LowWater     int  // keys that are left then; 0 means 4/5 of HighWater
	ToppersOnly  bool // the store keeps windows only of keys that are on a topper list of their topper bucket, and totals
}

// Group is a registered group. What is in Definition does not change any more. Its methods are safe for concurrent use.
type Group struct {
	Definition
	index int         // in the order of registration
	types []MeterType // by meter
	rows  layout
	salt  uint64 // of its GUID, for the engine of a key
	gone  atomic.Bool

	mu   sync.RWMutex
	info map[string]*Info
}

// Info is what is known of a key besides its values.
type Info struct {
	Label, Description string
	Attributes         map[string]string
}

func newGroup(d Definition, index int) *Group {
	g := &Group{Definition: d, index: index, salt: xxhash.Sum64String(d.GUID), info: make(map[string]*Info)}
	for _, m := range d.Meters {
		g.types = append(g.types, m.Type)
	}
	g.rows = newLayout(g.types)
	return g
}

// Removed reports whether the group was taken away: nothing is counted in it any more.
func (g *Group) Removed() bool { return g.gone.Load() }

// normalize checks a definition and fills in what was left out.
func (d *Definition) normalize() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("cannot register counter group %q: %s", d.Title, fmt.Sprintf(format, args...))
	}
	if d.Title == "" {
		return fail("it has no title")
	}
	guid, err := ParseGUID(d.GUID)
	if err != nil {
		return fail("%v", err)
	}
	d.GUID = guid
	d.Aliases = slices.Clone(d.Aliases)
	for i, alias := range d.Aliases {
		if d.Aliases[i], err = ParseGUID(alias); err != nil {
			return fail("alias: %v", err)
		}
	}
	if d.Resolver != "" {
		if d.Resolver, err = ParseGUID(d.Resolver); err != nil {
			return fail("resolver: %v", err)
		}
	}
	if d.Bucket < 0 || d.TopperBucket < 0 {
		return fail("bucket sizes %d and %d: seconds must be greater than 0", d.Bucket, d.TopperBucket)
	}
	if d.Bucket == 0 {
		d.Bucket = 60
	}
	if d.TopperBucket == 0 {
		d.TopperBucket = 300
	}
	if d.HighWater < 0 || d.LowWater < 0 || d.HighWater > 0 && d.LowWater > d.HighWater {
		return fail("high water %d, low water %d: they must not be negative, nor low above high", d.HighWater, d.LowWater)
	}
	if len(d.Meters) == 0 {
		return fail("it has no meters")
	}
	if len(d.Meters) > MaxMeters {
		return fail("%d meters are more than the %d there may be", len(d.Meters), MaxMeters)
	}
	d.Meters = slices.Clone(d.Meters)
	slices.SortStableFunc(d.Meters, func(a, b Meter) int { return a.ID - b.ID })
	for i := range d.Meters {
		m := &d.Meters[i]
		if i > 0 && m.ID == d.Meters[i-1].ID {
			return fail("two meters have the id %d", m.ID)
		}
		if m.ID != i {
			return fail("meter ids must count from 0 without gaps, and %d is missing", i)
		}
		known := m.Type.known()
		if known == 0 {
			return fail("meter %d %q has the type %d, which is none of %v", m.ID, m.Name, int(m.Type), MeterTypes())
		}
		m.Type = known
		if m.Top < 0 || m.Bottom < 0 {
			return fail("meter %d %q has the top and bottom counts %d and %d; they must not be negative", m.ID, m.Name, m.Top, m.Bottom)
		}
	}
	if d.ToppersOnly && !slices.ContainsFunc(d.Meters, func(m Meter) bool { return m.Top > 0 }) {
		return fail("only toppers are to be stored, and no meter has a top count")
	}
	return nil
}

// SetLabel sets what a key is shown as. It reports false when the group has no room for labels of more keys (see SetAttribute).
func (g *Group) SetLabel(key, label, description string) bool {
	return g.annotate(key, func(i *Info) { i.Label, i.Description = label, description })
}

// SetAttribute sets one name/value pair of a key, replacing an older value. Labels and attributes are kept for at most
// maxInfo keys, maxAttributes names each: false means that a limit kept this one out.
func (g *Group) SetAttribute(key, name, value string) bool {
	fits := true
	return g.annotate(key, func(i *Info) {
		if _, ok := i.Attributes[name]; !ok && len(i.Attributes) >= maxAttributes {
			fits = false
			return
		}
		if i.Attributes == nil {
			i.Attributes = make(map[string]string)
		}
		i.Attributes[name] = value
	}) && fits
}

const (
	maxInfo       = 1 << 20
	maxAttributes = 64
)

func (g *Group) annotate(key string, change func(*Info)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.info[key]
	if i == nil {
		if len(g.info) >= maxInfo {
			return false
		}
		i = new(Info)
		g.info[key] = i
	}
	change(i)
	return true
}

// Info returns what is known of a key.
func (g *Group) Info(key string) (Info, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	i := g.info[key]
	if i == nil {
		return Info{}, false
	}
	return Info{Label: i.Label, Description: i.Description, Attributes: maps.Clone(i.Attributes)}, true
}

// Label returns what a key is shown as: its label, or else the key.
func (g *Group) Label(key string) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if i := g.info[key]; i != nil && i.Label != "" {
		return i.Label
	}
	return key
}
