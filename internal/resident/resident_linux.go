// Package resident keeps in memory what is used, of the program and of the heap: the daemon and every script have a
// process of the same large program.
package resident

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// piece is the size, in bytes, of the mappings Trim leaves.
const piece = 128 << 10

// Trim makes the read-only tables of the program (types, line numbers, constants)
// resident only where they are used. Recent kernels map a whole 2 MiB piece of the page cache when
// one byte of it is touched, and so an idle daemon holds nearly all the tables of a large program; they
// never map beyond the end of a mapping, though. So the mapping is cut into small
// ones, by giving every second piece an advice that means nothing to it, and what the
// start has touched is given back; what is used again is mapped again from the file. The code itself
// stays as it is: it is faster in large pages. Where /proc is missing nothing happens.
func Trim() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	var start, end uint64
	ours := false
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"): // the head of a mapping
			from, to, _ := strings.Cut(fields[0], "-")
			var err1, err2 error
			start, err1 = strconv.ParseUint(from, 16, 64)
			end, err2 = strconv.ParseUint(to, 16, 64)
			ours = err1 == nil && err2 == nil && end > start && len(fields) == 6 && fields[5] == program && fields[1] == "r--p"
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0": // none of its pages was changed
			if ours {
				// An error only means that the pages stay.
				for at := start + piece; at < end; at += 2 * piece {
					_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(at), uintptr(min(piece, end-at)), unix.MADV_NOHUGEPAGE)
				}
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
			}
		}
	}
}
