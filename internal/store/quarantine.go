package store

import (
	"bytes"
	"encoding/binary"
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
	d.count.warn("a record cannot be read and is set aside", "key", key, "bytes", len(value), "error", why)
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
