package monitor

import (
	"fmt"
	"math"
	"strings"

	"github.com/weirhq/weir/internal/countergroup"
)

// Updates reads a KindUpdates, the counter updates of one instance:
//
//	u32 instance, u16 number of GUIDs, GUIDs of 38 bytes, and to the end:
//	f64 value, u16 GUID, u16 meter, u16 length of the key, key
//
// The script's process made it: nothing in it is taken for granted.
type Updates struct {
	Instance int
	GUIDs    []string // canonical

	// The update that Next found. Key is valid while the payload is.
	GUID  int // index in GUIDs
	Meter int
	Key   []byte // 1 to countergroup.MaxKey bytes
	Value float64

	rest []byte
	err  error
}

const (
	guidSize   = 38
	updateSize = 14
)

// DecodeUpdates begins to read.
func DecodeUpdates(payload []byte) (*Updates, error) {
	if len(payload) < 6 {
		return nil, fmt.Errorf("cannot read updates of a script: they have %d bytes", len(payload))
	}
	u := &Updates{Instance: int(order.Uint32(payload)), rest: payload[6:]}
	count := int(order.Uint16(payload[4:]))
	if len(u.rest) < guidSize*count {
		return nil, fmt.Errorf("cannot read updates of a script: %d GUIDs in %d bytes", count, len(u.rest))
	}
	u.GUIDs = make([]string, count)
	for i := range u.GUIDs {
		guid, err := countergroup.ParseGUID(string(u.rest[:guidSize]))
		if err != nil {
			return nil, fmt.Errorf("cannot read updates of a script: %w", err)
		}
		u.GUIDs[i], u.rest = guid, u.rest[guidSize:]
	}
	return u, nil
}

// Next finds the next update. It returns false at the end and at one that cannot be read, see Err.
func (u *Updates) Next() bool {
	if u.err != nil || len(u.rest) == 0 {
		return false
	}
	if len(u.rest) < updateSize {
		return u.fail("%d bytes are left", len(u.rest))
	}
	u.Value = math.Float64frombits(order.Uint64(u.rest))
	u.GUID, u.Meter = int(order.Uint16(u.rest[8:])), int(order.Uint16(u.rest[10:]))
	size := int(order.Uint16(u.rest[12:]))
	switch {
	case u.GUID >= len(u.GUIDs):
		return u.fail("GUID %d of %d", u.GUID, len(u.GUIDs))
	case size == 0 || size > countergroup.MaxKey:
		return u.fail("a key with %d bytes", size)
	case size > len(u.rest)-updateSize:
		return u.fail("a key with %d bytes, and %d are left", size, len(u.rest)-updateSize)
	case math.IsNaN(u.Value) || math.IsInf(u.Value, 0):
		return u.fail("the value %g", u.Value)
	}
	u.Key, u.rest = u.rest[updateSize:updateSize+size], u.rest[updateSize+size:]
	return true
}

func (u *Updates) fail(format string, args ...any) bool {
	u.err = fmt.Errorf("cannot read updates of a script: "+format, args...)
	return false
}

// Err is why Next ended early, nil at the end.
func (u *Updates) Err() error { return u.err }

func appendUpdatesHead(dst []byte, instance int, guids []string) []byte {
	dst = order.AppendUint16(order.AppendUint32(dst, uint32(instance)), uint16(len(guids)))
	return append(dst, strings.Join(guids, "")...)
}
