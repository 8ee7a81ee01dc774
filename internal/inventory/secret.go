package inventory

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// box encrypts secrets.
type box struct {
	aead cipher.AEAD
	salt []byte // of hashes of tokens
}

// minSecret is how many bytes the secret of an Inventory has at least.
const minSecret = 16

func newBox(secret string) (*box, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("the key of its secrets has %d bytes; it must have %d or more", len(secret), minSecret)
	}
	derive := func(purpose string) ([]byte, error) {
		return hkdf.Key(sha256.New, []byte(secret), nil, "weir inventory "+purpose, 32)
	}
	key, err := derive("secrets")
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	salt, err := derive("tokens")
	return &box{aead, salt}, err
}

// seal encrypts text. What place it is for must be said again to open it, so that
// one secret cannot be put in the place of another.
func (b *box) seal(text []byte, place string) []byte {
	nonce := make([]byte, b.aead.NonceSize())
	rand.Read(nonce)
	return b.aead.Seal(nonce, nonce, text, []byte(place))
}

func (b *box) open(sealed []byte, place string) ([]byte, error) {
	n := b.aead.NonceSize()
	if len(sealed) < n {
		return nil, errors.New("a secret is damaged")
	}
	text, err := b.aead.Open(nil, sealed[:n], sealed[n:], []byte(place))
	if err != nil {
		return nil, errors.New("a secret is damaged, or was encrypted with another key")
	}
	return text, nil
}

// hash is by what a token is found.
func (b *box) hash(token string) []byte {
	h := sha256.New()
	h.Write(b.salt)
	h.Write([]byte(token))
	return h.Sum(nil)
}

// randomText is 2n hexadecimal digits.
func randomText(n int) string {
	bytes := make([]byte, n)
	rand.Read(bytes)
	return hex.EncodeToString(bytes)
}
