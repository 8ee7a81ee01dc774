package modules

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// Numbers of cURL's errors; lua/curl.lua has their names.
const (
	curlProtocol    = 1
	curlMalformed   = 3
	curlProxyName   = 5
	curlResolve     = 6
	curlConnect     = 7
	curlTimeout     = 28
	curlTLS         = 35
	curlAborted     = 42
	curlBadArgument = 43
	curlRedirects   = 47
	curlNothing     = 52
	curlReceive     = 56
	curlBadCert     = 58
	curlPeer        = 60
	curlTooLarge    = 63
	curlBadCA       = 77
)

// failure is an error with a number of cURL.
type failure struct {
	number  int
	message string
}

func (f *failure) Error() string { return f.message }

func fail(number int, message string) error { return &failure{number, message} }

// withoutURL leaves out the URL, which may hold a password.
func withoutURL(err error) error {
	if e := new(url.Error); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// classify gives an error the number and the words of cURL.
func classify(ctx context.Context, err error) (int, string) {
	err = withoutURL(err)
	var (
		known       *failure
		unknownHost *net.DNSError
		operation   *net.OpError
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		hostname    x509.HostnameError
		invalid     x509.CertificateInvalidError
		record      tls.RecordHeaderError
		alert       tls.AlertError
	)
	switch {
	case errors.As(err, &known):
		return known.number, known.message
	case errors.Is(context.Cause(ctx), ErrInterrupted):
		return curlAborted, "Operation was aborted: interrupted"
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), timedOut(err):
		return curlTimeout, "Timeout was reached"
	case strings.Contains(err.Error(), "invalid header field"):
		return curlBadArgument, "A libcurl function was given a bad argument: " + err.Error()
	case errors.As(err, &unknownHost):
		return curlResolve, "Couldn't resolve host name"
	case errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid):
		return curlPeer, "SSL peer certificate or SSH remote key was not OK: " + err.Error()
	case errors.As(err, &record), errors.As(err, &alert), strings.Contains(err.Error(), "tls: "),
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return curlTLS, "SSL connect error: " + err.Error()
	case errors.As(err, &operation) && (operation.Op == "dial" || operation.Op == "proxyconnect" || operation.Op == "socks connect"):
		return curlConnect, "Couldn't connect to server"
	case !errors.Is(err, errBody) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return curlNothing, "Server returned nothing (no headers, no data)"
	}
	return curlReceive, "Failure when receiving data from the peer: " + err.Error()
}

func timedOut(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// transferError gives an error of a request the words of LuaSocket and LuaSec.
func transferError(ctx context.Context, err error) string {
	err = withoutURL(err)
	if number, _ := classify(ctx, err); number == curlPeer {
		return "certificate verify failed: " + err.Error()
	} else if number == curlTimeout {
		return "timeout"
	}
	return socketError(ctx, err)
}
