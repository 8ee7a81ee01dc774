package event

import (
	"slices"
	"strings"
)

// Filter is the category filter of a pipeline (specification 1.10). The zero
// Filter lets everything pass that scripts may see.
type Filter struct {
	some bool         // only what the masks allow
	mask [8]uint64    // by category: a bit for each element the catalogue has
	all  map[int]bool // whole categories
}

// ParseFilters reads category names ("neb"), names of events ("neb:host_status",
// "neb:ServiceStatus") and "all". It returns the entries that are neither; they
// are ignored, and when no entry is valid everything passes.
func ParseFilters(names []string) (f *Filter, unknown []string) {
	f = &Filter{all: map[int]bool{}}
	everything := false
	for _, name := range names {
		if name == "all" {
			everything = true
			continue
		}
		category, filter, single := strings.Cut(name, ":")
		number, ok := categoryNumber(category)
		switch {
		case !ok:
			unknown = append(unknown, name)
		case !single:
			f.some, f.all[number] = true, true
		case !f.add(number, filter):
			unknown = append(unknown, name)
		}
	}
	if everything {
		f.some = false
	}
	return f, unknown
}

// add lets the events of a category with a name pass.
func (f *Filter) add(category int, name string) (found bool) {
	for _, d := range catalogue.events {
		if d.Type.Category() == category && d.Filter == name {
			f.mask[category] |= 1 << d.Type.Element()
			f.some, found = true, true
		}
	}
	return found
}

// FilterNames are the names ParseFilters knows: categories, and then events.
func FilterNames() []string {
	names := []string{"all"}
	var events []string
	for n, category := range catalogue.categories {
		names = append(names, category)
		for _, d := range catalogue.events {
			if d.Type.Category() == n && d.Filter != "" {
				events = append(events, category+":"+d.Filter)
			}
		}
	}
	slices.Sort(names)
	slices.Sort(events)
	return append(names, slices.Compact(events)...)
}

func categoryNumber(name string) (int, bool) {
	for n, s := range catalogue.categories {
		if s == name {
			return n, true
		}
	}
	return 0, false
}

// Match reports whether a script with this filter is given events of a type.
// Categories scripts never see (control messages, test traffic, events inside a
// process) do not pass any filter.
func (f *Filter) Match(t Type) bool {
	category, element := t.Category(), t.Element()
	switch category {
	case 2, 8, 9, 65535:
		return false
	}
	if !f.some || f.all[category] {
		return true
	}
	return category < len(f.mask) && element < 64 && f.mask[category]&(1<<element) != 0
}
