package daemon

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// listenError says what could not be bound and what would help.
func listenError(what, address string, err error) error {
	advice := ""
	var number syscall.Errno
	if errors.As(err, &number) {
		err = number
		switch number {
		case syscall.EADDRINUSE:
			advice = "; stop the program that listens there or configure another address"
		case syscall.EACCES, syscall.EPERM:
			advice = "; ports below 1024 need privileges, configure another address"
		case syscall.EADDRNOTAVAIL:
			advice = "; no interface of this machine has the address"
		}
	}
	return fmt.Errorf("cannot listen for %s on %q: %w%s", what, address, err, advice)
}

// local reports whether only this machine can reach an address.
func local(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
