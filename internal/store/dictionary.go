package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"github.com/weirhq/weir/timeseries"
)

// series is one combination of tag values of a schema. Its fields are guarded
// by database.mu.
type series struct {
	id     uint64
	schema *schema
	tags   string  // as encodeTags wrote them
	first  int64   // start of its first block: a search for what was before ends here
	newest int64   // no block from here on is in the database; unknown after a restart, then maxTime
	next   *series // another one with the same hash
	used   uint32  // checkpoint during which it was last appended to

	open   []openBlock // rows that are in no block yet
	sealed []openBlock // rows that a checkpoint is writing now
}

const maxTime = 1<<63 - 1

// dictionary are the series in memory: those appended to lately, and all that
// have rows in memory.
type dictionary struct {
	byHash  map[uint64]*series
	unsaved map[uint64]*series // by id, those with rows in memory
	inside  int                // series in byHash
	scratch []byte
}

// encodeTags writes tag values one after the other, each behind its length.
func encodeTags(dst []byte, tags []string) []byte {
	for _, tag := range tags {
		dst = binary.AppendUvarint(dst, uint64(len(tag)))
		dst = append(dst, tag...)
	}
	return dst
}

// decodeTags appends the n tag values in data to dst.
func decodeTags(dst []string, data string, n int) ([]string, error) {
	for range n {
		// A length is at most MaxPacked: two bytes of uvarint.
		size, width := 0, 1
		switch {
		case len(data) > 0 && data[0] < 0x80:
			size = int(data[0])
		case len(data) > 1 && data[1] < 0x80:
			size, width = int(data[0]&0x7f)|int(data[1])<<7, 2
		default:
			return dst, errors.New("tags are cut short")
		}
		if size > len(data)-width {
			return dst, errors.New("tags are cut short")
		}
		dst = append(dst, data[width:width+size])
		data = data[width+size:]
	}
	if data != "" {
		return dst, errors.New("more tags than the schema has")
	}
	return dst, nil
}

// hashTags hashes a schema and its encoded tags.
func (d *database) hashTags(sc *schema, tags []string) (hash uint64, encoded []byte) {
	buf := binary.BigEndian.AppendUint32(d.dictionary.scratch[:0], sc.ID)
	buf = encodeTags(buf, tags)
	d.dictionary.scratch = buf
	return xxhash.Sum64(buf), buf[4:]
}

func hashOf(s *series) uint64 {
	buf := binary.BigEndian.AppendUint32(nil, s.schema.ID)
	return xxhash.Sum64(append(buf, s.tags...))
}

// find returns the series with these tags, nil when there is none in memory.
func (d *database) find(sc *schema, hash uint64, encoded []byte) *series {
	for s := d.dictionary.byHash[hash]; s != nil; s = s.next {
		if s.schema == sc && s.tags == string(encoded) {
			return s
		}
	}
	return nil
}

// remember puts s into the dictionary.
func (d *database) remember(hash uint64, s *series) {
	s.next = d.dictionary.byHash[hash]
	d.dictionary.byHash[hash] = s
	d.dictionary.inside++
	s.used = d.round
}

// forget takes s out of the dictionary.
func (d *database) forget(s *series) {
	hash := hashOf(s)
	var kept *series
	for t := d.dictionary.byHash[hash]; t != nil; {
		next := t.next
		if t == s {
			d.dictionary.inside--
		} else {
			t.next = kept
			kept = t
		}
		t = next
	}
	if kept == nil {
		delete(d.dictionary.byHash, hash)
	} else {
		d.dictionary.byHash[hash] = kept
	}
}

// evict forgets series that were not appended to for a round and have no rows in
// memory, when there are more than the limit. The caller holds d.mu, and
// everything appended so far has been committed.
func (d *database) evict() {
	if d.dictionary.inside <= d.limits.resident {
		return
	}
	for hash, s := range d.dictionary.byHash {
		var kept *series
		for s != nil {
			next := s.next
			if s.used+1 >= d.round || len(s.open)+len(s.sealed) > 0 {
				s.next = kept
				kept = s
			} else {
				d.dictionary.inside--
			}
			s = next
		}
		if kept == nil {
			delete(d.dictionary.byHash, hash)
		} else {
			d.dictionary.byHash[hash] = kept
		}
		if d.dictionary.inside <= d.limits.resident*3/4 {
			return
		}
	}
}

// load looks for a series in the database and puts it into the dictionary; nil
// when there is none.
func (d *database) load(sc *schema, hash uint64, encoded []byte) (*series, error) {
	ids, err := d.lookup(hash)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if d.removed[id] {
			continue
		}
		s, err := d.loadSeries(sc, id)
		if err != nil {
			return nil, err
		}
		if s != nil && s.tags == string(encoded) {
			d.remember(hash, s)
			return s, nil
		}
	}
	return nil, nil
}

// lookup returns the ids of the series with that hash.
func (d *database) lookup(hash uint64) ([]uint64, error) {
	value, closer, err := d.pebble.Get(lookupKey(hash))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up a series: %w", err)
	}
	defer closer.Close()
	var ids []uint64
	for rest := value; len(rest) >= 8; rest = rest[8:] {
		ids = append(ids, binary.BigEndian.Uint64(rest))
	}
	return ids, nil
}

// loadSeries reads the record of a series; nil when there is none of that schema.
func (d *database) loadSeries(sc *schema, id uint64) (*series, error) {
	value, closer, err := d.pebble.Get(seriesKey(sc.ID, id))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read a series of %q: %w", sc.Name, err)
	}
	defer closer.Close()
	first, tags, err := decodeSeries(value)
	if err != nil {
		return nil, fmt.Errorf("cannot read a series of %q: %w", sc.Name, err)
	}
	return &series{id: id, schema: sc, tags: string(tags), first: first, newest: maxTime}, nil
}

// encodeSeries is the record of a series.
func encodeSeries(s *series) []byte {
	return append(binary.AppendUvarint(nil, uint64(s.first)), s.tags...)
}

func decodeSeries(value []byte) (first int64, tags []byte, err error) {
	x, n := binary.Uvarint(value)
	if n <= 0 {
		return 0, nil, errors.New("its record is cut short")
	}
	return int64(x), value[n:], nil
}

// resolve returns the series of a point, creating it when it is new. The caller holds d.mu.
func (d *database) resolve(g *group, sc *schema, p *timeseries.Point) (*series, error) {
	hash, encoded := d.hashTags(sc, p.Tags)
	if s := d.find(sc, hash, encoded); s != nil {
		return s, nil
	}
	if err := p.Validate(); err != nil { // known tags were checked when they were new
		return nil, err
	}
	if int64(d.dictionary.inside) < d.seriesCount {
		if s, err := d.load(sc, hash, encoded); s != nil || err != nil {
			return s, err
		}
	}
	if d.limits.series > 0 && d.seriesCount >= int64(d.limits.series) {
		return nil, fmt.Errorf("cannot append to %q: series %s would be new, but there are %d already: %w", sc.Name, describe(sc.Tags, p.Tags), d.seriesCount, timeseries.ErrFull)
	}
	s := &series{id: d.nextSeries, schema: sc, tags: string(encoded), first: sc.start(p.Time), newest: 0}
	d.nextSeries++
	d.seriesCount++
	ids, err := d.sharing(hash)
	if err != nil {
		return nil, err
	}
	d.remember(hash, s)
	g.set(lookupKey(hash), encodeIDs(append(ids, s.id)))
	g.set(seriesKey(sc.ID, s.id), encodeSeries(s))
	g.changed = true
	d.indexSeries(s, p.Tags, g.set1)
	return s, nil
}

// sharing returns the ids of all series with that hash, in memory or not.
func (d *database) sharing(hash uint64) ([]uint64, error) {
	var ids []uint64
	if int64(d.dictionary.inside) < d.seriesCount-1 {
		known, err := d.lookup(hash)
		if err != nil {
			return nil, err
		}
		ids = known
	}
	for s := d.dictionary.byHash[hash]; s != nil; s = s.next {
		if !slices.Contains(ids, s.id) {
			ids = append(ids, s.id)
		}
	}
	return ids, nil
}

func encodeIDs(ids []uint64) []byte {
	data := make([]byte, 0, 8*len(ids))
	for _, id := range ids {
		data = binary.BigEndian.AppendUint64(data, id)
	}
	return data
}

// remove deletes the records of a series through the batch of g; when that is
// committed, the caller takes the id out of d.removed. The caller holds d.mu, and
// d.writing so that no checkpoint is writing rows of it.
func (d *database) remove(g *group, sc *schema, id uint64, encoded string) error {
	tags, err := decodeTags(nil, encoded, len(sc.Tags))
	if err != nil {
		return err
	}
	hash, _ := d.hashTags(sc, tags)
	s := d.find(sc, hash, []byte(encoded))
	if s != nil && s.id == id {
		d.memory -= sizeOf(s.open)
		delete(d.dictionary.unsaved, id)
		d.forget(s)
	} else {
		s = &series{id: id, schema: sc, tags: encoded}
	}
	ids, err := d.sharing(hash)
	if err != nil {
		return err
	}
	if ids = slices.DeleteFunc(ids, func(other uint64) bool { return other == id }); len(ids) > 0 {
		g.set(lookupKey(hash), encodeIDs(ids))
	} else {
		g.delete(lookupKey(hash))
	}
	g.delete(seriesKey(sc.ID, id))
	d.indexSeries(s, tags, g.delete)
	d.seriesCount--
	d.removed[id] = true
	g.changed = true
	return nil
}
