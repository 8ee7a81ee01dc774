// Package tags reads the tags in StatsD's keys, for backends whose targets know tags.
package tags

import (
	"slices"
	"strings"
)

// Tag is a tag of a metric. One without "=" has the value "true", since
// targets take an empty value for a tag that is not there; so does one with nothing after it.
type Tag struct{ Name, Value string }

// Split returns the name in a key "name;tag=value;tag=value" and appends its tags to dst, sorted
// by name. The last of two tags with one name wins; those without a name are left out.
func Split(dst []Tag, key string) (name string, _ []Tag) {
	name, rest, more := strings.Cut(key, ";")
	first := len(dst)
	for more {
		var text string
		text, rest, more = strings.Cut(rest, ";")
		t := Tag{Value: "true"}
		var value string
		if t.Name, value, _ = strings.Cut(text, "="); t.Name == "" {
			continue
		}
		if value != "" {
			t.Value = value
		}
		dst = Set(dst, first, t)
	}
	return name, dst
}

// Set puts t where it belongs in list, whose elements from first on are sorted, in
// the place of one with its name.
func Set(list []Tag, first int, t Tag) []Tag {
	at, found := slices.BinarySearchFunc(list[first:], t.Name, func(other Tag, name string) int { return strings.Compare(other.Name, name) })
	if found {
		list[first+at] = t
		return list
	}
	return slices.Insert(list, first+at, t)
}

// Plain reports whether no other key has the name and the tags of key: they are
// sorted, each is there once, and each has a value.
func Plain(key string) bool {
	_, rest, more := strings.Cut(key, ";")
	last := ""
	for more {
		var text string
		text, rest, more = strings.Cut(rest, ";")
		name, value, _ := strings.Cut(text, "=")
		if name <= last || value == "" {
			return false
		}
		last = name
	}
	return true
}
