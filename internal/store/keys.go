package store

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// The first byte of a key is what the record is; the rest is big endian, so that
// keys sort by their numbers.
const (
	keyMeta       = 0x01 // name -> counters of the dictionary, last checkpoint
	keySchema     = 0x02 // schema(4) -> definition
	keySeries     = 0x03 // schema(4) series(8) -> first block start, tag values
	keyLookup     = 0x04 // hash of schema and tags(8) -> ids of the series with it
	keyIndex      = 0x05 // schema(4) field value 0 series(8) -> nothing
	keyJournal    = 0x06 // sequence number(8) -> points of one append
	keyData       = 0x10 // tier(1) block start(8) schema(4) series(8) -> block
	keyQuarantine = 0x7f // time(8) key -> what stood there and could not be read
)

// tierRaw are the points as they were appended. Other tiers are rollups.
const tierRaw = 0

// packedField is the field of an index key that stands for a key inside the
// packed tag; smaller ones are the number of a tag.
const packedField = 0xff

const dataKeySize = 2 + 8 + 4 + 8

var (
	metaSeries     = []byte{keyMeta, 's'} // next series id, number of series
	metaCheckpoint = []byte{keyMeta, 'c'} // journal records up to it are in blocks
)

func schemaKey(schema uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{keySchema}, schema)
}

func seriesKey(schema uint32, id uint64) []byte {
	return binary.BigEndian.AppendUint64(seriesPrefix(schema), id)
}

func seriesPrefix(schema uint32) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, 13), keySeries), schema)
}

func lookupKey(hash uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), keyLookup), hash)
}

func journalKey(sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), keyJournal), sequence)
}

// appendDataKey appends the key of a block. Times are never negative.
func appendDataKey(dst []byte, start int64, schema uint32, id uint64) []byte {
	return appendTierKey(dst, tierRaw, start, schema, id)
}

// appendTierKey appends the key of a block of a tier.
func appendTierKey(dst []byte, tier byte, start int64, schema uint32, id uint64) []byte {
	dst = append(dst, keyData, tier)
	dst = binary.BigEndian.AppendUint64(dst, uint64(start))
	dst = binary.BigEndian.AppendUint32(dst, schema)
	return binary.BigEndian.AppendUint64(dst, id)
}

// dataKeySeries is the series of a data key.
func dataKeySeries(key []byte) uint64 { return binary.BigEndian.Uint64(key[dataKeySize-8:]) }

// indexPrefix is the start of the index keys of series whose tag number field,
// or key inside the packed tag, has that value. Values never hold a NUL.
func indexPrefix(dst []byte, schema uint32, c condition) []byte {
	dst = append(dst, keyIndex)
	dst = binary.BigEndian.AppendUint32(dst, schema)
	if c.tag < 0 {
		dst = append(dst, packedField)
		dst = append(dst, c.key...)
		dst = append(dst, 0)
	} else {
		dst = append(dst, byte(c.tag))
	}
	dst = append(dst, c.value...)
	return append(dst, 0)
}

// within are the bounds of an iterator over the keys that begin with prefix.
func within(prefix []byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)}
}

// after is the smallest key behind all that begin with prefix; no prefix is all 0xff.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
