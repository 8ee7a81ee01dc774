package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Waits between attempts to open a failed database again. One that fails soon after
// it was opened does not begin with the short wait.
const (
	firstWait = 250 * time.Millisecond
	lastWait  = 5 * time.Second
	steady    = time.Minute
)

// watch opens the database again whenever it has failed, until the store stops.
// Until that works, the failed one answers queries from what it can still read,
// and appends are refused with the reason.
func (s *Store) watch() {
	wait := firstWait
	opened := s.now()
	for {
		d := s.current.Load()
		select {
		case <-d.broken:
		case <-s.quit:
			return
		}
		s.log.Error("the store has failed, appends are refused until it is open again", "path", s.cfg.Path, "error", d.err().Error())
		if s.now().Sub(opened) > steady {
			wait = firstWait
		}
		for ; ; wait = min(2*wait, lastWait) {
			select {
			case <-time.After(wait):
			case <-s.quit:
				return
			}
			if err := s.probe(); err != nil {
				s.count.warn("cannot open the store again yet", "path", s.cfg.Path, "error", err.Error())
				continue
			}
			next := newDatabase(s.fs, s.limits, s.log, s.count)
			if err := next.open(s.cfg.Path, true, s.quit); err != nil {
				s.count.warn("cannot open the store again yet", "path", s.cfg.Path, "error", err.Error())
				continue
			}
			s.current.Store(next)
			s.count.recoveries.Add(1)
			s.log.Info("the store is open again", "path", s.cfg.Path)
			go d.abandon()
			opened, wait = s.now(), min(2*wait, lastWait)
			break
		}
	}
}

// probe writes a file, to see whether opening is worth a try: it reads the logs and
// turns them into tables.
func (s *Store) probe() (err error) {
	const size = 1 << 20
	name := filepath.Join(s.cfg.Path, "probe")
	f, err := s.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("cannot write a file: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close(), s.fs.Remove(name))
	}()
	chunk := make([]byte, 64<<10)
	for written := 0; written < size; written += len(chunk) {
		if _, err := f.Write(chunk); err != nil {
			return fmt.Errorf("cannot write a file of %d bytes: %w", size, err)
		}
	}
	return f.Sync()
}

// abandon closes a database that failed, or that nobody uses, when its readers
// have finished.
func (d *database) abandon() {
	d.mu.Lock()
	d.closed = true
	d.space.Broadcast()
	d.mu.Unlock()
	close(d.quit)
	d.using.Lock()
	defer d.using.Unlock()
	_ = d.closePebble() // it has failed already; files are released
}
