package config

import (
	"cmp"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/internal/statsd"
)

// listen is the URL of a socket.
type listen struct{ to *statsd.Listen }

const listenKind = "`udp://HOST:PORT`, `udp4://HOST:PORT`, `udp6://HOST:PORT`, `tcp://HOST:PORT`, `unix:///PATH` or `unixgram:///PATH`"

func (listen) kind() string { return listenKind }

func (v listen) yaml() string {
	if v.to.Network == "" {
		return `""`
	}
	return strconv.Quote(listenURL(*v.to))
}

func listenURL(l statsd.Listen) string { return l.Network + "://" + l.Address }

var listenNetworks = []string{"udp", "udp4", "udp6", "tcp", "unix", "unixgram"}

func (v listen) decode(d *decoder, path string, n ast.Node) {
	s, ok := stringOf(n)
	if !ok {
		suggestion := ""
		if port, err := strconv.Atoi(source(n)); err == nil && port > 0 && port < 1<<16 {
			suggestion = fmt.Sprintf("\"udp://:%d\"", port)
		}
		d.refuse(n, path, "it must be "+plain(listenKind)+", not "+what(n), suggestion)
		return
	}
	network, address, ok := strings.Cut(s, "://")
	if !ok {
		suggestion := ""
		if reason, _ := hostPort(s); reason == "" {
			suggestion = strconv.Quote("udp://" + s)
		} else if strings.HasPrefix(s, "/") {
			suggestion = strconv.Quote("unix://" + s)
		} else if m := brokenURL.FindStringSubmatch(s); m != nil {
			suggestion = strconv.Quote(m[1] + "://" + m[2])
		}
		d.refuse(n, path, "it must be "+plain(listenKind), suggestion)
		return
	}
	if !slices.Contains(listenNetworks, network) {
		near := nearest(network, listenNetworks)
		if near != "" {
			near = strconv.Quote(near + "://" + address)
		}
		d.refuse(n, path, "the part before :// must be "+either(listenNetworks), near)
		return
	}
	if network == "unix" || network == "unixgram" {
		if !strings.HasPrefix(address, "/") || len(address) > maxSocketPath {
			d.refuse(n, path, fmt.Sprintf("the path of a Unix socket must begin with / and have at most %d bytes", maxSocketPath), quotedOrNothing(absolute(network, address)))
			return
		}
	} else if reason, suggestion := hostPort(address); reason != "" {
		if suggestion != "" {
			suggestion = strconv.Quote(network + "://" + strings.Trim(suggestion, `"`))
		}
		d.refuse(n, path, reason, suggestion)
		return
	}
	v.to.Network, v.to.Address = network, address
}

// brokenURL is a URL with something missing between network and address.
var brokenURL = regexp.MustCompile(`^(udp[46]?|tcp)[:/]+([^/]*:[0-9]+)$`)

const maxSocketPath = 107 // bytes, of sockaddr_un on Linux

func absolute(network, address string) string {
	if address == "" || strings.HasPrefix(address, "/") {
		return ""
	}
	return network + ":///" + address
}

// hostPort says what is wrong with an address "HOST:PORT"; without a host it is all addresses.
func hostPort(s string) (reason, suggestion string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		switch _, failed := strconv.ParseUint(s, 10, 16); {
		case failed == nil:
			return "the host is missing", strconv.Quote("127.0.0.1:" + s)
		case strings.Count(s, ":") > 1 && !strings.ContainsAny(s, "[]"):
			return "an IPv6 address stands in brackets, such as [::1]:8125", ""
		}
		return "it must be HOST:PORT, such as 127.0.0.1:8088 or [::1]:8088", ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Sprintf("the port must be a number from 0 to 65535, not %s", quote(cmp.Or(port, " "))), ""
	}
	return hostName(host)
}

func hostPortOrNone(s string) (reason, suggestion string) {
	if s == "" {
		return "", ""
	}
	return hostPort(s)
}

// host says what is wrong with a host.
func host(s string) (reason, suggestion string) {
	if s == "" {
		return "it must not be empty", ""
	}
	if h, port, err := net.SplitHostPort(s); err == nil && port != "" && !strings.Contains(h, ":") {
		return "the port is an option of its own", strconv.Quote(h)
	}
	return hostName(s)
}

func hostName(s string) (reason, suggestion string) {
	if i := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune("/?#@\\\"'<>{}", r)
	}); i >= 0 {
		return fmt.Sprintf("a host must not contain %s", quote(s[i:i+1])), ""
	}
	return "", ""
}

func filled(s string) (reason, suggestion string) {
	if s == "" {
		return "it must not be empty", ""
	}
	return "", ""
}

func percentage(f float64) (reason, suggestion string) {
	if f == 0 || f < -100 || f > 100 {
		return "a percentage must be from -100 to 100 and not 0", ""
	}
	return "", ""
}
