package bbdo

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
)

// TLSMode is how TLS is used on a connection.
type TLSMode string

const (
	// TLSOff is the zero value: TLS is not offered.
	TLSOff TLSMode = ""
	// TLSOffered begins TLS after the negotiation when the peer offers it as well.
	TLSOffered TLSMode = "offered"
	// TLSRequired closes connections of peers that do not offer it.
	TLSRequired TLSMode = "required"
	// TLSLayer begins TLS before the first packet: encryption "yes" at pollers with
	// bbdo_server and bbdo_client endpoints.
	TLSLayer TLSMode = "layer"
)

// TLS is the configuration of TLS. The accepting side needs Cert and Key: what
// pollers do without them, anonymous key exchange, protects from nobody and is
// not supported. The lowest version is 1.2.
type TLS struct {
	Mode TLSMode
	Cert string // PEM file of this side's certificate (public_cert)
	Key  string // PEM file of its private key
	// CA is a PEM file of the certificates peers are checked against. The
	// connecting side takes the system's without it; the accepting side checks
	// clients that show a certificate only when it is set.
	CA string
	// Hostname is the name the connecting side expects in the certificate instead
	// of the name it connected to (tls_hostname).
	Hostname string
	// RequireClientCert makes the accepting side refuse clients without a certificate.
	RequireClientCert bool
}

// Check reads the files, and returns an error that says what is wrong with one.
func (t TLS) Check(accepting bool) error {
	_, err := t.config(accepting, "")
	return err
}

// config reads the files. It returns nil when TLS is off.
func (t TLS) config(accepting bool, host string) (*tls.Config, error) {
	switch t.Mode {
	case TLSOff:
		return nil, nil
	case TLSOffered, TLSRequired, TLSLayer:
	default:
		return nil, fmt.Errorf("cannot use TLS mode %q: want %q, %q or %q", t.Mode, TLSOffered, TLSRequired, TLSLayer)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if t.Hostname != "" {
		c.ServerName = t.Hostname
	}
	if t.Cert != "" || t.Key != "" {
		cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot load certificate %q with key %q: %w", t.Cert, t.Key, err)
		}
		c.Certificates = []tls.Certificate{cert}
	} else if accepting {
		return nil, errors.New("cannot accept TLS without a certificate and a key")
	}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("cannot read certificates of authorities: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("cannot read certificates of authorities: none in %q", t.CA)
		}
		c.RootCAs, c.ClientCAs = pool, pool
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	if t.RequireClientCert {
		if t.CA == "" {
			return nil, errors.New("cannot require client certificates without the certificates of authorities to check them against")
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.CipherSuites) > 0 && !slices.ContainsFunc(hello.CipherSuites, authenticated) {
			return nil, errors.New("peer offers only anonymous TLS; configure a certificate")
		}
		return nil, nil
	}
	return c, nil
}

// authenticated reports whether a cipher suite is neither one of anonymous key
// exchange nor one of the values that signal something else.
func authenticated(suite uint16) bool {
	switch {
	case suite >= 0x0017 && suite <= 0x001b, // DH_anon with RC4, DES
		suite == 0x0034, suite == 0x003a, // AES-CBC, SHA-1
		suite == 0x0046, suite == 0x0089, suite == 0x00bf, suite == 0x00c5, // Camellia
		suite == 0x006c, suite == 0x006d, suite == 0x009b, // AES-CBC SHA-256, SEED
		suite == 0x00a6, suite == 0x00a7, // AES-GCM
		suite >= 0xc015 && suite <= 0xc019, // ECDH_anon
		suite == 0xc084, suite == 0xc085,   // Camellia-GCM
		suite == 0x00ff, suite == 0x5600: // renegotiation, fallback
		return false
	}
	return true
}
