package monitor

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/countergroup"
)

// What scripts' processes send may be anything.
func FuzzDecodeVotes(f *testing.F) {
	f.Add([]byte{1, 0xff, 0, 0, 0, 0}, uint16(3), uint16(2))
	f.Add(order.AppendUint64([]byte{1, 0x01, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0}, math.Float64bits(5)), uint16(3), uint16(2))
	f.Fuzz(func(t *testing.T, payload []byte, rows, meters uint16) {
		v, err := DecodeVotes(payload, int(rows), int(meters))
		if err != nil {
			return
		}
		for row := range int(rows) {
			v.Pass(row)
		}
		for _, o := range v.Overrides {
			if o.Row < 0 || o.Row >= int(rows) || o.Meter < 0 || o.Meter >= int(meters) || !(o.Value >= 0) || math.IsInf(o.Value, 1) {
				t.Errorf("%+v of %d rows, %d meters", o, rows, meters)
			}
		}
	})
}

func FuzzUpdates(f *testing.F) {
	head := appendUpdatesHead(nil, 3, []string{hostsGUID})
	one := order.AppendUint64(head, math.Float64bits(2.5))
	one = append(order.AppendUint16(order.AppendUint16(order.AppendUint16(one, 0), 1), 3), "key"...)
	f.Add(head)
	f.Add(one)
	f.Fuzz(func(t *testing.T, payload []byte) {
		u, err := DecodeUpdates(payload)
		if err != nil {
			return
		}
		size := 0
		for u.Next() {
			if u.GUID >= len(u.GUIDs) || len(u.Key) == 0 || len(u.Key) > countergroup.MaxKey || u.Value-u.Value != 0 {
				t.Errorf("%+v", u)
			}
			size += len(u.Key)
		}
		if size > len(payload) {
			t.Errorf("keys with %d bytes in %d", size, len(payload))
		}
	})
}

func TestDecodeVotesRefuses(t *testing.T) {
	f := func(payload []byte, ok bool) {
		t.Helper()
		if _, err := DecodeVotes(payload, 9, 2); (err == nil) != ok {
			t.Errorf("%v: %v", payload, err)
		}
	}
	override := func(row, meter uint32, v float64) []byte {
		b := []byte{1, 0xff, 0xff, 1, 0, 0, 0}
		return order.AppendUint64(order.AppendUint32(order.AppendUint32(b, row), meter), math.Float64bits(v))
	}
	f([]byte{1, 0xff, 0xff, 0, 0, 0, 0}, true)
	f([]byte{1, 0xff, 0, 0, 0, 0}, false)
	f([]byte{1, 0xff, 0xff, 1, 0, 0, 0}, false)
	f(override(8, 1, 5), true)
	f(override(9, 1, 5), false)
	f(override(8, 2, 5), false)
	f(override(8, 1, -1), false)
	f(override(8, 1, math.NaN()), false)
	f(override(8, 1, math.Inf(1)), false)
}

func TestUpdatesRefuse(t *testing.T) {
	update := func(guid, meter, size uint16, v float64, key string) []byte {
		b := order.AppendUint64(appendUpdatesHead(nil, 3, []string{hostsGUID}), math.Float64bits(v))
		return append(order.AppendUint16(order.AppendUint16(order.AppendUint16(b, guid), meter), size), key...)
	}
	f := func(payload []byte, want bool) {
		t.Helper()
		u, err := DecodeUpdates(payload)
		if err != nil {
			t.Fatal(err)
		}
		if got := u.Next(); got != want || got != (u.Err() == nil) {
			t.Errorf("%v: %v %v", payload, got, u.Err())
		}
		if want && (u.Instance != 3 || string(u.Key) != "key" || u.Meter != 7 || u.Value != 1.5 || cmp.Diff(u.GUIDs, []string{hostsGUID}) != "") {
			t.Errorf("%+v", u)
		}
	}
	f(update(0, 7, 3, 1.5, "key"), true)
	f(update(1, 7, 3, 1.5, "key"), false)
	f(update(0, 7, 4, 1.5, "key"), false)
	f(update(0, 7, 0, 1.5, ""), false)
	f(update(0, 7, 3, math.NaN(), "key"), false)
	f(update(0, 7, 3, 1.5, "key")[:6+guidSize+5], false)
	for _, b := range [][]byte{nil, {1, 2, 3}, appendUpdatesHead(nil, 1, []string{"{x}"}), order.AppendUint16(order.AppendUint32(nil, 1), 9)} {
		if _, err := DecodeUpdates(b); err == nil {
			t.Errorf("%v is taken", b)
		}
	}
}
