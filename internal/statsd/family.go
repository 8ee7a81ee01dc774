package statsd

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/telemetry"
)

// bucketTag is what the bucket of a family has in the place of tags.
const bucketTag = ";overflow=true"

// family is the metrics of one kind and name that differ in their tags. Only
// names that are new are held against its budget, so known ones cost nothing.
type family struct {
	name   string // without tags
	kind   Kind
	sets   int     // metrics in it, without the bucket
	bucket *metric // for values over the budget, nil before there are any
	values int64   // that went to the bucket since the family exists
}

// full reports whether a name that is not there yet is over the budget. The bucket itself never is.
func (f *family) full(name []byte, limit int) bool {
	return f.sets >= limit && string(name[len(f.name):]) != bucketTag
}

// families are all of an aggregator. Its methods are called with names.mu held.
type families struct {
	limit  int // sets of tags of each; 0 means no bound, and then none is kept
	byName [kinds]map[string]*family
}

// find returns the family of a name, nil when there is none.
func (fs *families) find(kind Kind, name []byte) *family {
	if fs.limit == 0 {
		return nil
	}
	at := bytes.IndexByte(name, ';')
	if at < 0 {
		return nil
	}
	return fs.byName[kind][string(name[:at])]
}

// join enters m in its family, if it has tags.
func (fs *families) join(m *metric) {
	at := strings.IndexByte(m.name, ';')
	if fs.limit == 0 || at < 0 {
		m.family = nil
		return
	}
	f := fs.byName[m.kind][m.name[:at]]
	if f == nil {
		f = &family{name: m.name[:at], kind: m.kind}
		if fs.byName[m.kind] == nil {
			fs.byName[m.kind] = make(map[string]*family)
		}
		fs.byName[m.kind][f.name] = f
	}
	m.family = f
	if m.name[at:] == bucketTag {
		f.bucket = m
	} else {
		f.sets++
	}
}

// leave takes m out of its family and forgets one without members.
func (fs *families) leave(m *metric) {
	f := m.family
	if f == nil {
		return
	}
	m.family = nil
	if f.bucket == m {
		f.bucket = nil
	} else {
		f.sets--
	}
	if f.sets > 0 || f.bucket != nil {
		return
	}
	delete(fs.byName[f.kind], f.name)
	if len(fs.byName[f.kind]) == 0 {
		fs.byName[f.kind] = nil // a map never shrinks
	}
}

// setLimit changes the budget. Metrics that are there stay, however many.
func (fs *families) setLimit(limit int, metrics *[kinds]map[string]*metric) {
	before := fs.limit
	fs.limit = limit
	if (before == 0) == (limit == 0) {
		return
	}
	fs.byName = [kinds]map[string]*family{}
	for _, all := range metrics {
		for _, m := range all {
			fs.join(m)
		}
	}
}

// offenders are the families that spent their budget, the ones with most values in their bucket first.
func (n *names) offenders() []telemetry.Offender {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*family
	for _, byName := range n.families.byName {
		for _, f := range byName {
			if f.values > 0 {
				all = append(all, f)
			}
		}
	}
	slices.SortFunc(all, func(x, y *family) int {
		return cmp.Or(cmp.Compare(y.values, x.values), strings.Compare(x.name, y.name), cmp.Compare(x.kind, y.kind))
	})
	var worst []telemetry.Offender
	for _, f := range all[:min(len(all), telemetry.MaxOffenders)] {
		worst = append(worst, telemetry.Offender{Name: f.kind.String() + " " + shorten([]byte(f.name)), Items: f.values})
	}
	return worst
}
