package assertion

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func key(t testing.TB) (*ecdsa.PrivateKey, string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	return k, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestForeignAlgorithms: a key signs with an algorithm of its own kind only, and never
// without one.
func TestForeignAlgorithms(t *testing.T) {
	t.Parallel()
	raw, text := key(t)
	k, err := ReadKey(perennial.NewSecret(text))
	require.NoError(t, err)
	for _, algorithm := range append([]string{"none", "es256"}, Algorithms...) {
		signed, err := k.Sign(algorithm, map[string]any{"iss": "x"})
		if algorithm == "ES256" {
			token, err := jwt.ParseSigned(signed.Reveal(), []jose.SignatureAlgorithm{jose.ES256})
			require.NoError(t, err)
			require.NoError(t, token.Claims(raw.Public(), &map[string]any{}))
			continue
		}
		assert.Equal(t, errForeignAlg, err, algorithm)
		assert.True(t, signed.IsZero())
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: raw, Algorithm: "RS256"})
	require.NoError(t, err)
	_, err = ReadKey(perennial.NewSecret(string(jwk)))
	assert.Equal(t, errForeignAlg, err)
	for algorithm, size := range map[string]int{"": 32, "HS256": 32, "HS384": 48, "HS512": 64} {
		_, err = SignWithSecret(perennial.NewSecret(strings.Repeat("x", size-1)), algorithm, nil)
		assert.Equal(t, errShort, err)
		_, err = SignWithSecret(perennial.NewSecret(strings.Repeat("x", size)), algorithm, map[string]any{})
		assert.NoError(t, err)
	}
	_, err = SignWithSecret(perennial.NewSecret(strings.Repeat("x", 64)), "ES256", nil)
	assert.Equal(t, errForeignAlg, err)
}

// FuzzReadKey reads any text: there is no panic, a key that is read can sign, and no
// error repeats the text.
func FuzzReadKey(f *testing.F) {
	raw, text := key(f)
	jwk, err := json.Marshal(jose.JSONWebKey{Key: raw, KeyID: "1"})
	require.NoError(f, err)
	public, err := json.Marshal(jose.JSONWebKey{Key: raw.Public()})
	require.NoError(f, err)
	for _, seed := range []string{text, string(jwk), string(public), `{"keys":[` + string(jwk) + `]}`, `{"keys":[]}`, "{}", "", "-----BEGIN PRIVATE KEY-----", strings.ReplaceAll(text, "PRIVATE", "RSA PRIVATE"), `{"kty":"oct","k":"AA"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := Certificate(perennial.NewSecret(text))
		k, keyErr := ReadKey(perennial.NewSecret(text))
		for _, err := range []error{err, keyErr} {
			if err != nil && len(text) > 16 {
				require.NotContains(t, err.Error(), text)
			}
		}
		if keyErr == nil {
			_, err := k.Sign("", map[string]any{"iss": "x"})
			require.NoError(t, err)
		}
	})
}
