package modules

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/weirhq/weir/internal/lua"
)

func encodeBase64(c *lua.Call) (int, error) {
	text, err := c.Bytes(1)
	if err != nil {
		return 0, err
	}
	c.PushBytes(base64.StdEncoding.AppendEncode(nil, text))
	return 1, nil
}

// decodeBase64 passes over bytes that are not of the alphabet, as the Lua modules do. What
// cannot be decoded gives nil.
func decodeBase64(c *lua.Call) (int, error) {
	text, err := c.String(1)
	if err != nil {
		return 0, err
	}
	text, _, _ = strings.Cut(text, "=")
	text = strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '+' || r == '/' {
			return r
		}
		return -1
	}, text)
	out, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		c.PushNil()
		return 1, nil
	}
	c.PushBytes(out)
	return 1, nil
}

const keyType = "private key"

func defineKey(vm *lua.VM) error {
	return vm.DefineType(lua.ObjectType{Name: keyType, Methods: map[string]lua.Function{
		"__tostring": func(c *lua.Call) (int, error) { // never the key itself
			c.PushString(keyType)
			return 1, nil
		},
	}})
}

// keyFromPEM reads an RSA private key, nil when the text has none.
func keyFromPEM(c *lua.Call) (int, error) {
	text, err := c.Bytes(1)
	if err != nil {
		return 0, err
	}
	if key := parseKey(text); key != nil {
		c.Push(&lua.Object{Type: keyType, Value: key})
	} else {
		c.PushNil()
	}
	return 1, nil
}

func parseKey(text []byte) *rsa.PrivateKey {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil
		}
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key
		}
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := key.(*rsa.PrivateKey); ok {
				return key
			}
		}
		text = rest
	}
}

var digests = map[string]crypto.Hash{
	"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
}

// sign gives the RSA PKCS#1 v1.5 signature of a text: digest, text, key.
func sign(c *lua.Call) (int, error) {
	name, err := c.String(1)
	if err != nil {
		return 0, err
	}
	digest, known := digests[strings.TrimSuffix(strings.ToLower(name), "withrsaencryption")]
	if !known {
		return 0, &lua.ArgumentError{Argument: 1, Message: fmt.Sprintf("digest %q is unknown, there are sha1, sha256, sha384 and sha512", name)}
	}
	text, err := c.Bytes(2)
	if err != nil {
		return 0, err
	}
	key, err := c.Object(3, keyType)
	if err != nil {
		return 0, err
	}
	h := digest.New()
	h.Write(text)
	signature, err := rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), digest, h.Sum(nil))
	if err != nil {
		return 0, fmt.Errorf("cannot sign: %w", err)
	}
	c.PushBytes(signature)
	return 1, nil
}
