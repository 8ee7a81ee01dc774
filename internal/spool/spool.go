// Package spool is a durable queue on disk: records come out in the order in which
// they went in, also after the process was killed. What waits for a remote
// system, or for a script, lies in one.
//
// A record is in the queue when Append returns: it has been written to a file,
// so that it survives the death of the process; the device has it within a
// second. A record that was handed out is handed out again, also after a restart, until Done
// says it is not needed any more. There is one reader and any number of writers.
package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/weirhq/weir/timeseries"
)

// Errors of a Spool.
var (
	ErrFull   = fmt.Errorf("the queue is full: %w", timeseries.ErrFull)
	ErrClosed = errors.New("the queue is closed")
)

// Config says how much a Spool may hold.
type Config struct {
	MaxBytes int64        // of records that wait, 0 means DefaultMaxBytes; files may take a segment more
	Log      *slog.Logger // of damage and failing disks; nil means none
}

// DefaultMaxBytes is the bound of a queue (specification section 9: a remote server is down).
const DefaultMaxBytes = 512 << 20

// MaxRecord is the longest record a Spool takes, in bytes.
const MaxRecord = 1<<20 - frameHeader

// A segment has at most maxSegment bytes, and less in a small queue.
const (
	minSegment = 1 << 20
	maxSegment = 4 << 20
)

const syncEvery = time.Second

// Stats are the figures of a Spool.
type Stats struct {
	Records      int64     // that wait
	Bytes        int64     // they take
	MaxBytes     int64     // they may take
	Oldest       time.Time // when the first of them was appended; zero when none waits
	Refused      int64     // records since the opening for which there was no room
	Damages      int64     // parts of segments found unreadable since the opening, which are in the directory quarantine
	DamagedBytes int64     // of these
}

// Spool is a queue in a directory of its own. Its methods may be called from any
// goroutine, but only one may read (Next and Done).
type Spool struct {
	dir     string
	max     int64
	segment int64 // bytes from which a new one is begun
	log     *slog.Logger
	lock    io.Closer
	wake    chan struct{} // has an entry when records were appended since Next looked
	quit    chan struct{}
	synced  chan struct{} // closed when the goroutine that syncs has ended

	mu       sync.Mutex
	segments []*segment // in order
	active   *segment   // the last one, when it is appended to; else the next record begins a new one
	next     uint64     // number of the next segment
	offset   int64      // in the first segment: what lies before is done
	records  int64      // after offset
	oldest   time.Time
	frame    []byte
	position *os.File
	retired  []*os.File // segments that are full and not synced yet
	dirty    bool       // something was written since the last sync
	begun    bool       // a segment was begun since the last sync
	closed   bool
	stats    Stats
}

// Open opens the queue in dir, making it when it is missing, and checks all that
// waits there. Only one Spool may have a directory open.
func Open(dir string, cfg Config) (*Spool, error) {
	s := &Spool{
		dir: dir, max: cfg.MaxBytes, log: cfg.Log,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), synced: make(chan struct{}),
	}
	if s.max <= 0 {
		s.max = DefaultMaxBytes
	}
	s.segment = min(max(s.max/16, minSegment), maxSegment)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(); err != nil {
		s.release()
		return nil, fmt.Errorf("cannot open the queue in %s: %w", dir, err)
	}
	go s.syncing()
	return s, nil
}

func (s *Spool) open() (err error) {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return err
	}
	if s.lock, err = vfs.Default.Lock(filepath.Join(s.dir, "LOCK")); err != nil {
		return fmt.Errorf("another process has it: %w", err)
	}
	if err := s.list(); err != nil {
		return err
	}
	if err := s.readPosition(); err != nil {
		return err
	}
	for i, g := range slices.Clone(s.segments) {
		if err := s.scan(g, i == len(s.segments)-1); err != nil {
			return err
		}
	}
	s.head()
	return nil
}

// list finds the segments.
func (s *Spool) list() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries { // sorted by name, which is by number
		name, ok := strings.CutSuffix(e.Name(), ".segment")
		number, err := strconv.ParseUint(name, 16, 64)
		if !ok || err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		s.segments = append(s.segments, &segment{number: number, path: filepath.Join(s.dir, e.Name()), size: info.Size()})
		s.next = number + 1
	}
	return nil
}

// scan counts the records of a segment. Damage is set aside; a record that ends
// with the last segment was being written when the process died, and is cut.
func (s *Spool) scan(g *segment, last bool) error {
	data, err := os.ReadFile(g.path)
	if err != nil {
		s.drop(g, err)
		return nil
	}
	at := int64(0)
	if g == s.segments[0] {
		s.offset = min(s.offset, g.size)
		at = s.offset
	}
	for at < int64(len(data)) {
		f, skipped, ok := nextFrame(data[at:])
		if !ok && last && torn(data[at:]) {
			s.log.Warn("queue: the last record was not written to its end and is cut", "queue", s.dir, "bytes", skipped)
			g.size = at
			return os.Truncate(g.path, at)
		}
		if skipped > 0 {
			s.setAside(g, at, data[at:at+int64(skipped)])
		}
		at += int64(skipped)
		if ok {
			s.records++
			at += f.size()
		}
	}
	return nil
}

// begin opens a new segment for appending.
func (s *Spool) begin() error {
	s.retire()
	path := filepath.Join(s.dir, fmt.Sprintf("%016x.segment", s.next))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	s.active = &segment{number: s.next, path: path, file: f}
	s.segments = append(s.segments, s.active)
	s.next++
	s.begun = true
	return nil
}

// retire ends appending to the active segment.
func (s *Spool) retire() {
	if s.active != nil {
		s.retired = append(s.retired, s.active.file)
		s.active = nil
	}
}

// tidy removes segments that are done.
func (s *Spool) tidy() {
	for len(s.segments) > 0 && s.offset >= s.segments[0].size && s.segments[0] != s.active {
		if err := os.Remove(s.segments[0].path); err != nil {
			s.log.Warn("queue: cannot remove a file that is done", "error", err)
		}
		s.segments, s.offset = s.segments[1:], 0
	}
}

// Append puts a record at the end. It fails with ErrFull when there is no room
// for it; then, and after any other error, it is not in the queue.
func (s *Spool) Append(record []byte) error {
	if len(record) > MaxRecord {
		return fmt.Errorf("cannot queue a record of %d bytes: at most %d are allowed", len(record), MaxRecord)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	now := time.Now()
	s.frame = appendFrame(s.frame[:0], record, now)
	if s.bytes()+int64(len(s.frame)) > s.max {
		s.stats.Refused++
		return ErrFull
	}
	if s.active == nil || s.active.size+int64(len(s.frame)) > s.segment {
		if err := s.begin(); err != nil {
			return fmt.Errorf("cannot queue a record: %w", err)
		}
	}
	if _, err := s.active.file.Write(s.frame); err != nil {
		// What was written of it must not stand before the next one: cut it, and
		// go on in a new file in case that fails too.
		_ = s.active.file.Truncate(s.active.size)
		s.retire()
		return fmt.Errorf("cannot queue a record: %w", err)
	}
	s.active.size += int64(len(s.frame))
	s.dirty = true
	if s.records++; s.records == 1 {
		s.oldest = now
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// bytes is what the records that wait take.
func (s *Spool) bytes() int64 {
	n := -s.offset
	for _, g := range s.segments {
		n += g.size
	}
	return n
}

// Stats returns the figures as of now.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Records, stats.Bytes, stats.MaxBytes = s.records, s.bytes(), s.max
	if s.records > 0 {
		stats.Oldest = s.oldest
	}
	return stats
}

// Len is how many records wait.
func (s *Spool) Len() int64 { return s.Stats().Records }

// Bytes is what the records that wait take.
func (s *Spool) Bytes() int64 { return s.Stats().Bytes }

// Oldest is when the first record that waits was appended; zero when there is none.
func (s *Spool) Oldest() time.Time { return s.Stats().Oldest }

// syncing brings to the device what was written, every second.
func (s *Spool) syncing() {
	defer close(s.synced)
	ticker := time.NewTicker(syncEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
			if err := s.sync(); err != nil {
				s.log.Warn("queue: cannot bring records to the device", "queue", s.dir, "error", err)
			}
		}
	}
}

func (s *Spool) sync() error {
	s.mu.Lock()
	retired, dirty, begun := s.retired, s.dirty, s.begun
	s.retired, s.dirty, s.begun = nil, false, false
	files := slices.Clone(retired)
	if s.active != nil {
		files = append(files, s.active.file) // nobody else closes it
	}
	s.mu.Unlock()
	if !dirty && len(retired) == 0 {
		return nil
	}
	failed := []error{s.position.Sync()}
	for _, f := range files {
		failed = append(failed, f.Sync())
	}
	for _, f := range retired {
		failed = append(failed, f.Close())
	}
	if begun {
		dir, err := os.Open(s.dir)
		if err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// Close closes the queue. What waits is there after the next opening. A Next
// that is waiting returns ErrClosed.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.quit)
	<-s.synced
	return errors.Join(s.sync(), s.release())
}

// release closes what open opened.
func (s *Spool) release() error {
	var failed []error
	if s.active != nil {
		failed = append(failed, s.active.file.Close())
	}
	if s.position != nil {
		failed = append(failed, s.position.Close())
	}
	if s.lock != nil {
		failed = append(failed, s.lock.Close())
	}
	return errors.Join(failed...)
}

// The file "position" says what is done: segment, offset in it, and the checksum
// of both. When it is damaged all that is there is handed out again.
const positionSize = 20

func (s *Spool) readPosition() (err error) {
	if s.position, err = os.OpenFile(filepath.Join(s.dir, "position"), os.O_CREATE|os.O_RDWR, 0o640); err != nil {
		return err
	}
	var p [positionSize]byte
	switch n, err := s.position.ReadAt(p[:], 0); {
	case err != nil && err != io.EOF:
		return err
	case n == 0: // a new queue
		return nil
	case crc32.Checksum(p[:16], castagnoli) != binary.LittleEndian.Uint32(p[16:]):
		s.log.Warn("queue: it is not known what was done; all that is there is handed out again", "queue", s.dir)
		return nil
	}
	number := binary.LittleEndian.Uint64(p[:])
	s.next = max(s.next, number+1) // what has a smaller number is removed
	for len(s.segments) > 0 && s.segments[0].number < number {
		if err := os.Remove(s.segments[0].path); err != nil {
			return err
		}
		s.segments = s.segments[1:]
	}
	if len(s.segments) > 0 && s.segments[0].number == number {
		s.offset = int64(min(binary.LittleEndian.Uint64(p[8:]), 1<<62))
	}
	return nil
}

func (s *Spool) writePosition() error {
	var p [positionSize]byte
	number := s.next // of the segment that comes
	if len(s.segments) > 0 {
		number = s.segments[0].number
	}
	binary.LittleEndian.PutUint64(p[:], number)
	binary.LittleEndian.PutUint64(p[8:], uint64(s.offset))
	binary.LittleEndian.PutUint32(p[16:], crc32.Checksum(p[:16], castagnoli))
	_, err := s.position.WriteAt(p[:], 0)
	s.dirty = true
	return err
}

// setAside keeps a damaged part of a segment in a file of its own, once.
func (s *Spool) setAside(g *segment, at int64, data []byte) {
	dir := filepath.Join(s.dir, "quarantine")
	path := filepath.Join(dir, fmt.Sprintf("%016x-%d.damaged", g.number, at))
	if _, err := os.Stat(path); err == nil {
		return
	}
	err := os.MkdirAll(dir, 0o750)
	if err == nil {
		err = os.WriteFile(path, data, 0o640)
	}
	s.stats.Damages++
	s.stats.DamagedBytes += int64(len(data))
	s.log.Error("queue: a part of a file is damaged and set aside; records in it are lost to the queue", "bytes", len(data), "file", path, "error", err)
}

// drop sets a segment that cannot be read aside as a whole.
func (s *Spool) drop(g *segment, why error) {
	dir := filepath.Join(s.dir, "quarantine")
	path := filepath.Join(dir, filepath.Base(g.path))
	err := os.MkdirAll(dir, 0o750)
	if err == nil {
		err = os.Rename(g.path, path)
	}
	s.stats.Damages++
	s.stats.DamagedBytes += g.size
	s.log.Error("queue: a file cannot be read and is set aside; records in it are lost to the queue", "file", path, "error", errors.Join(why, err))
	if g == s.segments[0] {
		s.offset = 0
	}
	if g == s.active {
		s.retire()
	}
	s.segments = slices.DeleteFunc(s.segments, func(other *segment) bool { return other == g })
}
