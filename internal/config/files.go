package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
)

const maxToken = 4096 // bytes

// readFiles reads what the configuration names.
func (c *Config) readFiles() error {
	failed := append(c.readOutputs(), c.readParameters()...)
	failed = append(append(failed, c.decryptParameters()...), c.readStream()...)
	failed = append(append(append(failed, c.readDrivers()...), c.readBackends()...), c.readInventory()...)
	if path := c.HTTP.TokenFile; path != "" {
		token, err := readToken(path)
		if err != nil {
			failed = append(failed, c.Fail("http.token_file", fmt.Errorf("cannot use %s for http.token_file: %s", quote(path), reason(err))))
		}
		c.HTTP.Token = token
	}
	if t := &c.HTTP.TLS; t.Cert != "" {
		certificate, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			failed = append(failed, c.Fail("http.tls", fmt.Errorf("cannot use the certificate %s with the key %s: %w", quote(t.Cert), quote(t.Key), err)))
		}
		t.Certificate = certificate
	}
	for i, b := range c.Events.BBDO {
		if err := b.TLS.Check(!b.Connects()); err != nil {
			path := fmt.Sprintf("sources.bbdo[%d].tls", i)
			failed = append(failed, c.Fail(path, fmt.Errorf("cannot use %s: %w", path, err)))
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

func readToken(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(content))
	switch {
	case token == "":
		return "", errors.New("the file is empty")
	case len(token) > maxToken:
		return "", fmt.Errorf("the file has more than %d bytes, which is no token", maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", errors.New("the file has more than one line or control characters")
	}
	return token, nil
}
