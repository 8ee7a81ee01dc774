package script

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newArea makes an area, and the file that a child opens it from.
func newArea() (area, *os.File, error) {
	fd, err := unix.MemfdCreate("weir-script", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "area")
	fail := func(what string, err error) (area, *os.File, error) {
		file.Close()
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := file.Truncate(areaSize); err != nil {
		return fail("set its size", err)
	}
	a, err := unix.Mmap(fd, 0, areaSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fail("mmap", err)
	}
	// A script that could make the file shorter would end the daemon when that writes to it.
	seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_FUTURE_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		_ = unix.Munmap(a)
		return fail("seal", err)
	}
	return a, file, nil
}

// openArea opens the area of file descriptor fd, which it closes, to read.
func openArea(fd int) (area, error) {
	defer unix.Close(fd)
	a, err := unix.Mmap(fd, 0, areaSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return a, nil
}

// close gives the memory back. Nobody may use the area afterwards.
func (a area) close() {
	if a != nil {
		_ = unix.Munmap(a)
	}
}
