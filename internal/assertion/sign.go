package assertion

import (
	"crypto/sha1" // for the thumbprint of RFC 7515 section 4.1.7, not a signature
	"crypto/sha256"
	"encoding/base64"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/perennial-oauth/perennial"
)

// Algorithms lists the algorithms of signatures (RFC 7518 section 3.1, RFC 8037).
var Algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"}

// Sign signs claims as a JSON Web Token. Without an algorithm it takes that of the JSON
// Web Key, else the usual one of the key's kind. The header names the key by its id, and
// by the thumbprints of its certificate, if it has them.
func (k Key) Sign(algorithm string, claims map[string]any) (perennial.Secret, error) {
	switch {
	case algorithm != "":
	case k.algorithm != "":
		algorithm = k.algorithm
	default:
		algorithm = k.fits()[0]
	}
	if !slices.Contains(k.fits(), algorithm) {
		return perennial.Secret{}, errForeignAlg
	}
	options := (&jose.SignerOptions{}).WithType("JWT")
	if k.certificate != nil {
		long, short := sha256.Sum256(k.certificate), sha1.Sum(k.certificate)
		options = options.WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(long[:])).
			WithHeader("x5t", base64.RawURLEncoding.EncodeToString(short[:]))
	}
	return sign(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: k.signer, KeyID: k.id}}, options, claims)
}

// WithID returns the key under another id.
func (k Key) WithID(id string) Key {
	k.id = id
	return k
}

// SignWithSecret signs claims with a secret that both sides have (HS256, HS384, HS512;
// without an algorithm HS256).
func SignWithSecret(secret perennial.Secret, algorithm string, claims map[string]any) (perennial.Secret, error) {
	sizes := map[string]int{"": 32, "HS256": 32, "HS384": 48, "HS512": 64}
	size, ok := sizes[algorithm]
	switch {
	case !ok:
		return perennial.Secret{}, errForeignAlg
	case len(secret.Reveal()) < size:
		return perennial.Secret{}, errShort
	case algorithm == "":
		algorithm = "HS256"
	}
	return sign(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: []byte(secret.Reveal())}, (&jose.SignerOptions{}).WithType("JWT"), claims)
}

func sign(key jose.SigningKey, options *jose.SignerOptions, claims map[string]any) (perennial.Secret, error) {
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		return perennial.Secret{}, errForeignAlg
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		return perennial.Secret{}, errUnsuitable
	}
	return perennial.NewSecret(token), nil
}
