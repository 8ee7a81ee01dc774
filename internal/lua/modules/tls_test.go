package modules

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// authority issues certificates for tests.
type authority struct {
	file string // its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: t.TempDir() + "/ca.pem", key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Weir test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

// What may be wrong with a certificate.
const (
	good    = ""
	expired = "expired"
	other   = "for another host"
	foreign = "of another authority"
)

// issue makes the certificate of a server at 127.0.0.1.
func (a *authority) issue(t *testing.T, wrong string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	switch wrong {
	case expired:
		template.NotAfter = time.Now().Add(-time.Minute)
	case other:
		template.IPAddresses, template.DNSNames = nil, []string{"example.org"}
	case foreign:
		a = newAuthority(t)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// https is the URL of a server of TLS with such a certificate.
func (a *authority) https(t *testing.T, wrong string) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.issue(t, wrong)}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// Each certificate that is wrong is refused by name, unless the script does not want to know.
func TestVerification(t *testing.T) {
	a := newAuthority(t)
	vm, _ := open(t, Options{})
	for wrong, reason := range map[string]string{
		good: "", expired: "certificate has expired", other: "127.0.0.1", foreign: "signed by unknown authority",
	} {
		t.Run(wrong, func(t *testing.T) {
			url := a.https(t, wrong)
			verified := `require("cURL").easy{ url = "` + url + `", cainfo = "` + a.file + `", writefunction = function() end, %s }:perform()`
			ok := func(options string) {
				t.Helper()
				run(t, vm, values{}, verified, options)
			}
			if wrong == good {
				ok("")
				ok("ssl_verifypeer = 1, ssl_verifyhost = 2")
			} else {
				raises(t, vm, "[CURL-EASY][PEER_FAILED_VERIFICATION]", verified, "")
				raises(t, vm, reason, verified, "")
			}
			if wrong == other {
				ok("ssl_verifyhost = 0")
				raises(t, vm, reason, verified, "ssl_verifypeer = 0") // the name is looked at by itself, as in libcurl
			} else if wrong != good {
				raises(t, vm, reason, verified, "ssl_verifyhost = 0")
				ok("ssl_verifypeer = false")
			}
			ok("ssl_verifypeer = 0, ssl_verifyhost = 0")

			https := `local ok, err = require("ssl.https").request{ url = "` + url + `", %s } return ok, tostring(err)`
			run(t, vm, values{int64(1), "200"}, https, "")
			run(t, vm, values{int64(1), "200"}, https, `verify = "none", cafile = "`+a.file+`"`)
			got, err := vm.DoString("=test", strings.Replace(https, "%s", `verify = "peer", cafile = "`+a.file+`"`, 1))
			if err != nil {
				t.Fatal(err)
			}
			if text := got[1].(string); wrong != good && (got[0] != nil || !strings.HasPrefix(text, "certificate verify failed: ") || !strings.Contains(text, reason)) {
				t.Errorf("ssl.https gave %v", got)
			}
		})
	}
}
