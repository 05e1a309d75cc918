package conformance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// signingKey returns a private key in PEM, and the public one as the server knows it.
func signingKey(t *testing.T) (perennial.Secret, jose.JSONWebKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return perennial.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), jose.JSONWebKey{Key: key.Public(), Use: "sig", KeyID: "1"}
}

// TestPrivateKeyJWT: fosite verifies the client's assertions and takes each once; of two
// keys, the one that it knows is found and stays the first.
func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	b := setup(t, perennial.ReplayReuseRevokes)
	right, public := signingKey(t)
	wrong, _ := signingKey(t)
	client, err := b.books.GetClient(context.Background(), "client")
	require.NoError(t, err)
	b.books.Clients["client"] = &fosite.DefaultOpenIDConnectClient{DefaultClient: client.(*fosite.DefaultClient), TokenEndpointAuthMethod: "private_key_jwt",
		TokenEndpointAuthSigningAlgorithm: "ES256", JSONWebKeys: &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}}
	b.config.TokenURL = b.URL + "/token"
	b.app.Provider.AuthStyle, b.app.Provider.Assertion = provider.AuthStylePrivateKeyJWT, provider.Assertion{AudienceList: true}
	b.app.ClientSecrets = []perennial.Secret{wrong, right}
	for generation := int64(2); generation <= 4; generation++ {
		res := b.refresh(t)
		require.Equal(t, perennial.OutcomeRefreshed, res.Outcome, "%s %s", res.Code, res.Description)
		assert.Equal(t, generation, res.Connection.Generation)
	}
	assert.EqualValues(t, 4, b.requests.Load(), "the wrong key was tried once")
	known, err := b.db.ClientSecret(t.Context(), "app")
	require.NoError(t, err)
	assert.Equal(t, right.Digest(), known.Digest)
}
