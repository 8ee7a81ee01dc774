package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// setAside moves what stands at key, which cannot be read, under a quarantine
// key, counts and reports it. The batch is committed by the caller.
func (d *database) setAside(batch *pebble.Batch, key, value []byte, why error) {
	aside := binary.BigEndian.AppendUint64([]byte{keyQuarantine}, uint64(time.Now().UnixNano()))
	_ = batch.Set(append(aside, key...), value, nil)
	_ = batch.Delete(key, nil)
	d.count.quarantined.Add(1)
	d.count.warn("a record cannot be read and is set aside", "key", key, "bytes", len(value), "error", why.Error())
}

// quarantine sets aside what stands at key. The caller holds d.writing, or nothing else runs.
func (d *database) quarantine(key, value []byte, why error) error {
	batch := d.pebble.NewBatch()
	d.setAside(batch, key, value, why)
	return d.apply(batch, true)
}

// damaged is called by a reader that met a block it cannot decode. The block is
// set aside unless blocks are being written right now; then the next reader does it.
func (d *database) damaged(key, value []byte, why error) {
	if !d.writing.TryLock() {
		return
	}
	defer d.writing.Unlock()
	now, closer, err := d.pebble.Get(key)
	if err != nil {
		return
	}
	same := bytes.Equal(now, value)
	closer.Close()
	if same {
		_ = d.quarantine(key, value, why) // fails only with the database, which is reported
	}
}

// damage are keys that lie in damaged parts of tables. Pebble takes up to a tenth of
// a second to find that out, so it is not asked twice.
type damage struct {
	mu   sync.RWMutex
	keys map[string]struct{}
}

// maxDamage is how many keys are remembered.
const maxDamage = 100_000

// any reports whether there are any.
func (g *damage) any() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.keys) > 0
}

// has reports whether key is one of them.
func (g *damage) has(key []byte) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	_, ok := g.keys[string(key)]
	return ok
}

func (g *damage) add(key []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keys == nil {
		g.keys = make(map[string]struct{})
	}
	if len(g.keys) < maxDamage {
		g.keys[string(key)] = struct{}{}
	}
}

// remove forgets a key whose value was written anew.
func (g *damage) remove(key []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.keys, string(key))
}

// readBlock reads what stands at key in the database, or a batch before it; nil when there is nothing, or when it lies in a
// damaged part of a table, which is counted and reported and stays where it is. The
// closer is to be closed when it is not nil.
func (d *database) readBlock(from getter, key []byte) ([]byte, io.Closer, error) {
	if d.damage.any() && d.damage.has(key) {
		d.count.unreadable.Add(1)
		return nil, nil, nil
	}
	value, closer, err := from.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, nil, nil
	case pebble.IsCorruptionError(err):
		d.count.unreadable.Add(1)
		d.damage.add(key)
		d.count.warn("a block lies in a damaged part of a table and is left out", "error", err.Error())
		return nil, nil, nil
	}
	return value, closer, err
}

// countQuarantined counts what earlier runs set aside.
func (d *database) countQuarantined() (n int64, err error) {
	it, err := d.pebble.NewIter(within([]byte{keyQuarantine}))
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		n++
	}
	return n, it.Error()
}
