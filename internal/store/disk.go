package store

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system as one opening of the database sees it. It does three things.
//
// A commit waits until its record has been written to the log file, so that it
// survives the death of the process, and not until the device has it: Sync of a
// log file returns at once, and the file is really synced every second, and
// when it is closed. Asking Pebble not to sync would leave records in the memory
// of the process.
//
// Once fenced, nothing is changed on disk any more. Pebble has no way to be
// stopped after a failure; what it still tries in the background must not
// disturb the next opening of the same directory.
//
// Errors of log files and of syncing the directory are not given to Pebble, which
// would end the process, sometimes beyond recovery from a panic. failed is told
// before the operation returns, and nobody takes a commit for done without having
// asked whether the database failed.
type disk struct {
	vfs.FS
	fenced atomic.Bool
	failed func(error)

	mu   sync.Mutex
	logs map[*logFile]struct{}
}

const logCategory vfs.DiskWriteCategory = "pebble-wal"

// fencedPause slows down what a given up database tries again and again.
const fencedPause = 20 * time.Millisecond

func newDisk(fs vfs.FS) *disk { return &disk{FS: fs, logs: make(map[*logFile]struct{})} }

func (d *disk) fence() { d.fenced.Store(true) }

func (d *disk) check() error {
	if d.fenced.Load() {
		time.Sleep(fencedPause)
		return errFenced
	}
	return nil
}

// syncLogs makes sure that what was written to the logs is on the device.
func (d *disk) syncLogs() {
	d.mu.Lock()
	files := make([]*logFile, 0, len(d.logs))
	for f := range d.logs {
		files = append(files, f)
	}
	d.mu.Unlock()
	for _, f := range files {
		f.flush()
	}
}

// log makes a log of f; err is why there is none.
func (d *disk) log(f vfs.File, err error) (vfs.File, error) {
	file := &logFile{disk: d}
	if err != nil {
		d.failed(err)
		return file, nil
	}
	file.file = f
	d.mu.Lock()
	d.logs[file] = struct{}{}
	d.mu.Unlock()
	return file, nil
}

func (d *disk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, disk: d}, nil
}

func (d *disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.check(); err != nil {
		if category == logCategory {
			return d.log(nil, err)
		}
		return nil, err
	}
	f, err := d.FS.Create(name, category)
	if category == logCategory {
		return d.log(f, err)
	}
	return d.wrap(f, err)
}

func (d *disk) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.check(); err != nil {
		if category == logCategory {
			return d.log(nil, err)
		}
		return nil, err
	}
	f, err := d.FS.ReuseForWrite(oldname, newname, category)
	if category == logCategory {
		return d.log(f, err)
	}
	return d.wrap(f, err)
}

func (d *disk) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	return d.wrap(d.FS.OpenReadWrite(name, category, opts...))
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &directory{File: f, disk: d}, nil
}

func (d *disk) Link(oldname, newname string) error {
	if err := d.check(); err != nil {
		return err
	}
	return d.FS.Link(oldname, newname)
}

func (d *disk) Remove(name string) error {
	if err := d.check(); err != nil {
		return err
	}
	return d.FS.Remove(name)
}

func (d *disk) RemoveAll(name string) error {
	if err := d.check(); err != nil {
		return err
	}
	return d.FS.RemoveAll(name)
}

func (d *disk) Rename(oldname, newname string) error {
	if err := d.check(); err != nil {
		return err
	}
	return d.FS.Rename(oldname, newname)
}

// Lock does nothing: the store holds the lock of the directory across openings.
func (d *disk) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// Unwrap is part of vfs.FS.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// diskFile is a file other than a log that was opened for writing.
type diskFile struct {
	vfs.File
	disk *disk
}

func (f *diskFile) Write(p []byte) (int, error) {
	if err := f.disk.check(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *diskFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.disk.check(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

func (f *diskFile) Preallocate(offset, length int64) error {
	if err := f.disk.check(); err != nil {
		return err
	}
	return f.File.Preallocate(offset, length)
}

func (f *diskFile) Sync() error {
	if err := f.disk.check(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *diskFile) SyncData() error {
	if err := f.disk.check(); err != nil {
		return err
	}
	return f.File.SyncData()
}

// directory is a directory opened to be synced.
type directory struct {
	vfs.File
	disk *disk
}

func (f *directory) Sync() error {
	if err := f.File.Sync(); err != nil {
		f.disk.failed(err)
	}
	return nil
}

// logFile is a log. Without a file, when that could not be made, it takes
// everything and keeps nothing.
type logFile struct {
	disk  *disk
	dirty atomic.Bool

	mu   sync.Mutex // a background sync must not meet a closed file
	file vfs.File
}

func (f *logFile) Write(p []byte) (int, error) {
	if f.file == nil || f.disk.fenced.Load() {
		return len(p), nil
	}
	if _, err := f.file.Write(p); err != nil {
		f.disk.failed(err)
	}
	f.dirty.Store(true)
	return len(p), nil
}

// flush syncs what was written since the last time.
func (f *logFile) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil || f.disk.fenced.Load() || !f.dirty.Swap(false) {
		return
	}
	if err := f.file.SyncData(); err != nil {
		f.disk.failed(err)
	}
}

func (f *logFile) Close() error {
	f.flush()
	f.disk.mu.Lock()
	delete(f.disk.logs, f)
	f.disk.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	if err := f.file.Close(); err != nil {
		f.disk.failed(err)
	}
	f.file = nil
	return nil
}

func (f *logFile) Sync() error                             { return nil }
func (f *logFile) SyncData() error                         { return nil }
func (f *logFile) SyncTo(int64) (bool, error)              { return false, nil }
func (f *logFile) Preallocate(offset, length int64) error  { return nil } // an idle store stays small
func (f *logFile) Prefetch(offset, length int64) error     { return nil }
func (f *logFile) Fd() uintptr                             { return vfs.InvalidFd }
func (f *logFile) Read([]byte) (int, error)                { return 0, errors.ErrUnsupported }
func (f *logFile) ReadAt([]byte, int64) (int, error)       { return 0, errors.ErrUnsupported }
func (f *logFile) WriteAt(p []byte, at int64) (int, error) { return 0, errors.ErrUnsupported }

// Stat is asked for the size of a log that is used again.
func (f *logFile) Stat() (vfs.FileInfo, error) {
	if f.file == nil {
		return lostInfo{}, nil
	}
	info, err := f.file.Stat()
	if err != nil {
		f.disk.failed(err)
		return lostInfo{}, nil
	}
	return info, nil
}

// lostInfo describes a log without a file.
type lostInfo struct{ vfs.FileInfo }

func (lostInfo) Size() int64 { return 0 }
