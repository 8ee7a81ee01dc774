package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// port checks whether an address can be listened on, by doing it for a moment,
// and otherwise says who has it.
func (d *doctor) port(p port) finding {
	f := finding{subject: "port", text: fmt.Sprintf("%s %s for %s: free", p.network, p.address, p.use)}
	err := listen(p)
	if err == nil {
		return f
	}
	taken := strings.TrimSuffix(f.text, "free")
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		owner := d.owner(p)
		switch {
		case owner.weir:
			f.text = fmt.Sprintf("%staken by Weir (process %d)", taken, owner.pid)
			return f
		case owner.pid > 0:
			f.change = fmt.Sprintf("stop that process, or let %s listen elsewhere", p.use)
			f.text = fmt.Sprintf("%staken by %s (process %d)", taken, word(owner.name), owner.pid)
		default:
			f.change = fmt.Sprintf("run weir doctor as root to see which; stop it, or let %s listen elsewhere", p.use)
			f.text = taken + "taken by a process that cannot be seen"
		}
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		f.text = taken + "not allowed"
		f.change = "ports below net.ipv4.ip_unprivileged_port_start need root or the capability CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.text = taken + "this machine does not have that address"
		f.change = "correct the address in the configuration"
	default:
		f.text = taken + err.Error()
	}
	f.grade = fail
	return f
}

func listen(p port) error {
	switch {
	case p.network == "unix":
		return listenUnix(p.address)
	case strings.HasPrefix(p.network, "udp"):
		conn, err := net.ListenPacket(p.network, p.address)
		if err != nil {
			return err
		}
		return conn.Close()
	default:
		l, err := net.Listen(p.network, p.address)
		if err != nil {
			return err
		}
		return l.Close()
	}
}

// listenUnix tells whether somebody answers at a socket's path; a file that is
// left over does not stand in the way.
func listenUnix(path string) error {
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
		return syscall.EADDRINUSE
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return writable(filepath.Dir(path))
	}
	return err
}

// process is one that has a socket.
type process struct {
	pid  int
	name string
	weir bool // another one like this
}

// owner finds the process that listens on a port; none when it cannot be seen.
func (d *doctor) owner(p port) process {
	inodes := make(map[string]bool)
	if p.network == "unix" {
		for _, inode := range unixInodes(filepath.Join(d.proc, "net/unix"), p.address) {
			inodes[inode] = true
		}
	} else {
		_, text, err := net.SplitHostPort(p.address)
		number, err2 := strconv.Atoi(text)
		if err != nil || err2 != nil {
			return process{}
		}
		family := strings.TrimRight(p.network, "46")
		for _, s := range d.sockets(family) {
			if s.port == number {
				inodes[s.inode] = true
			}
		}
	}
	links, _ := filepath.Glob(filepath.Join(d.proc, "[0-9]*/fd/*"))
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue // closed meanwhile, or not ours to see
		}
		inode, socket := strings.CutPrefix(target, "socket:[")
		if !socket || !inodes[strings.TrimSuffix(inode, "]")] {
			continue
		}
		home := filepath.Dir(filepath.Dir(link))
		pid, _ := strconv.Atoi(filepath.Base(home)) // a number by the pattern
		name, _ := os.ReadFile(filepath.Join(home, "comm"))
		p := process{pid: pid, name: strings.TrimSpace(string(name))}
		p.weir = p.name == "weir" || d.same(filepath.Join(home, "exe"))
		return p
	}
	return process{}
}

// same reports whether exe is this program, whatever its name.
func (d *doctor) same(exe string) bool {
	other, err := os.Stat(exe)
	if err != nil {
		return false // gone meanwhile, or not ours to see
	}
	self, err := os.Stat(filepath.Join(d.proc, "self/exe"))
	return err == nil && os.SameFile(self, other)
}

// socket is a line of /proc/net/udp and its like.
type socket struct {
	port  int
	inode string
	drops int64 // packets that did not fit into the receive buffer; UDP only
}

// sockets reads those of a family, "udp" or "tcp", of both IP versions; of TCP
// only those that listen.
func (d *doctor) sockets(family string) []socket {
	var all []socket
	for _, name := range []string{family, family + "6"} {
		file, err := os.Open(filepath.Join(d.proc, "net", name))
		if err != nil {
			continue // no IPv6, or no such file system
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ref pointer drops
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || family == "tcp" && fields[3] != "0A" {
				continue
			}
			colon := strings.LastIndexByte(fields[1], ':')
			number, err := strconv.ParseUint(fields[1][colon+1:], 16, 16)
			if err != nil {
				continue // the heading
			}
			s := socket{port: int(number), inode: fields[9]}
			if family == "udp" {
				s.drops, _ = strconv.ParseInt(fields[len(fields)-1], 10, 64) // 0 in a format that is not known
			}
			all = append(all, s)
		}
		_ = file.Close()
	}
	return all
}

func unixInodes(file, path string) []string {
	content, _ := os.ReadFile(file) // without it the owner is not known
	var inodes []string
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) == 8 && fields[7] == path {
			inodes = append(inodes, fields[6])
		}
	}
	return inodes
}

// writable makes a file in a directory and removes it.
func writable(directory string) error {
	file, err := os.CreateTemp(directory, ".weir-doctor-*")
	if err != nil {
		return err
	}
	_ = file.Close()
	return os.Remove(file.Name())
}
