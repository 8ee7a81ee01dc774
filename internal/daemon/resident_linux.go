package daemon

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseCode gives back the pages of the program's file that only its start
// needed: the kernel maps those around every page that is touched, nearly all of
// a large binary. Only mappings that cannot be written and hold no changed page
// are given back, so what is used again is simply mapped again from the file.
// Where /proc is missing nothing happens.
func releaseCode() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	var start, end uint64
	ours, clean := false, 0
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"): // the head of a mapping
			from, to, _ := strings.Cut(fields[0], "-")
			var err1, err2 error
			start, err1 = strconv.ParseUint(from, 16, 64)
			end, err2 = strconv.ParseUint(to, 16, 64)
			ours = err1 == nil && err2 == nil && end > start && len(fields) == 6 && fields[5] == program && !strings.Contains(fields[1], "w")
			clean = 0
		case len(fields) == 3 && (fields[0] == "Private_Dirty:" || fields[0] == "Anonymous:") && fields[1] == "0":
			if clean++; ours && clean == 2 {
				// An error only means that the pages stay.
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
			}
		}
	}
}
