package store

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system as one opening of the database sees it. It does two things.
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
type disk struct {
	vfs.FS
	fenced atomic.Bool
	failed func(error) // told when a background sync fails

	mu   sync.Mutex
	logs map[*diskFile]struct{}
}

const logCategory vfs.DiskWriteCategory = "pebble-wal"

// fencedPause slows down what a given up database tries again and again.
const fencedPause = 20 * time.Millisecond

func newDisk(fs vfs.FS) *disk { return &disk{FS: fs, logs: make(map[*diskFile]struct{})} }

func (d *disk) fence() { d.fenced.Store(true) }

func (d *disk) check() error {
	if d.fenced.Load() {
		time.Sleep(fencedPause)
		return errFenced
	}
	return nil
}

// sync syncs the logs every second until quit is closed.
func (d *disk) sync(quit <-chan struct{}) {
	every(time.Second, quit, func() {
		d.mu.Lock()
		files := make([]*diskFile, 0, len(d.logs))
		for f := range d.logs {
			files = append(files, f)
		}
		d.mu.Unlock()
		for _, f := range files {
			if err := f.flush(); err != nil {
				d.failed(err)
			}
		}
	})
}

func (d *disk) wrap(f vfs.File, err error, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	file := &diskFile{File: f, disk: d, log: category == logCategory}
	if file.log {
		d.mu.Lock()
		d.logs[file] = struct{}{}
		d.mu.Unlock()
	}
	return file, nil
}

func (d *disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	f, err := d.FS.Create(name, category)
	return d.wrap(f, err, category)
}

func (d *disk) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	f, err := d.FS.OpenReadWrite(name, category, opts...)
	return d.wrap(f, err, category)
}

func (d *disk) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	f, err := d.FS.ReuseForWrite(oldname, newname, category)
	return d.wrap(f, err, category)
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

// diskFile is a file that was opened for writing.
type diskFile struct {
	vfs.File
	disk *disk
	log  bool

	dirty   atomic.Bool
	closing sync.Mutex // a background sync must not meet a closed file
	closed  bool
}

func (f *diskFile) Write(p []byte) (int, error) {
	if err := f.disk.check(); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	f.dirty.Store(true)
	return n, err
}

func (f *diskFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.disk.check(); err != nil {
		return 0, err
	}
	f.dirty.Store(true)
	return f.File.WriteAt(p, at)
}

func (f *diskFile) Preallocate(offset, length int64) error {
	if err := f.disk.check(); err != nil {
		return err
	}
	return f.File.Preallocate(offset, length)
}

func (f *diskFile) Sync() error {
	if f.log {
		return nil
	}
	if err := f.disk.check(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *diskFile) SyncData() error {
	if f.log {
		return nil
	}
	if err := f.disk.check(); err != nil {
		return err
	}
	return f.File.SyncData()
}

// flush syncs what was written since the last time.
func (f *diskFile) flush() error {
	f.closing.Lock()
	defer f.closing.Unlock()
	if f.closed || f.disk.fenced.Load() || !f.dirty.Swap(false) {
		return nil
	}
	return f.File.SyncData()
}

func (f *diskFile) Close() error {
	var err error
	if f.log {
		err = f.flush()
		f.disk.mu.Lock()
		delete(f.disk.logs, f)
		f.disk.mu.Unlock()
	}
	f.closing.Lock()
	f.closed = true
	f.closing.Unlock()
	if closing := f.File.Close(); err == nil {
		err = closing
	}
	return err
}
