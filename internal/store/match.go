package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// matcher walks over the series of a schema that meet all conditions, in the
// order of their ids, from the index and the series records. It sees what was
// committed when it was made.
type matcher struct {
	schema   *schema
	postings []posting // one per condition
	records  posting   // the series records
	next     uint64

	id    uint64
	first int64
	tags  []string // valid until the next call
	err   error
}

// posting is an iterator over keys that begin with prefix and end with an id.
type posting struct {
	it     *pebble.Iterator
	prefix []byte
	key    []byte
}

// seek moves to the first id that is at least id.
func (p *posting) seek(id uint64) (uint64, bool) {
	if p.it.Valid() {
		at := idOf(p.it.Key())
		if at < id && p.it.Next() {
			at = idOf(p.it.Key())
		}
		if p.it.Valid() && at >= id {
			return at, true
		}
	}
	p.key = binary.BigEndian.AppendUint64(append(p.key[:0], p.prefix...), id)
	if !p.it.SeekGE(p.key) {
		return 0, false
	}
	return idOf(p.it.Key()), true
}

func idOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// match returns a matcher of the series with ids from from on. It has to be closed.
func (d *database) match(sc *schema, conditions []condition, from uint64) (*matcher, error) {
	m := &matcher{schema: sc, next: from}
	open := func(prefix []byte) (posting, error) {
		it, err := d.pebble.NewIter(within(prefix))
		return posting{it: it, prefix: prefix}, err
	}
	var err error
	for _, c := range conditions {
		p, err := open(indexPrefix(nil, sc.ID, c))
		if err != nil {
			m.close()
			return nil, err
		}
		m.postings = append(m.postings, p)
	}
	if m.records, err = open(seriesPrefix(sc.ID)); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// step moves to the next series; false at the end or on an error.
func (m *matcher) step() bool {
	for {
		id := m.next
		for agreed := 0; agreed < len(m.postings); {
			p := &m.postings[agreed]
			at, ok := p.seek(id)
			if !ok {
				m.err = p.it.Error()
				return false
			}
			if at == id {
				agreed++
			} else {
				id, agreed = at, 0
			}
		}
		found, ok := m.records.seek(id)
		if !ok {
			m.err = m.records.it.Error()
			return false
		}
		if found != id && len(m.postings) > 0 { // between index and records it was deleted
			m.next = found
			continue
		}
		first, tags, err := decodeSeries(m.records.it.Value())
		if err == nil {
			m.tags, err = decodeTags(m.tags[:0], string(tags), len(m.schema.Tags))
		}
		if err != nil {
			m.err = fmt.Errorf("cannot read series %d of %q: %w", found, m.schema.Name, err)
			return false
		}
		m.id, m.first, m.next = found, first, found+1
		return true
	}
}

func (m *matcher) close() {
	for _, p := range m.postings {
		p.it.Close()
	}
	if m.records.it != nil {
		m.records.it.Close()
	}
}

// locate finds a single series by all its tags; id is 0 when there is none.
func (d *database) locate(sc *schema, tags []string) (id uint64, first int64, err error) {
	buf := encodeTags(binary.BigEndian.AppendUint32(nil, sc.ID), tags)
	hash, encoded := xxhash.Sum64(buf), buf[4:]
	d.mu.RLock()
	s := d.find(sc, hash, encoded)
	complete := int64(d.dictionary.inside) == d.seriesCount
	if s != nil {
		id, first = s.id, s.first
	}
	d.mu.RUnlock()
	if s != nil || complete {
		return id, first, nil
	}
	ids, err := d.lookup(hash)
	if err != nil {
		return 0, 0, err
	}
	for _, id := range ids {
		s, err := d.loadSeries(sc, id)
		if err != nil {
			return 0, 0, err
		}
		if s != nil && s.tags == string(encoded) {
			return s.id, s.first, nil
		}
	}
	return 0, 0, nil
}
