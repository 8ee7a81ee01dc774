package countergroup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ErrMeters is what Register returns, with the group that is there already, for a definition
// that has the same GUID and other meters. The first definition stays (specification 5.1).
var ErrMeters = errors.New("a group with this GUID and other meters is registered already")

// Registry knows the groups. It is safe for concurrent use.
type Registry struct {
	mu     sync.RWMutex
	groups []*Group
	byGUID map[string]*Group // canonical GUIDs and aliases
	made   int               // groups ever registered
	notify []func(*Group)
	parted []func(*Group)
}

// NewRegistry returns an empty Registry.
func NewRegistry() *Registry { return &Registry{byGUID: make(map[string]*Group)} }

// Register adds a group and tells those who asked by OnRegister. A GUID that is registered already
// gives the group that is there: without an error when the meters are the same, with ErrMeters when they differ.
func (r *Registry) Register(d Definition) (*Group, error) {
	if err := d.normalize(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	if g := r.byGUID[d.GUID]; g != nil {
		r.mu.Unlock()
		if !slices.Equal(g.Meters, d.Meters) {
			return g, fmt.Errorf("cannot register counter group %q %s: %w, as %q", d.Title, d.GUID, ErrMeters, g.Title)
		}
		return g, nil
	}
	for _, alias := range d.Aliases {
		if other := r.byGUID[alias]; other != nil {
			r.mu.Unlock()
			return nil, fmt.Errorf("cannot register counter group %q: its alias %s is group %q", d.Title, alias, other.Title)
		}
	}
	g := newGroup(d, r.made)
	r.made++
	r.groups = append(r.groups, g)
	r.byGUID[d.GUID] = g
	for _, alias := range d.Aliases {
		r.byGUID[alias] = g
	}
	notify := slices.Clone(r.notify)
	r.mu.Unlock()
	for _, f := range notify {
		f(g)
	}
	return g, nil
}

// Remove takes a group away and tells those who asked by OnRemove: what is sent to it from now on is dropped, and its last window
// is flushed when that ends (specification 9). It reports whether there was such a group. The GUID may be registered again.
func (r *Registry) Remove(guid string) bool {
	r.mu.Lock()
	g := r.byGUID[strings.ToUpper(guid)]
	if g == nil {
		r.mu.Unlock()
		return false
	}
	r.groups = slices.DeleteFunc(slices.Clone(r.groups), func(other *Group) bool { return other == g })
	maps.DeleteFunc(r.byGUID, func(_ string, other *Group) bool { return other == g })
	g.gone.Store(true)
	parted := slices.Clone(r.parted)
	r.mu.Unlock()
	for _, f := range parted {
		f(g)
	}
	return true
}

// Lookup returns the group of a GUID or alias in any case, nil when there is none.
func (r *Registry) Lookup(guid string) *Group {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.byGUID[guid]; g != nil { // canonical already, as most are
		return g
	}
	return r.byGUID[strings.ToUpper(guid)]
}

// ByTitle returns the group with this title, else the first one whose title differs in case only; nil when there is none.
func (r *Registry) ByTitle(title string) *Group {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found *Group
	for _, g := range r.groups {
		if g.Title == title {
			return g
		}
		if found == nil && strings.EqualFold(g.Title, title) {
			found = g
		}
	}
	return found
}

// Groups returns all groups in the order of their registration.
func (r *Registry) Groups() []*Group {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.groups)
}

// OnRegister sets a function that is called, from the goroutine of Register, with each group registered from now on.
func (r *Registry) OnRegister(f func(*Group)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notify = append(r.notify, f)
}

// OnRemove sets a function that is called, from the goroutine of Remove, with each group taken away from now on.
func (r *Registry) OnRemove(f func(*Group)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parted = append(r.parted, f)
}
