package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Waits between attempts to open a failed database again.
const (
	firstWait = 250 * time.Millisecond
	lastWait  = 5 * time.Second
)

// watch opens the database again whenever it has failed, until the store stops.
// Until that works, the failed one answers queries from what it can still read,
// and appends are refused with the reason.
func (s *Store) watch() {
	for {
		d := s.current.Load()
		select {
		case <-d.broken:
		case <-s.quit:
			return
		}
		s.log.Error("the store has failed, appends are refused until it is open again", "path", s.cfg.Path, "error", d.err())
		for wait := firstWait; ; wait = min(2*wait, lastWait) {
			select {
			case <-time.After(wait):
			case <-s.quit:
				return
			}
			next, err := s.reopen()
			if err != nil {
				s.count.warn("cannot open the store again yet", "path", s.cfg.Path, "error", err)
				continue
			}
			select {
			case <-s.quit: // Stop closes the one that is there now
				next.abandon()
				return
			default:
			}
			s.current.Store(next)
			s.count.recoveries.Add(1)
			s.log.Info("the store is open again", "path", s.cfg.Path)
			go d.abandon()
			break
		}
	}
}

// reopen opens the database again if there is room for what that writes.
func (s *Store) reopen() (*database, error) {
	if err := s.probe(); err != nil {
		return nil, err
	}
	return open(s.cfg.Path, s.fs, s.limits, s.log, s.count)
}

// probe writes as many bytes as the logs hold, which opening turns into tables,
// and a little more.
func (s *Store) probe() (err error) {
	size := int64(1 << 20)
	names, err := s.fs.List(s.cfg.Path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			if info, err := s.fs.Stat(filepath.Join(s.cfg.Path, name)); err == nil {
				size += info.Size()
			}
		}
	}
	name := filepath.Join(s.cfg.Path, "probe")
	f, err := s.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("cannot write a file: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close(), s.fs.Remove(name))
	}()
	chunk := make([]byte, 64<<10)
	for written := int64(0); written < size; written += int64(len(chunk)) {
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
