package modules

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"os"
)

// loadKeyPair reads a certificate and its key, which may be encrypted with a password.
func loadKeyPair(certificate, key, password string) (tls.Certificate, error) {
	chain, err := os.ReadFile(certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	text, err := os.ReadFile(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if password != "" {
		if text, err = decryptKey(text, []byte(password)); err != nil {
			return tls.Certificate{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	return tls.X509KeyPair(chain, text)
}

// decryptKey gives PEM text with its key decrypted; text without an encrypted key stays as it is.
func decryptKey(text, password []byte) ([]byte, error) {
	var out []byte
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out, nil
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY":
			der, err := decryptPKCS8(block.Bytes, password)
			if err != nil {
				return nil, err
			}
			block = &pem.Block{Type: "PRIVATE KEY", Bytes: der}
		case block.Headers["DEK-Info"] != "":
			//lint:ignore SA1019 keys of that form exist
			der, err := x509.DecryptPEMBlock(block, password)
			if err != nil {
				return nil, err
			}
			block = &pem.Block{Type: block.Type, Bytes: der}
		}
		out = append(out, pem.EncodeToMemory(block)...)
	}
}

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

	// By the text of their identifier.
	pbkdf2Hashes = map[string]func() hash.Hash{
		"1.2.840.113549.2.7": sha1.New, "1.2.840.113549.2.9": sha256.New,
		"1.2.840.113549.2.10": sha512.New384, "1.2.840.113549.2.11": sha512.New,
	}
	pbes2Ciphers = map[string]struct {
		key int
		new func([]byte) (cipher.Block, error)
	}{
		"2.16.840.1.101.3.4.1.2": {16, aes.NewCipher}, "2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
		"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher}, "1.2.840.113549.3.7": {24, des.NewTripleDESCipher},
	}
)

// maxIterations bounds the work that a key file asks for.
const maxIterations = 10_000_000

var errPassword = errors.New("cannot decrypt the key: wrong password or damaged file")

// decryptPKCS8 decrypts a key of PKCS #8 (RFC 5958) with the scheme PBES2 (RFC 8018).
func decryptPKCS8(der, password []byte) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	var scheme struct{ Derivation, Cipher pkix.AlgorithmIdentifier }
	var derivation struct {
		Salt       []byte
		Iterations int
		Length     int                      `asn1:"optional"`
		Hash       pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	var iv []byte
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, errPassword
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("cannot decrypt the key: the scheme %s is not supported, encrypt it with PBES2 (openssl pkcs8 -topk8)", info.Algorithm.Algorithm)
	}
	if _, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &scheme); err != nil || !scheme.Derivation.Algorithm.Equal(oidPBKDF2) {
		return nil, fmt.Errorf("cannot decrypt the key: PBKDF2 expected for its password, found %s", scheme.Derivation.Algorithm)
	}
	if _, err := asn1.Unmarshal(scheme.Derivation.Parameters.FullBytes, &derivation); err != nil {
		return nil, errPassword
	}
	if _, err := asn1.Unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, errPassword
	}
	newHash := sha1.New
	if len(derivation.Hash.Algorithm) > 0 {
		newHash = pbkdf2Hashes[derivation.Hash.Algorithm.String()]
	}
	c, known := pbes2Ciphers[scheme.Cipher.Algorithm.String()]
	switch {
	case newHash == nil:
		return nil, fmt.Errorf("cannot decrypt the key: the hash %s is not supported", derivation.Hash.Algorithm)
	case !known:
		return nil, fmt.Errorf("cannot decrypt the key: the cipher %s is not supported", scheme.Cipher.Algorithm)
	case derivation.Iterations < 1 || derivation.Iterations > maxIterations:
		return nil, fmt.Errorf("cannot decrypt the key: %d iterations, from 1 to %d are possible", derivation.Iterations, maxIterations)
	}
	key, err := pbkdf2.Key(newHash, string(password), derivation.Salt, derivation.Iterations, c.key)
	if err != nil {
		return nil, fmt.Errorf("cannot decrypt the key: %w", err)
	}
	block, err := c.new(key)
	if err != nil {
		return nil, fmt.Errorf("cannot decrypt the key: %w", err)
	}
	size := block.BlockSize()
	if len(iv) != size || len(info.Data) == 0 || len(info.Data)%size != 0 {
		return nil, errPassword
	}
	plain := make([]byte, len(info.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, info.Data)
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > size {
		return nil, errPassword
	}
	for _, b := range plain[len(plain)-padding:] {
		if int(b) != padding {
			return nil, errPassword
		}
	}
	return plain[:len(plain)-padding], nil
}
