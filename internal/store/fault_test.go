package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/weirhq/weir/timeseries"
)

// fullDisk is a disk in memory on which nothing more can be written, to files
// whose name has a part, while it is full.
type fullDisk struct {
	vfs.FS
	mu   sync.Mutex
	full string
}

func newFullDisk() *fullDisk {
	d := &fullDisk{}
	d.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFilePreallocate:
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.full != "" && strings.Contains(op.Path, d.full) {
				return &vfsError{syscall.ENOSPC, op.Path}
			}
		}
		return nil
	}))
	return d
}

func (d *fullDisk) fill(part string) { d.mu.Lock(); defer d.mu.Unlock(); d.full = part }

type vfsError struct {
	syscall.Errno
	path string
}

func (e *vfsError) Error() string { return "write " + e.path + ": " + e.Errno.Error() }
func (e *vfsError) Unwrap() error { return e.Errno }

// A full disk, wherever it shows first: appends fail with the reason instead of
// waiting, queries go on, and when there is room the store recovers by itself with
// everything it had acknowledged.
func TestDiskFull(t *testing.T) {
	for _, part := range []string{"/", ".log", ".sst", "MANIFEST"} {
		t.Run(strings.Trim(part, "./"), func(t *testing.T) {
			disk := newFullDisk()
			s := &testStore{t: t, files: disk, clock: &clock{t: epoch + 20*day}, setup: func(s *Store) {
				s.limits.memtable, s.limits.memory = 64<<10, 64<<10
			}}
			s.open()
			defer func() { s.close() }()
			acknowledged := 0
			add := func() error {
				points := make([]timeseries.Point, 500)
				for i := range points {
					points[i] = timeseries.Point{Schema: load, Time: epoch + int64(60*(acknowledged+1)), Tags: []string{fmt.Sprint(i)}, Values: []float64{float64(acknowledged) + float64(i)/1024}}
				}
				err := s.Append(bg, points)
				if err == nil {
					acknowledged++
				}
				return err
			}
			for range 20 {
				if err := add(); err != nil {
					t.Fatal(err)
				}
			}
			disk.fill(part)
			var err error
			for range 3000 { // until memory tables cannot be written any more
				if err = add(); err != nil {
					break
				}
			}
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "cannot store 500 points") || !strings.Contains(err.Error(), "no space left on device") {
				t.Fatalf("got %v", err)
			}
			if err := add(); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("the next append: %v", err)
			}
			if err := s.Setup(bg); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("setup: %v", err)
			}
			if failure := s.Stats().Failure; !errors.Is(failure, syscall.ENOSPC) {
				t.Errorf("stats: %v", failure)
			}
			check := func(when string) {
				t.Helper()
				q := query(load, timeseries.Tags{"host": "7"}, 0, int64(60*acknowledged))
				q.MaxPoints = 10_000
				for i, v := range s.data(q) {
					if v != float64(i)+7.0/1024 {
						t.Fatalf("%s: point %d is %v", when, i, v)
					}
				}
			}
			check("while the disk is full")
			account := s.count.ledger.Snapshot()
			if !account.Balanced() || account.Discarded["disk"] != 1000 {
				t.Errorf("ledger %+v", account)
			}
			disk.fill("")
			deadline := time.Now().Add(20 * time.Second)
			for add() != nil {
				if time.Now().After(deadline) {
					t.Fatalf("the store does not recover: %v\n%s", s.Setup(bg), s.log)
				}
				time.Sleep(10 * time.Millisecond) // the store looks again after a while
			}
			check("after recovery")
			if got := s.Stats().Recoveries; got < 1 {
				t.Errorf("%d recoveries", got)
			}
			for range 50 {
				if err := add(); err != nil {
					t.Fatal(err)
				}
			}
			check("later")
			s.restart()
			check("after a restart")
			if n := s.Stats().QuarantinedBlocks; n != 0 {
				t.Errorf("%d records in quarantine", n)
			}
		})
	}
}

// A store that cannot write any more can still be stopped.
func TestStopWhileDiskFull(t *testing.T) {
	disk := newFullDisk()
	s := &testStore{t: t, files: disk, clock: &clock{t: epoch + 20*day}}
	s.open()
	s.feed(load, a, 60, 1)
	disk.fill("/")
	ctx, cancel := context.WithTimeout(bg, 20*time.Second)
	defer cancel()
	_ = s.Stop(ctx) // fails or not, it returns
	if ctx.Err() != nil {
		t.Error("it took the whole time it was given")
	}
	if err := s.Start(ctx); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), `cannot open store "data"`) {
		t.Errorf("started on a full disk: %v", err)
	}
	disk.fill("")
	s.open()
	defer s.close()
	wantData(t, "points", s.data(query(load, tagA, 0, 60)), 1)
}

// flip turns a bit over in the middle of what stands at key.
func (s *testStore) flip(key []byte) {
	s.t.Helper()
	d := s.current.Load()
	value, closer, err := d.pebble.Get(key)
	if err != nil {
		s.t.Fatal(err)
	}
	damaged := append([]byte(nil), value...)
	closer.Close()
	damaged[len(damaged)/2] ^= 4
	if err := d.pebble.Set(key, damaged, pebble.Sync); err != nil {
		s.t.Fatal(err)
	}
}

// A damaged block is set aside, counted and reported; everything else is answered.
func TestDamagedBlock(t *testing.T) {
	answers := map[string]func(s *testStore){
		"query": func(s *testStore) {
			wantData(s.t.(*testing.T), "query", s.data(query(load, tagA, 7080, 7260)), nan, nan, 121)
		},
		"total": func(s *testStore) {
			if total, err := s.Total(bg, query(load, tagA, 0, 14_400)); err != nil || total["load"] != 121+240 {
				s.t.Errorf("total %v %v", total, err)
			}
		},
		"topk": func(s *testStore) {
			if top, err := s.TopK(bg, query(load, nil, 0, 14_400)); err != nil || top.Items[0].Value != 60*(121+240) {
				s.t.Errorf("topk %v %v", top, err)
			}
		},
		"list": func(s *testStore) {
			if list, err := s.list(timeseries.ListQuery{Schema: load, Start: epoch + 90, End: epoch + 100}); err != nil || len(list) != 0 {
				s.t.Errorf("list %v %v", list, err)
			}
		},
		"checkpoint": func(s *testStore) {
			s.feed(load, a, 120, 2)
			s.checkpoint()
			wantData(s.t.(*testing.T), "points", s.data(query(load, tagA, 0, 180)), nan, 2, nan)
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			s := newTestStore(t, nil)
			s.feed(load, a, 60, 1, 7140, 119, 7260, 121, 14_400, 240)
			s.checkpoint()
			s.flip(appendDataKey(nil, epoch, 1, 1))
			answer(s)
			if n := s.Stats().QuarantinedBlocks; n != 1 {
				t.Errorf("%d records in quarantine, want 1", n)
			}
			if !strings.Contains(s.log.String(), "set aside") {
				t.Errorf("log: %s", s.log)
			}
			s.feed(load, a, 180, 3)
			wantData(t, "service goes on", s.data(query(load, tagA, 120, 180)), 3)
			s.restart()
			if n := s.Stats().QuarantinedBlocks; n != 1 {
				t.Errorf("%d records in quarantine after a restart, want 1", n)
			}
			wantData(t, "after a restart", s.data(query(load, tagA, 7200, 7260)), 121)
		})
	}
}

// A damaged journal record costs the points in it, not the start of the store.
func TestDamagedJournal(t *testing.T) {
	s := newTestStore(t, nil)
	s.feed(load, a, 60, 1)
	s.feed(load, a, 120, 2)
	s.feed(load, a, 180, 3)
	if err := s.current.Load().pebble.Set(journalKey(2), []byte("nonsense"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	crashed := s.crashed(100)
	defer crashed.close()
	wantData(t, "points", crashed.data(query(load, tagA, 0, 180)), 1, nan, 3)
	if n := crashed.Stats().QuarantinedBlocks; n != 1 {
		t.Errorf("%d records in quarantine, want 1", n)
	}
}

// A damaged part of a table costs what lies in it and nothing else.
func TestDamagedTable(t *testing.T) {
	usage := &timeseries.Schema{Name: "if:usage", Step: 60, Tags: []string{"if", "port"}, Metrics: []string{"up", "down"}, Type: timeseries.Gauge}
	s := newTestStore(t, nil)
	const ports, minutes = 100, 110
	value := func(port, m int) float64 { return math.Sqrt(float64(1000*m + port)) } // takes 8 bytes
	name := func(port int) []string { return []string{"1", fmt.Sprintf("p%03d", port)} }
	for m := range minutes {
		points := make([]timeseries.Point, ports)
		for p := range points {
			points[p] = timeseries.Point{Schema: usage, Time: epoch + int64(60*(m+1)), Tags: name(p), Values: []float64{value(p, m), value(p, m+minutes)}}
		}
		s.append(points...)
	}
	s.checkpoint()
	if err := s.current.Load().pebble.Flush(); err != nil {
		t.Fatal(err)
	}
	s.close()
	names, err := s.files.List("data")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		f, err := s.files.OpenReadWrite("data/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		var c [1]byte
		at := info.Size() * 7 / 10
		if _, err := f.ReadAt(c[:], at); err != nil {
			t.Fatal(err)
		}
		c[0] ^= 1
		if _, err := f.WriteAt(c[:], at); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	s.open()
	q := query(usage, nil, 0, 60*minutes)
	q.GroupBy = []string{"port"}
	q.MaxPoints = minutes
	r, err := s.Query(bg, q)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, series := range r.Series {
		var port int
		if _, err := fmt.Sscanf(series.Tags["port"], "p%d", &port); err != nil {
			t.Fatal(err)
		}
		for m, v := range series.Data {
			if v != v {
				lost++
			} else if series.Label == "up" && v != value(port, m) {
				t.Fatalf("port %d, point %d: got %v, want %v", port, m, v, value(port, m))
			}
		}
	}
	if lost == 0 || lost > ports*minutes*2/5 {
		t.Errorf("%d of %d points are lost", lost, ports*minutes*2)
	}
	if s.count.unreadable.Load() == 0 {
		t.Error("not counted")
	}
	if _, err := s.TopK(bg, query(usage, nil, 0, 3600)); err != nil {
		t.Errorf("topk: %v", err)
	}
	// Appends to what cannot be read go on.
	for p := range ports {
		s.append(timeseries.Point{Schema: usage, Time: epoch + 60*minutes + 60, Tags: name(p), Values: []float64{7, 7}})
	}
	s.checkpoint()
	total, err := s.Total(bg, query(usage, nil, 60*minutes, 60*minutes+60))
	if err != nil || total["up"] != 7*ports {
		t.Errorf("total %v %v", total, err)
	}
	if err := s.Setup(bg); err != nil {
		t.Errorf("the store has failed: %v", err)
	}
}

// After a power failure at any moment the store opens, with everything that was
// appended before the log was last synced.
func TestPowerFailure(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for round := range 40 {
		s := startTestStore(t, func(s *Store) { s.limits.memory, s.limits.memtable = 4<<10, 16<<10 })
		synced := 0
		for i := range 200 {
			s.feed(load, a, float64(60*(i+1)), float64(i))
			s.feed(load, []string{fmt.Sprint(i)}, float64(60*(i+1)), float64(i))
			if random.IntN(30) == 0 {
				s.current.Load().disk.syncLogs()
				synced = i + 1
			}
		}
		after := s.crashed(random.IntN(100))
		if synced > 0 {
			q := query(load, tagA, 0, int64(60*synced))
			q.MaxPoints = 1000
			for i, v := range after.data(q) {
				if v != float64(i) {
					t.Fatalf("round %d: point %d of %d that were synced is %v", round, i, synced, v)
				}
			}
		}
		if n := after.Stats().QuarantinedBlocks; n != 0 {
			t.Errorf("round %d: %d records in quarantine", round, n)
		}
		after.feed(load, a, 60*1000, 1)
		after.close()
		s.close()
	}
}

// FuzzJournal replays any bytes.
func FuzzJournal(f *testing.F) {
	var w journalWriter
	w.reset()
	w.add(1, 1, epoch, []float64{1, nan, 0.5})
	w.add(1, 2, epoch+1, []float64{-1, 1 << 40, 7})
	w.add(2, 9, 0, []float64{3})
	f.Add(w.data)
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var again journalWriter
		again.reset()
		points := 0
		err := readJournal(data, func(schema uint32, id uint64, at int64, row []float64) error {
			points++
			again.add(schema, id, at, row)
			return nil
		})
		if err != nil {
			return
		}
		count := 0
		if err := readJournal(again.data, func(uint32, uint64, int64, []float64) error { count++; return nil }); err != nil || count != points {
			t.Fatalf("%d points written, %d read: %v", points, count, err)
		}
	})
}
