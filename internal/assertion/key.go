package assertion

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/perennial-oauth/perennial"
)

// Key is a private key, with its id and certificates.
type Key struct {
	signer      crypto.Signer
	id          string // kid of a JSON Web Key; empty: none
	algorithm   string // that a JSON Web Key names; empty: none
	certificate []byte // the first certificate of a PEM text, in DER; nil: none
}

// The problems of a key, each the end of a sentence that begins with its name.
var (
	errNoKey       = errors.New("has no private key: give one in PEM (PKCS #8, PKCS #1 or SEC 1), or as a JSON Web Key (RFC 7517)")
	errEncrypted   = errors.New("has an encrypted private key: store it without a passphrase")
	errPublic      = errors.New("has a public key: the private one is needed")
	errUnreadable  = errors.New("has a private key that cannot be read")
	errUnsuitable  = errors.New("has a key that cannot sign: RSA of at least 2048 bits, P-256, P-384, P-521 and Ed25519 can")
	errSeveralKeys = errors.New("has several private keys: give each its own name in the list")
	errCertificate = errors.New("has no certificate that fits its private key: give both in one PEM text, the key's own certificate first")
	errForeignAlg  = errors.New("has a key that does not fit the algorithm")
	errShort       = errors.New("has fewer bytes than its algorithm needs: 32 for HS256, 48 for HS384, 64 for HS512 (RFC 7518 section 3.2)")
)

// ReadKey reads a private key: in PEM, with certificates or without, or as a JSON Web
// Key.
func ReadKey(text perennial.Secret) (Key, error) {
	raw := []byte(strings.TrimSpace(text.Reveal()))
	if len(raw) > 0 && raw[0] == '{' {
		return fromJWK(raw)
	}
	return fromPEM(raw)
}

func fromJWK(raw []byte) (Key, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(raw, &set); err == nil && len(set.Keys) > 1 {
		return Key{}, errSeveralKeys
	} else if err == nil && len(set.Keys) == 1 {
		raw = set.Keys[0]
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil { // without the error, which may quote
		return Key{}, errUnreadable
	}
	signer, ok := jwk.Key.(crypto.Signer)
	switch _, symmetric := jwk.Key.([]byte); {
	case symmetric:
		return Key{}, errNoKey
	case !ok && jwk.IsPublic():
		return Key{}, errPublic
	case !ok || !jwk.Valid():
		return Key{}, errUnreadable
	}
	k := Key{signer: signer, id: jwk.KeyID, algorithm: jwk.Algorithm}
	if len(jwk.Certificates) > 0 {
		k.certificate = jwk.Certificates[0].Raw
	}
	return k, k.check()
}

func fromPEM(raw []byte) (Key, error) {
	var k Key
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "CERTIFICATE":
			if k.certificate == nil {
				k.certificate = block.Bytes
			}
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return Key{}, errEncrypted
		case block.Type == "PUBLIC KEY" || block.Type == "RSA PUBLIC KEY":
			return Key{}, errPublic
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			if k.signer != nil {
				return Key{}, errSeveralKeys
			}
			signer, ok := parse(block.Bytes)
			if !ok {
				return Key{}, errUnreadable
			}
			k.signer = signer
		}
	}
	if k.signer == nil {
		return Key{}, errNoKey
	}
	return k, k.check()
}

// parse reads a private key in any of the usual forms of DER.
func parse(der []byte) (crypto.Signer, bool) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, ok := key.(crypto.Signer)
		return signer, ok
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, true
	}
	key, err := x509.ParseECPrivateKey(der)
	return key, err == nil
}

const minRSA = 2048 // bits (RFC 7518 section 3.3)

func (k Key) check() error {
	if r, ok := k.signer.(*rsa.PrivateKey); len(k.fits()) == 0 || ok && r.N.BitLen() < minRSA {
		return errUnsuitable
	}
	if k.algorithm != "" && !slices.Contains(k.fits(), k.algorithm) {
		return errForeignAlg
	}
	return nil
}

// fits returns the algorithms of the key's kind, the usual one first.
func (k Key) fits() []string {
	switch key := k.signer.(type) {
	case *rsa.PrivateKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PrivateKey:
		switch key.Params().BitSize {
		case 256:
			return []string{"ES256"}
		case 384:
			return []string{"ES384"}
		case 521:
			return []string{"ES512"}
		}
	case ed25519.PrivateKey:
		return []string{"EdDSA"}
	}
	return nil
}

// Certificate returns the certificate of a PEM text with its private key, for TLS.
func Certificate(text perennial.Secret) (tls.Certificate, error) {
	if _, err := fromPEM([]byte(text.Reveal())); err != nil {
		return tls.Certificate{}, err
	}
	raw := []byte(text.Reveal())
	c, err := tls.X509KeyPair(raw, raw)
	if err != nil {
		return tls.Certificate{}, errCertificate
	}
	return c, nil
}
