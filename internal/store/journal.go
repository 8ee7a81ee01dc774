package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// A journal record holds the points of one append:
//
//	version                 1 byte
//	per point: 0 schema width   uvarints, before the first point and wherever they change
//	           1 + zigzag of the series id minus the one before   uvarint
//	           time minus the one before                          varint
//	           width values (see appendValue)
//
// Replaying records in order over blocks that already hold some of their points
// ends in the same state, so a checkpoint need not be atomic.
const journalVersion = 1

// journalWriter writes one record.
type journalWriter struct {
	data   []byte
	schema uint32
	width  int
	id     uint64
	time   int64
}

func (w *journalWriter) reset() {
	*w = journalWriter{data: append(w.data[:0], journalVersion)}
}

func (w *journalWriter) empty() bool { return len(w.data) <= 1 }

func (w *journalWriter) add(schema uint32, id uint64, t int64, row []float64) {
	if schema != w.schema || len(row) != w.width {
		w.data = append(w.data, 0)
		w.data = binary.AppendUvarint(w.data, uint64(schema))
		w.data = binary.AppendUvarint(w.data, uint64(len(row)))
		w.schema, w.width = schema, len(row)
	}
	delta := int64(id - w.id)
	w.data = binary.AppendUvarint(w.data, (uint64(delta)<<1^uint64(delta>>63))+1)
	w.data = binary.AppendVarint(w.data, t-w.time)
	w.id, w.time = id, t
	for _, v := range row {
		w.data = appendValue(w.data, v)
	}
}

// The low two bits of a value say what it is.
const (
	valueWhole = iota // a whole number, zigzag, above them
	valueBits         // 8 bytes follow
	valueNaN
)

func appendValue(dst []byte, v float64) []byte {
	n := int64(v)
	switch {
	case math.Float64bits(float64(n)) == math.Float64bits(v) && n < 1<<53 && n > -1<<53:
		return binary.AppendUvarint(dst, (uint64(n)<<1^uint64(n>>63))<<2) // valueWhole is 0
	case v != v:
		return append(dst, valueNaN)
	default:
		return binary.LittleEndian.AppendUint64(append(dst, valueBits), math.Float64bits(v))
	}
}

var errJournal = errors.New("corrupt journal record")

// readJournal calls add for every point of a record. row is only valid during the call.
func readJournal(data []byte, add func(schema uint32, id uint64, t int64, row []float64) error) error {
	if len(data) == 0 || data[0] != journalVersion {
		return fmt.Errorf("%w: version", errJournal)
	}
	data = data[1:]
	bad := false
	uvarint := func() uint64 {
		x, n := binary.Uvarint(data)
		if n <= 0 {
			bad = true
			return 0
		}
		data = data[n:]
		return x
	}
	var schema uint32
	var id uint64
	var t int64
	var row []float64
	for len(data) > 0 {
		x := uvarint()
		if x == 0 {
			schema = uint32(uvarint())
			width := uvarint()
			if bad || width < 1 || width > uint64(len(data)) {
				return fmt.Errorf("%w: width", errJournal)
			}
			row = make([]float64, width)
			continue
		}
		x--
		id += uint64(int64(x>>1) ^ -int64(x&1))
		delta := uvarint()
		t += int64(delta>>1) ^ -int64(delta&1)
		for i := range row {
			switch x := uvarint(); x & 3 {
			case valueWhole:
				x >>= 2
				row[i] = float64(int64(x>>1) ^ -int64(x&1))
			case valueNaN:
				row[i] = math.NaN()
			default:
				if len(data) < 8 {
					return fmt.Errorf("%w: cut short", errJournal)
				}
				row[i] = math.Float64frombits(binary.LittleEndian.Uint64(data))
				data = data[8:]
			}
		}
		if bad || len(row) == 0 || t < 0 {
			return fmt.Errorf("%w: point", errJournal)
		}
		if err := add(schema, id, t, row); err != nil {
			return err
		}
	}
	return nil
}

// replay puts the points of all journal records that are not in blocks yet into
// memory. It runs before anything else uses d.
func (d *database) replay() error {
	it, err := d.pebble.NewIter(&pebble.IterOptions{LowerBound: journalKey(d.checkpointed + 1), UpperBound: after([]byte{keyJournal})})
	if err != nil {
		return err
	}
	defer it.Close()
	known := make(map[uint64]*series) // nil for those that were deleted since
	for it.First(); it.Valid(); it.Next() {
		sequence := binary.BigEndian.Uint64(it.Key()[1:])
		value := it.Value()
		d.journal = sequence
		d.journalBytes += len(value)
		err := readJournal(value, func(schemaID uint32, id uint64, t int64, row []float64) error {
			s, ok := known[id]
			if !ok {
				var err error
				if s, err = d.replaySeries(schemaID, id); err != nil {
					return err
				}
				known[id] = s
			}
			if s != nil {
				d.addRow(s, t, row)
			}
			return nil
		})
		if errors.Is(err, errJournal) {
			err = d.quarantine(it.Key(), value, err)
		}
		if err != nil {
			return err
		}
	}
	return it.Error()
}

// replaySeries finds the series of a journal record, nil when it was deleted.
func (d *database) replaySeries(schemaID uint32, id uint64) (*series, error) {
	sc := d.schemaByID[schemaID]
	if sc == nil {
		return nil, nil
	}
	s, err := d.loadSeries(sc, id)
	if s != nil {
		d.remember(hashOf(s), s)
	}
	return s, err
}
