package modules

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/lua"
)

// open makes a VM with the modules.
func open(t *testing.T, o Options) (*lua.VM, *Modules) {
	t.Helper()
	vm, err := lua.New(lua.Options{Compatibility: true, Memory: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Register(vm, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vm.Close()
		m.Close()
	})
	return vm, m
}

// run runs a script and wants these results; %s of it are replaced.
func run(t *testing.T, vm *lua.VM, want []lua.Value, script string, args ...any) {
	t.Helper()
	got, err := vm.DoString("=test", fmt.Sprintf(script, args...))
	if err != nil {
		t.Errorf("%s\n%v", script, err)
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s", script, diff)
	}
}

// raises runs a script and wants an error with this text.
func raises(t *testing.T, vm *lua.VM, want, script string, args ...any) {
	t.Helper()
	_, err := vm.DoString("=test", fmt.Sprintf(script, args...))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s\ngave the error %v, want %q", script, err, want)
	}
}

type values = []lua.Value

func TestEncoding(t *testing.T) {
	vm, _ := open(t, Options{})
	run(t, vm, values{"TG9vawA=", ""}, `return require("mime").b64("Look\0")`)
	run(t, vm, values{"Basic YTpi"}, `return "Basic " .. (require "mime".b64("a:b"))`)
	run(t, vm, values{"Look\x00", ""}, `return require("mime").unb64("TG9v\r\nawA=")`)
	run(t, vm, values{nil}, `return require("mime").b64(nil)`)
	run(t, vm, values{"eA=="}, `return require("base64").encode("x")`)
	run(t, vm, values{"x"}, `return require("base64").decode("eA==")`)
	run(t, vm, values{nil}, `return require("base64").decode("e")`)
	raises(t, vm, "string expected, got nil", `require("base64").encode(nil)`)
}

func TestLtn12(t *testing.T) {
	vm, _ := open(t, Options{})
	run(t, vm, values{int64(1), int64(5000), int64(3)}, `local ltn12 = require "ltn12"
		local t = {}
		local ok = ltn12.pump.all(ltn12.source.string(("x"):rep(5000)), ltn12.sink.table(t))
		return ok, #table.concat(t), #t`)
	path := t.TempDir() + "/file"
	run(t, vm, values{int64(1), int64(1), "content"}, `local ltn12 = require "ltn12"
		local a = ltn12.pump.all(ltn12.source.string("content"), ltn12.sink.file(io.open(%q, "w")))
		local t = {}
		local b = ltn12.pump.all(ltn12.source.file(io.open(%q)), ltn12.sink.table(t))
		return a, b, table.concat(t)`, path, path)
	run(t, vm, values{int64(1), nil, "no such file"}, `local ltn12 = require "ltn12"
		return ltn12.pump.all(ltn12.source.empty(), ltn12.sink.null()), ltn12.pump.all(ltn12.source.file(nil, "no such file"), ltn12.sink.null())`)
}

func TestURL(t *testing.T) {
	vm, _ := open(t, Options{})
	run(t, vm, values{"https", "host", "8080", "u", "p", "/a/b", "x=1", "f"}, `local u = require("socket.url").parse("https://u:p@host:8080/a/b?x=1#f")
		return u.scheme, u.host, u.port, u.user, u.password, u.path, u.query, u.fragment`)
	run(t, vm, values{"https://u:p@[::1]:8080/a?x=1"}, `local url = require("socket.url")
		return url.build(url.parse("https://u:p@[::1]:8080/a?x=1"))`)
	run(t, vm, values{"a%20b%2f", "a b/"}, `local url = require("socket.url")
		return url.escape("a b/"), url.unescape("a%%20b%%2F")`)
	run(t, vm, values{nil, "invalid url"}, `return require("socket.url").parse(nil)`)
}

func TestCrypto(t *testing.T) {
	vm, _ := open(t, Options{})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("header.claim"))
	for kind, der := range map[string][]byte{"PRIVATE KEY": pkcs8, "RSA PRIVATE KEY": x509.MarshalPKCS1PrivateKey(key)} {
		for _, digest := range []string{"sha256WithRSAEncryption", "sha256"} {
			got, err := vm.DoString("=test", fmt.Sprintf(`local crypto = require "crypto"
				return crypto.sign(%q, "header.claim", crypto.pkey.from_pem(%q, true))`,
				digest, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
			if err != nil {
				t.Fatal(err)
			}
			if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], []byte(got[0].(string))); err != nil {
				t.Errorf("%s %s: %v", kind, digest, err)
			}
		}
	}
	run(t, vm, values{nil}, `return require("crypto").pkey.from_pem("no key", true)`)
	raises(t, vm, "private key expected, got nil", `return require("crypto").sign("sha256", "x", nil)`)
	raises(t, vm, `digest "md4" is unknown`, `return require("crypto").sign("md4", "x", nil)`)
}

func TestSleep(t *testing.T) {
	vm, m := open(t, Options{})
	run(t, vm, values{true}, `local socket = require "socket"
		local before = socket.gettime()
		socket.sleep(0.01)
		return socket.gettime() - before >= 0.01`)
	time.AfterFunc(20*time.Millisecond, m.Interrupt)
	raises(t, vm, "cannot sleep 3600 s: interrupted", `require("socket").sleep(3600)`)
	vm, _ = open(t, Options{Call: 20 * time.Millisecond})
	raises(t, vm, "deadline exceeded", `require("socket").sleep(3600)`)
}
