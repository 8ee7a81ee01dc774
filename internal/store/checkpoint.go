package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/weirhq/weir/internal/store/block"
)

// askCheckpoint has a checkpoint begin when none is running.
func (d *database) askCheckpoint() {
	select {
	case d.full <- struct{}{}:
	default:
	}
}

// checkpoints writes checkpoints when they are asked for.
func (d *database) checkpoints() {
	stopping, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		select {
		case <-d.broken:
		case <-d.quit:
		}
		stop()
	}()
	for {
		select {
		case <-d.full:
			err := d.checkpoint()
			if err == nil {
				err = d.rollDue(stopping)
			}
			if err != nil && d.err() == nil && stopping.Err() == nil {
				d.count.warn("cannot write points as blocks", "error", err.Error())
			}
		case <-d.broken:
			return
		case <-d.quit:
			return
		}
	}
}

// checkpointSeries is how many series are written in one batch: d.mu is not held
// longer than it takes to seal that many.
const checkpointSeries = 256

// checkpoint writes all rows in memory into their blocks and then drops the
// journal records that held them. Appends and queries go on meanwhile.
func (d *database) checkpoint() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	return d.checkpointLocked()
}

// checkpointLocked is checkpoint for those who hold d.writing.
func (d *database) checkpointLocked() error {
	if err := d.err(); err != nil {
		return err
	}
	d.mu.Lock()
	last := d.journal
	bytes := d.journalBytes
	d.round++
	unsaved := make([]*series, 0, len(d.dictionary.unsaved))
	for _, s := range d.dictionary.unsaved {
		unsaved = append(unsaved, s)
	}
	d.mu.Unlock()
	if last == d.checkpointed {
		return nil
	}
	if err := d.barrier(); err != nil { // records up to last are committed before they are dropped
		return err
	}
	slices.SortFunc(unsaved, func(a, b *series) int {
		if a.schema != b.schema {
			return int(a.schema.ID) - int(b.schema.ID)
		}
		if a.id < b.id {
			return -1
		}
		return 1
	})
	w := blockWriter{database: d, roller: roller{database: d}}
	for part := range slices.Chunk(unsaved, checkpointSeries) {
		if err := w.write(part); err != nil {
			return err
		}
	}
	batch := d.pebble.NewBatch()
	_ = batch.DeleteRange(journalKey(d.checkpointed+1), journalKey(last+1), nil)
	_ = batch.Set(metaCheckpoint, binary.BigEndian.AppendUint64(nil, last), nil)
	if err := d.apply(batch, false); err != nil {
		return err
	}
	batch.Close()
	d.mu.Lock()
	d.checkpointed = last
	d.journalBytes -= bytes
	d.evict()
	d.space.Broadcast()
	d.mu.Unlock()
	d.count.checkpoints.Add(1)
	return nil
}

// blockWriter turns sealed rows into blocks.
type blockWriter struct {
	*database
	roller  roller
	samples samples
	encoder block.Encoder
	columns []int
	scratch []int64
	key     []byte
	data    []byte
}

// write seals the rows of a few series, merges them into their blocks and commits
// these. The caller holds d.writing.
func (w *blockWriter) write(part []*series) error {
	size := 0
	w.mu.Lock()
	for _, s := range part {
		size += sizeOf(s.open)
		s.sealed, s.open = s.open, nil
	}
	w.memory -= size
	w.sealing += size
	w.mu.Unlock()

	batch := w.pebble.NewBatch()
	late := w.late(part)
	if len(late) > 0 {
		batch = w.pebble.NewIndexedBatch()
	}
	for _, s := range part {
		for i := range s.sealed { // nobody changes it but us
			if err := w.merge(batch, s, i); err != nil {
				w.fail("write a block", err) // the rows are in the journal: the next opening has them
				return err
			}
		}
	}
	for _, l := range late {
		sh := w.shapeOf(l.schema)
		if err := w.roller.again(batch, &sh, l.id, l.first, l.last); err != nil {
			w.fail("write a rollup", err)
			return err
		}
	}
	if err := w.apply(batch, false); err != nil {
		return err
	}
	batch.Close()

	if w.damage.any() {
		for _, s := range part {
			for i := range s.sealed {
				w.damage.remove(appendDataKey(nil, s.sealed[i].start, s.schema.ID, s.id))
			}
		}
	}
	w.mu.Lock()
	for _, s := range part {
		for i := range s.sealed {
			if s.newest != maxTime {
				s.newest = max(s.newest, s.sealed[i].start+1)
			}
		}
		s.sealed = nil
		if len(s.open) == 0 {
			delete(w.dictionary.unsaved, s.id)
		}
	}
	w.sealing -= size
	w.space.Broadcast()
	w.mu.Unlock()
	return nil
}

// late points of one series in one block: slots of tiers were made without them.
type late struct {
	*series
	first, last int64
}

// late finds them among the sealed rows of part.
func (w *blockWriter) late(part []*series) (found []late) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, s := range part {
		limit := s.schema.late()
		for i := range s.sealed {
			rows := &s.sealed[i]
			if rows.start >= limit {
				continue
			}
			first, last := rows.bounds()
			if first < limit {
				found = append(found, late{s, first, min(last, limit)})
			}
		}
	}
	return found
}

// merge puts the sealed rows number i of s into its block.
func (w *blockWriter) merge(batch *pebble.Batch, s *series, i int) error {
	rows := &s.sealed[i]
	w.key = appendDataKey(w.key[:0], rows.start, s.schema.ID, s.id)
	width := rows.width
	var stored block.Block
	if rows.start < s.newest {
		value, closer, err := w.readBlock(w.pebble, w.key)
		if err != nil {
			return fmt.Errorf("block at %d of %q: %w", rows.start, s.schema.Name, err)
		}
		if value != nil {
			defer closer.Close()
			if stored, err = block.Parse(value, rows.start); err != nil {
				w.setAside(batch, w.key, value, err)
			}
			width = max(width, stored.Metrics)
		}
	}
	for len(w.columns) < width {
		w.columns = append(w.columns, len(w.columns))
	}
	w.samples.reset(width)
	if stored.Rows > 0 {
		if err := w.addBlock(&stored, w.columns[:width]); err != nil {
			value, closer, getErr := w.pebble.Get(w.key)
			if getErr != nil {
				return getErr
			}
			w.setAside(batch, w.key, value, err)
			closer.Close()
			w.samples.reset(width)
		}
	}
	w.samples.addOpen(rows, w.columns[:width])
	w.samples.settle()
	w.data = w.encoder.Append(w.data[:0], rows.start, w.samples.times, w.samples.values)
	w.count.blocks.Add(1)
	return batch.Set(w.key, w.data, nil)
}

func (w *blockWriter) addBlock(b *block.Block, columns []int) (err error) {
	w.scratch, err = w.samples.addBlock(b, columns, w.scratch)
	return err
}
