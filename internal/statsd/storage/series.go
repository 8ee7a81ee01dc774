package storage

import (
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// A StatsD key is "name;tag;tag". Keys that differ only in the order of their
// tags are different metrics to StatsD and one series here: its tags are sorted
// by what stands before "=", the last of two with one name wins, and empty ones
// are left out. This form is called canonical.

// split returns the two parts of a key.
func split(key string) (name, tags string) {
	name, tags, _ = strings.Cut(key, ";")
	return name, tags
}

// acceptable reports whether key can be stored: the parts a driver keeps are
// bounded, and a key too long for it is not worth sorting either.
func acceptable(key string) bool {
	name, tags := split(key)
	return len(name) <= timeseries.MaxTagValue && len(tags) <= timeseries.MaxTagValue && !strings.ContainsAny(key, "\n\x00")
}

// isCanonical reports whether key is canonical as it stands, as nearly all are.
func isCanonical(key string) bool {
	i := strings.IndexByte(key, ';')
	if i < 0 {
		return true
	}
	previous, first := "", true
	for rest, more := key[i+1:], true; more; {
		var tag string
		tag, rest, more = strings.Cut(rest, ";")
		name, _, _ := strings.Cut(tag, "=")
		if tag == "" || !first && name <= previous {
			return false
		}
		previous, first = name, false
	}
	return true
}

// canonical returns the canonical form of key.
func canonical(key string) string {
	if isCanonical(key) {
		return key
	}
	name, rest, _ := strings.Cut(key, ";")
	var room [16]string
	tags := room[:0]
	for more := true; more; {
		var tag string
		if tag, rest, more = strings.Cut(rest, ";"); tag == "" {
			continue
		}
		at, found := len(tags), false
		for at > 0 && !found && tagName(tags[at-1]) >= tagName(tag) {
			at--
			found = tagName(tags[at]) == tagName(tag)
		}
		if found {
			tags[at] = tag
			continue
		}
		tags = append(tags, "")
		copy(tags[at+1:], tags[at:])
		tags[at] = tag
	}
	var b strings.Builder
	b.Grow(len(key))
	b.WriteString(name)
	for _, tag := range tags {
		b.WriteByte(';')
		b.WriteString(tag)
	}
	return b.String()
}

func tagName(tag string) string {
	name, _, _ := strings.Cut(tag, "=")
	return name
}

// packed is the text of a packed tag that stands for StatsD's tags as they came,
// nearly always the same text. StatsD knows no escapes, so a "\" before a
// character that has one is doubled, with all others of the text.
func packed(tags string) string {
	for i := strings.IndexByte(tags, '\\'); i >= 0 && i+1 < len(tags); i++ {
		if tags[i] == '\\' && strings.IndexByte(`\;=`, tags[i+1]) >= 0 {
			return strings.ReplaceAll(tags, `\`, `\\`)
		}
	}
	return tags
}
