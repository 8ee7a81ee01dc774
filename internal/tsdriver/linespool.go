package tsdriver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A file of the spool is handed to export when it is this old or this large (4.1).
const (
	spoolAge  = 10 * time.Second
	spoolFile = 4 << 20
)

// defaultSpool bounds the files that wait, in bytes (section 9: a remote server is down).
const defaultSpool = 512 << 20

// lineSpool keeps lines in files that wait for export: one file is written for each interface, with
// the name <interface>_<n>_<time>.tmp, and loses the .tmp when it is complete. Lines are in their file, where they survive the
// process, after flush: before that the points they were made of do not count as taken. It belongs to the
// goroutine of the calls.
type lineSpool struct {
	dir      string
	limit    int64
	now      func() time.Time
	complete func(lines int) // is told of every file

	files map[int64]*openFile
	next  int
	bytes int64 // of all files, as of the last look and what was written since
}

type openFile struct {
	file  *os.File
	path  string // without .tmp
	since time.Time
	size  int64 // with what waits
	lines int
	waits []byte // lines that are not in the file
}

// maxOpen bounds the files that are open: with more interfaces than that, files are complete earlier.
const maxOpen = 256

// maxWaiting bounds the lines of a file that are held in memory.
const maxWaiting = 64 << 10

var errSpoolFull = errors.New("the files that wait for export have reached their limit")

// openLineSpool takes over what an earlier process left: its open files are complete, without a torn last line.
func openLineSpool(dir string, limit int64, now func() time.Time, complete func(int)) (*lineSpool, error) {
	if limit == 0 {
		limit = defaultSpool
	}
	s := &lineSpool{dir: dir, limit: limit, now: now, complete: complete, files: make(map[int64]*openFile)}
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil {
		return nil, err
	}
	for _, path := range left {
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.Truncate(path, int64(bytes.LastIndexByte(text, '\n')+1))
		}
		if err == nil {
			err = os.Rename(path, strings.TrimSuffix(path, ".tmp"))
		}
		if err != nil {
			return nil, fmt.Errorf("cannot take over lines that were not exported: %w", err)
		}
		complete(bytes.Count(text, []byte("\n")))
	}
	return s, s.look()
}

// look counts the bytes of the files that wait.
func (s *lineSpool) look() error {
	s.bytes = 0
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // else it was exported just now
			s.bytes += info.Size()
		}
	}
	return nil
}

// append adds a line for an interface.
func (s *lineSpool) append(ifid int64, line []byte) error {
	f := s.files[ifid]
	if f != nil && (s.now().Sub(f.since) >= spoolAge || f.size+int64(len(line)) > spoolFile) {
		if err := s.close(ifid); err != nil {
			return err
		}
		f = nil
	}
	if s.bytes+int64(len(line)) > s.limit {
		if err := s.look(); err != nil || s.bytes+int64(len(line)) > s.limit {
			return errors.Join(errSpoolFull, err)
		}
	}
	if f == nil {
		if len(s.files) >= maxOpen {
			if err := s.tick(true); err != nil {
				return err
			}
		}
		var err error
		if f, err = s.open(ifid); err != nil {
			return err
		}
	}
	f.waits = append(f.waits, line...)
	f.size += int64(len(line))
	s.bytes += int64(len(line))
	f.lines++
	if len(f.waits) >= maxWaiting {
		return f.flush()
	}
	return nil
}

// flush puts into the file what waits. After an error all of it is gone, and the file ends with a whole line.
func (f *openFile) flush() error {
	if len(f.waits) == 0 {
		return nil
	}
	waits := f.waits
	f.waits = f.waits[:0]
	if _, err := f.file.Write(waits); err != nil {
		f.size -= int64(len(waits))
		f.lines -= bytes.Count(waits, []byte("\n"))
		return errors.Join(fmt.Errorf("cannot keep lines for export: %w", err), f.file.Truncate(f.size))
	}
	return nil
}

// flush puts all lines into their files.
func (s *lineSpool) flush() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.flush())
	}
	return errors.Join(errs...)
}

func (s *lineSpool) open(ifid int64) (*openFile, error) {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return nil, err
	}
	now := s.now()
	for {
		s.next++
		path := filepath.Join(s.dir, fmt.Sprintf("%d_%d_%d", ifid, s.next, now.Add(spoolAge).Unix()))
		if _, err := os.Lstat(path); err == nil { // of an earlier process
			continue
		}
		file, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o640)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f := &openFile{file: file, path: path, since: now}
		s.files[ifid] = f
		return f, nil
	}
}

// close completes the file of an interface.
func (s *lineSpool) close(ifid int64) error {
	f := s.files[ifid]
	delete(s.files, ifid)
	err := f.flush()
	if failed := errors.Join(f.file.Close(), os.Rename(f.path+".tmp", f.path)); failed != nil {
		return errors.Join(err, failed)
	}
	s.complete(f.lines)
	return err
}

// tick completes files that are old enough (R25), or all at the end.
func (s *lineSpool) tick(all bool) error {
	var errs []error
	for ifid, f := range s.files {
		if all || s.now().Sub(f.since) >= spoolAge {
			errs = append(errs, s.close(ifid))
		}
	}
	return errors.Join(errs...)
}

// interfaceID is the number of an interface, as tags have it; false for other text.
func interfaceID(text string) (int64, bool) {
	id, err := strconv.ParseInt(text, 10, 32)
	return id, err == nil
}
