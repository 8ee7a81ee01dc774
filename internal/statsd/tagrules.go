package statsd

import (
	"bytes"
	"slices"
)

// TagRule takes tags from the metrics of some names, so that their values add up over these tags. The gauge of several
// keys that become one has the value that came last.
type TagRule struct {
	Names []string // of metrics, "*" is any text; none are all
	Drop  []string // tags to lose
	Keep  []string // if there are any, all others are lost
}

// TagRules are rules of which the first that fits a name counts.
type TagRules struct{ rules []TagRule }

// NewTagRules returns rules, nil when there are none.
func NewTagRules(rules []TagRule) *TagRules {
	if len(rules) == 0 {
		return nil
	}
	return &TagRules{rules}
}

// apply returns key without what it loses, in the memory of key.
func (t *TagRules) apply(key []byte) []byte {
	name, tags, tagged := bytes.Cut(key, []byte{';'})
	if !tagged {
		return key
	}
	for i := range t.rules {
		if r := &t.rules[i]; r.fits(name) {
			out := key[:len(name)]
			for more := true; more; {
				var tag []byte
				tag, tags, more = bytes.Cut(tags, []byte{';'})
				if label, _, _ := bytes.Cut(tag, []byte{'='}); !r.loses(label) {
					out = append(append(out, ';'), tag...)
				}
			}
			return out
		}
	}
	return key
}

func (r *TagRule) fits(name []byte) bool {
	return len(r.Names) == 0 || slices.ContainsFunc(r.Names, func(pattern string) bool { return wild(pattern, name) })
}

func (r *TagRule) loses(tag []byte) bool {
	named := func(list []string) bool {
		return slices.ContainsFunc(list, func(name string) bool { return name == string(tag) })
	}
	return named(r.Drop) || len(r.Keep) > 0 && !named(r.Keep)
}

// wild reports whether pattern, in which "*" is any text, is the whole of name.
func wild(pattern string, name []byte) bool {
	p, n, star, from := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0: // the last star takes one byte more
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
