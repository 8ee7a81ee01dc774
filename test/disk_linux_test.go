package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is what a daemon writes to, and can be full.
type disk interface {
	// fill leaves no room for more than the daemon's reserve.
	fill(p *process) error
	// free gives all of it back.
	free(p *process) error
}

// smallDisk is a file system of its own with a file of somebody else.
type smallDisk struct{ filler string }

const diskSize = 96 << 20

// mountSmallDisk makes dir a small file system. Only root can, and not everywhere.
func mountSmallDisk(t *testing.T, dir string) disk {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("cannot unmount %s: %v", dir, err)
		}
	})
	return smallDisk{filepath.Join(dir, "filler")}
}

func (d smallDisk) fill(*process) error {
	file, err := os.Create(d.filler)
	if err != nil {
		return err
	}
	defer file.Close()
	for block := make([]byte, 64<<10); err == nil; {
		_, err = file.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	return nil
}

func (d smallDisk) free(*process) error { return os.Remove(d.filler) }

// fileLimit does not let the daemon write beyond the first bytes of any file: every
// write fails, as on a full disk, which needs no rights.
type fileLimit struct{ before unix.Rlimit }

func (l *fileLimit) fill(p *process) error {
	pid := p.cmd.Process.Pid
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &l.before); err != nil {
		return err
	}
	return unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1, Max: l.before.Max}, nil)
}

func (l *fileLimit) free(p *process) error {
	return unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &l.before, nil)
}

// The disk is full: pollers are not acknowledged, everything else goes on. With room
// on the disk so do they, by themselves, and nothing is missing.
func TestDiskFull(t *testing.T) {
	f := func(name string, prepare func(t *testing.T, dir string) disk) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			data := filepath.Join(dir, "data")
			if err := os.Mkdir(data, 0o700); err != nil {
				t.Fatal(err)
			}
			d := prepare(t, data)
			b := startBacklog(t, dir, backlogConfig("max_size: 1GiB"))
			b.up("far")
			b.send(5000)
			b.arrived("far")
			if err := d.fill(b.process); err != nil {
				t.Fatal(err)
			}
			session, done := b.sending(20000)
			b.refused(session, "")
			if err := d.free(b.process); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatalf("%v\n%s", err, b.log())
			}
			b.whole("far")
			b.accounted(t, "stream.connector.far", "connector.far")
			if received, passed, _, discarded := b.account("stream"); received != passed+discarded["refused"] || discarded["refused"] == 0 {
				t.Errorf("%d received, %d passed, %v", received, passed, discarded)
			}
			if out, code := b.weir("queue", "verify", "--url", b.http); code != 0 {
				t.Errorf("weir queue verify: %d %s", code, out)
			}
			b.stop()
			b.start() // what is on disk is whole
			b.send(1000)
			b.whole("far")
			b.stop()
		})
	}
	f("every write fails", func(*testing.T, string) disk { return new(fileLimit) })
	probe := t.TempDir()
	if err := unix.Mount("tmpfs", probe, "tmpfs", 0, ""); err != nil {
		t.Logf("no file system of its own, only failing writes: cannot mount one: %v", err)
		return
	}
	if err := unix.Unmount(probe, 0); err != nil {
		t.Fatal(err)
	}
	f("file system", mountSmallDisk)
}
