package config

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha3"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"strings"
)

// encrypted is what a parameter begins with whose value is to be decrypted.
const encrypted = "encrypt::"

// secretKey decrypts parameters as they are in configurations of Centreon.
type secretKey struct{ app, salt []byte }

// readSecretKey reads a file {"app_secret": BASE64, "salt": BASE64}. Errors do not quote it.
func readSecretKey(path string) (*secretKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Secret string `json:"app_secret"`
		Salt   string `json:"salt"`
	}
	if json.Unmarshal(text, &file) != nil {
		return nil, errors.New(`the file is not JSON like {"app_secret": "...", "salt": "..."}`)
	}
	k := &secretKey{}
	for _, m := range []struct {
		name, text string
		to         *[]byte
	}{{"app_secret", file.Secret, &k.app}, {"salt", file.Salt, &k.salt}} {
		if *m.to, err = base64.StdEncoding.DecodeString(m.text); err != nil || m.text == "" {
			return nil, fmt.Errorf("its member %q is missing or is not base64", m.name)
		}
	}
	if len(k.app) != 32 {
		return nil, fmt.Errorf(`its member "app_secret" is a key of %d bytes, and must be one of 32`, len(k.app))
	}
	return k, nil
}

var errCiphertext = errors.New("The content is not AES256 encrypted") //lint:ignore ST1005 administrators know this text

// decrypt returns the text of base64 of iv(16), hmac-sha3-512(64), ciphertext. The
// authenticity is that of the ciphertext, with or without the iv before it.
func (k *secretKey) decrypt(text string) (string, error) {
	all, err := base64.StdEncoding.DecodeString(text)
	const head = aes.BlockSize + 64
	if err != nil || len(all) <= head || len(all)%aes.BlockSize != 0 {
		return "", errCiphertext
	}
	iv, mac, body := all[:aes.BlockSize], all[aes.BlockSize:head], all[head:]
	if !hmac.Equal(mac, k.sum(body)) && !hmac.Equal(mac, k.sum(iv, body)) {
		return "", errCiphertext
	}
	block, err := aes.NewCipher(k.app)
	if err != nil {
		return "", errCiphertext
	}
	clear := make([]byte, len(body))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(clear, body)
	n := int(clear[len(clear)-1])
	if n == 0 || n > aes.BlockSize || strings.Trim(string(clear[len(clear)-n:]), string(rune(n))) != "" {
		return "", errCiphertext
	}
	return string(clear[:len(clear)-n]), nil
}

func (k *secretKey) sum(parts ...[]byte) []byte {
	h := hmac.New(func() hash.Hash { return sha3.New512() }, k.salt)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
