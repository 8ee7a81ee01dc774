package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	wantedBuffer = 32 << 20 // bytes of receive buffer that Weir asks for, per UDP socket
	wantedFiles  = 4096
	fewBytes     = 100 << 20 // of free disk: too few to work with
	lowBytes     = 1 << 30   // worth a warning
	mebibyte     = 1 << 20
)

// kernel checks what the kernel gives and what it dropped.
func (d *doctor) kernel(context.Context) []finding {
	findings := []finding{d.receiveBuffer()}
	findings = append(findings, d.drops()...)
	return append(findings, openFiles(), clock(time.Now()))
}

// receiveBuffer asks for what Weir asks for, and looks what comes of it.
func (d *doctor) receiveBuffer() finding {
	got, err := buffer(wantedBuffer)
	if err != nil {
		return finding{warn, "receive buffer", "cannot try: " + err.Error(), ""}
	}
	text := fmt.Sprintf("a UDP socket that asks for %d MiB gets %.1f", wantedBuffer/mebibyte, float64(got)/mebibyte)
	if limit, err := d.number("sys/net/core/rmem_max"); err == nil {
		text += fmt.Sprintf(" (net.core.rmem_max is %d", limit)
		if got > int(limit) {
			text += "; this user may exceed it"
		}
		text += ")"
	}
	if got >= wantedBuffer {
		return finding{ok, "receive buffer", text, ""}
	}
	return finding{warn, "receive buffer", text, fmt.Sprintf("bursts may be dropped: sysctl -w net.core.rmem_max=%d, and the same line in /etc/sysctl.d/weir.conf", wantedBuffer)}
}

func buffer(wanted int) (size int, err error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wanted) != nil { // needs CAP_NET_ADMIN
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, wanted) // less than wanted shows below
		}
		size, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	})
	return size / 2, errors.Join(failed, err) // the kernel doubles it for its own bookkeeping
}

// drops reports packets that the kernel threw away: of the whole machine since
// it started, and of the sockets that are open on our ports.
func (d *doctor) drops() []finding {
	var findings []finding
	counters, err := d.snmp("Udp")
	if err != nil {
		return []finding{{warn, "UDP drops", "cannot be seen: " + err.Error(), ""}}
	}
	all := finding{ok, "UDP drops", fmt.Sprintf("%d of %d packets since the machine started, of all programs", counters["RcvbufErrors"], counters["InDatagrams"]+counters["RcvbufErrors"]), ""}
	if counters["RcvbufErrors"] > 0 {
		all.grade, all.change = warn, "compare again later: when it grows, raise net.core.rmem_max or send less to one port"
	}
	findings = append(findings, all)
	for _, p := range d.plan.ports {
		if !strings.HasPrefix(p.network, "udp") {
			continue
		}
		_, text, _ := net.SplitHostPort(p.address) // checked with the port
		dropped := int64(0)
		for _, s := range d.sockets("udp") {
			if strconv.Itoa(s.port) == text {
				dropped += s.drops
			}
		}
		if dropped > 0 {
			findings = append(findings, finding{warn, "UDP drops", fmt.Sprintf("%d packets on port %s, for %s", dropped, text, p.use), "its receive buffer was full: raise net.core.rmem_max, or spread senders over several ports"})
		}
	}
	return findings
}

// snmp reads the counters of one protocol from /proc/net/snmp: a line of names,
// then a line of values, both beginning with "Udp:".
func (d *doctor) snmp(protocol string) (map[string]int64, error) {
	content, err := os.ReadFile(filepath.Join(d.proc, "net/snmp"))
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != protocol+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		counters := make(map[string]int64)
		for i := 1; i < min(len(names), len(fields)); i++ {
			counters[names[i]], _ = strconv.ParseInt(fields[i], 10, 64) // always numbers
		}
		return counters, nil
	}
	return nil, fmt.Errorf("/proc/net/snmp has no line %q", protocol+":")
}

func (d *doctor) number(name string) (int64, error) {
	content, err := os.ReadFile(filepath.Join(d.proc, name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
}

func openFiles() finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return finding{warn, "open files", "the limit cannot be seen: " + err.Error(), ""}
	}
	text := fmt.Sprintf("at most %d", limit.Max) // Go raises the soft limit to the hard one
	if limit.Max < wantedFiles {
		return finding{warn, "open files", text, fmt.Sprintf("clients and the store may need more: LimitNOFILE=%d in the service, or ulimit -n", 1<<16)}
	}
	return finding{ok, "open files", text, ""}
}

// clock checks that the time is plausible and that something keeps it.
func clock(now time.Time) finding {
	text := now.UTC().Format(time.RFC3339)
	if now.Year() < 2024 || now.Year() > 2100 {
		return finding{fail, "clock", text + " cannot be right", "set it, and keep it with chrony or systemd-timesyncd"}
	}
	var state unix.Timex
	if code, err := unix.Adjtimex(&state); err == nil && (code == unix.TIME_ERROR || state.Status&unix.STA_UNSYNC != 0) {
		return finding{warn, "clock", text + ", not synchronised as far as the kernel knows", "keep it with chrony or systemd-timesyncd; inside a container or virtual machine the host may do it"}
	}
	return finding{ok, "clock", text, ""}
}

// directory checks that data can be written, and for how long.
func (d *doctor) directory() []finding {
	if d.plan.data == "" {
		return nil
	}
	path, err := filepath.Abs(d.plan.data)
	if err != nil {
		return []finding{{fail, "data", err.Error(), ""}}
	}
	shown := word(path)
	exists := path
	for {
		info, err := os.Stat(exists)
		if err == nil && !info.IsDir() {
			return []finding{{fail, "data", word(exists) + " is not a directory", "choose another path for data in the configuration"}}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || exists == filepath.Dir(exists) {
			return []finding{{fail, "data", "cannot look at it: " + err.Error(), "give the user that runs weir the right to read and write " + shown}}
		}
		exists = filepath.Dir(exists)
	}
	if exists != path {
		shown += " (will be made)"
	}
	if err := writable(exists); err != nil {
		return []finding{{fail, "data", shown + " cannot be written: " + err.Error(), "give the user that runs weir the right to write there, or choose another path for data"}}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(exists, &disk); err != nil {
		return []finding{{warn, "data", shown + " can be written; its space cannot be seen: " + err.Error(), ""}}
	}
	free, size := int64(disk.Bavail)*disk.Bsize, int64(disk.Blocks)*disk.Bsize
	findings := []finding{space(shown, free, size)}
	switch int64(disk.Type) {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		findings = append(findings, finding{warn, "data", shown + " is in memory (tmpfs): everything is lost at a restart of the machine", "choose a path on a disk"})
	case unix.NFS_SUPER_MAGIC:
		findings = append(findings, finding{warn, "data", shown + " is on NFS, which does not keep what the store relies on", "choose a path on a local disk"})
	}
	if disk.Files > 0 && disk.Ffree < 1000 {
		findings = append(findings, finding{fail, "data", fmt.Sprintf("only %d more files fit on that file system", disk.Ffree), "delete files, or choose another path for data"})
	}
	return findings
}

func space(shown string, free, size int64) finding {
	text := fmt.Sprintf("%s can be written, %.1f of %.1f GB free", shown, float64(free)/1e9, float64(size)/1e9)
	switch {
	case free < fewBytes:
		return finding{fail, "data", text, "free some, or choose a path on another disk"}
	case free < lowBytes:
		return finding{warn, "data", text, "free some, or keep data for a shorter time"}
	}
	return finding{ok, "data", text, ""}
}
