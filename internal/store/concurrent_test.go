package store

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirhq/weir/timeseries"
)

// Appends, every kind of query, checkpoints, deletion and retention at the same
// time: acknowledged points of series that nobody deletes are always visible.
func TestConcurrentUse(t *testing.T) {
	s := newTestStore(t, func(s *Store) { s.limits.memory, s.limits.resident, s.limits.memtable = 8<<10, 64, 64<<10 })
	const writers, rounds = 4, 80
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			for i := 1; i <= rounds; i++ {
				var points []timeseries.Point
				for k := range 10 {
					points = append(points, timeseries.Point{Schema: load, Time: epoch + int64(60*i), Tags: []string{fmt.Sprintf("keep-%d-%d", w, k)}, Values: []float64{float64(i)}})
					points = append(points, timeseries.Point{Schema: both, Time: epoch + int64(60*i), Tags: []string{fmt.Sprint(w), fmt.Sprint(i % 7)}, Values: []float64{1, float64(i)}})
				}
				if err := s.Append(bg, points); err != nil {
					t.Error(err)
					return
				}
				q := query(load, timeseries.Tags{"host": fmt.Sprintf("keep-%d-3", w)}, 0, int64(60*i))
				q.MaxPoints = 1000
				r, err := s.Query(bg, q)
				if err != nil {
					t.Error(err)
					return
				}
				for k, v := range r.Series[0].Data {
					if v != float64(k+1) {
						t.Errorf("writer %d after round %d: point %d is %v", w, i, k, v)
						return
					}
				}
			}
		})
	}
	loop := func(do func() error) {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := do(); err != nil && !errors.Is(err, timeseries.ErrNoSeries) {
					t.Error(err)
					return
				}
			}
		})
	}
	loop(func() error {
		q := query(load, nil, 0, 60*rounds)
		q.WithSeries = true
		_, err := s.TopK(bg, q)
		return err
	})
	loop(func() error { _, err := s.Total(bg, query(both, nil, 0, 60*rounds)); return err })
	loop(func() error {
		for range s.List(bg, timeseries.ListQuery{Schema: both, Start: epoch + 60}) {
		}
		return nil
	})
	loop(func() error { return s.Delete(bg, "iface", timeseries.Tags{"port": "3"}) })
	loop(func() error { return s.DeleteOld(bg, s.clock.now().Unix()) })
	loop(func() error { s.Stats(); _, err := s.Schemas(bg); return err })
	writing.Wait()
	close(done)
	reading.Wait()
	check := func(when string) {
		t.Helper()
		total, err := s.Total(bg, query(load, nil, 0, 60*rounds))
		if want := float64(writers * 10 * rounds * (rounds + 1) / 2); err != nil || total["load"] != want {
			t.Errorf("%s: total %v %v, want %v", when, total, err, want)
		}
		if a := s.count.ledger.Snapshot(); !a.Balanced() || a.Lost() > 0 {
			t.Errorf("%s: ledger %+v", when, a)
		}
	}
	check("at the end")
	s.restart()
	check("after a restart")
}

// Retention removes whole blocks and the series that have none left, from memory too.
func TestRetention(t *testing.T) {
	s := newTestStore(t, func(s *Store) { s.limits.retention, s.limits.rollups = 10*24*3600*1e9, nil })
	s.clock.set(epoch)
	s.feed(load, a, 60, 1)
	s.feed(load, []string{"old"}, 60, 1)
	s.checkpoint()
	s.feed(load, []string{"memory"}, 120, 1)
	s.clock.set(epoch + 9*day)
	s.feed(load, a, 9*day, 2)
	if err := s.DeleteOld(bg, s.clock.t); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Series; n != 3 {
		t.Fatalf("%d series while nothing is too old", n)
	}
	s.clock.set(epoch + 10*day + 7200)
	if err := s.DeleteOld(bg, s.clock.t); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		list, err := s.list(timeseries.ListQuery{Schema: load})
		if err != nil {
			t.Fatal(err)
		}
		wantDiff(t, when, list, []string{"host=a"})
		wantData(t, when+": old", s.data(query(load, tagA, 0, 60)), nan)
		wantData(t, when+": young", s.data(query(load, tagA, 9*day-60, 9*day)), 2)
		if n := s.Stats().Series; n != 1 {
			t.Errorf("%s: %d series", when, n)
		}
	}
	check("after DeleteOld")
	s.restart()
	check("after a restart")
	s.clock.set(epoch + 30*day)
	if err := s.DeleteOld(bg, s.clock.t); err != nil {
		t.Fatal(err)
	}
	if _, err := s.list(timeseries.ListQuery{Schema: load}); !errors.Is(err, timeseries.ErrNoSeries) {
		t.Errorf("everything is too old: %v", err)
	}
	s.feed(load, a, 30*day, 7)
	wantData(t, "a new beginning", s.data(query(load, tagA, 30*day-60, 30*day)), 7)
}

// A checkpoint begins by itself when memory is full, and appends wait for it.
func TestMemoryIsBounded(t *testing.T) {
	s := newTestStore(t, func(s *Store) { s.limits.memory = 16 << 10 })
	most := int64(0)
	for i := range 400 {
		var points []timeseries.Point
		for h := range 50 {
			points = append(points, timeseries.Point{Schema: load, Time: epoch + int64(60*i), Tags: []string{fmt.Sprint(h)}, Values: []float64{1}})
		}
		s.append(points...)
		most = max(most, s.Stats().MemoryBytes)
	}
	if limit := int64(2*16<<10 + 50*12); most > limit {
		t.Errorf("%d bytes of rows in memory, want at most %d", most, limit)
	}
	if s.count.checkpoints.Load() < 5 {
		t.Errorf("%d checkpoints", s.count.checkpoints.Load())
	}
}

// Appends do not need the lock that deletions hold.
func TestAppendWhileDeleting(t *testing.T) {
	s := newTestStore(t, func(s *Store) { s.limits.retention = 24 * time.Hour })
	s.clock.set(epoch)
	s.feed(load, a, 60, 1)
	s.checkpoint()
	s.clock.set(epoch + 10*day)
	d := s.current.Load()
	d.writing.Lock()
	deleted := make(chan error, 1)
	go func() { deleted <- s.DeleteOld(bg, epoch+10*day) }()
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	err := s.Append(ctx, []timeseries.Point{{Schema: load, Time: epoch + 10*day, Tags: a, Values: []float64{2}}})
	select {
	case err := <-deleted:
		t.Errorf("deleted without the lock: %v", err)
	default:
	}
	d.writing.Unlock()
	if err != nil {
		t.Errorf("append: %v", err)
	}
	if err := <-deleted; err != nil {
		t.Errorf("delete: %v", err)
	}
	wantData(t, "appended", s.data(query(load, tagA, 10*day-60, 10*day)), 2)
}

// What each tier takes on disk is at /metrics, and shrinks when its blocks are deleted.
func TestTierBytes(t *testing.T) {
	s := newTestStore(t, func(s *Store) {
		s.limits.rollups = []Rollup{{time.Hour, 30 * 24 * time.Hour}, {24 * time.Hour, 60 * 24 * time.Hour}}
	})
	s.clock.set(epoch + 10*day)
	l := newCounterLoad(1, 20)
	l.fill(t, s, 10*1440)
	figures := func() map[string]float64 {
		t.Helper()
		s.rollUp()
		d := s.current.Load()
		if err := errors.Join(d.pebble.Flush(), d.pebble.Compact(bg, []byte{0}, []byte{0xff}, true)); err != nil {
			t.Fatal(err)
		}
		page := httptest.NewRecorder()
		s.reg.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		found := make(map[string]float64)
		for line := range strings.Lines(page.Body.String()) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), `weir_store_tier_bytes{tier="`); ok {
				tier, bytes, _ := strings.Cut(rest, `"} `)
				n, err := strconv.ParseFloat(bytes, 64)
				if err != nil {
					t.Fatal(err)
				}
				found[tier] = n
			}
		}
		return found
	}
	before := figures()
	if len(before) != 3 || before["raw"] < 20*10*1440/2 || before["rollup1"] < 20*240/2 || before["rollup2"] < 20*10/2 || before["raw"] < before["rollup1"] || before["rollup1"] < before["rollup2"] {
		t.Fatalf("before: %v", before)
	}
	s.current.Load().limits.retention = 24 * time.Hour
	if err := s.DeleteOld(bg, epoch+10*day); err != nil {
		t.Fatal(err)
	}
	if now := figures(); now["raw"] > before["raw"]/2 || now["rollup1"] < before["rollup1"] {
		t.Errorf("points gone: %v, before %v", now, before)
	}
	s.close()
	if now := s.tierBytes(); now != nil {
		t.Errorf("stopped: %v", now)
	}
	s.open()
}

// What noisy counters take on disk: a day of 200 hosts, everything but the log.
func TestBytesPerValueOnDisk(t *testing.T) {
	s := newTestStore(t, nil)
	l := newCounterLoad(1, 200)
	l.fill(t, s, 1440)
	perValue := bytesPerValue(t, s, 200*1440)
	t.Logf("%.2f bytes per value", perValue)
	if perValue > 2 {
		t.Errorf("%.2f bytes per value, want at most 2", perValue)
	}
}

// Between the removal of a series and its commit, an append must not find the
// record that is still in the database.
func TestRemovedSeriesIsNotFoundAgain(t *testing.T) {
	s := newTestStore(t, func(s *Store) { s.limits.resident = 1 })
	for _, host := range []string{"a", "b", "c", "d"} {
		s.feed(load, []string{host}, 60, 1)
	}
	for range 3 { // until most of them are in the database alone
		s.feed(load, []string{"d"}, 120, 2)
		s.checkpoint()
	}
	d := s.current.Load()
	d.mu.Lock()
	if d.dictionary.inside == 4 {
		t.Error("nothing was evicted")
	}
	g := d.group()
	sc := d.schemas["host:load"]
	if err := d.remove(g, sc, 1, string(encodeTags(nil, a))); err != nil {
		t.Error(err)
	}
	again, err := d.resolve(g, sc, &timeseries.Point{Schema: load, Time: epoch + 60, Tags: a, Values: []float64{1}})
	if err != nil || again.id == 1 {
		t.Errorf("series %d was found again: %v", again.id, err)
	}
	d.mu.Unlock()
}
