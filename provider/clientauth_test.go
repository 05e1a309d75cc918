package provider

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// testKey is a private key in PEM with a certificate of its own.
type testKey struct {
	signer      crypto.Signer
	key, both   perennial.Secret
	certificate *x509.Certificate
}

func newKey(t testing.TB, signer crypto.Signer) testKey {
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client id"}, NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(raw)
	require.NoError(t, err)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return testKey{signer, perennial.NewSecret(key), perennial.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})) + key), certificate}
}

func ecKey(t testing.TB) testKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return newKey(t, key)
}

// verifier is an authorization server that believes nothing but a client's proof.
type verifier struct {
	*httptest.Server
	verify func(r *http.Request) error

	mu    sync.Mutex
	seen  map[string]bool // every jti
	form  url.Values      // of the last request
	reply string          // in place of tokens
}

func newVerifier(t testing.TB) *verifier {
	v := &verifier{seen: map[string]bool{}}
	v.Server = httptest.NewUnstartedServer(v)
	v.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	v.StartTLS()
	t.Cleanup(v.Close)
	return v
}

func (v *verifier) client() *Client {
	return NewClient(ClientConfig{Transport: v.Client().Transport})
}

func (v *verifier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = r.ParseForm()
	v.form = r.PostForm
	w.Header().Set("Content-Type", "application/json")
	if err := v.verify(r); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":"invalid_client","error_description":%q}`, err)
		return
	}
	if v.reply != "" {
		fmt.Fprint(w, v.reply)
		return
	}
	fmt.Fprint(w, `{"access_token":"planted-access","refresh_token":"planted-refresh","expires_in":3600,"active":true,"sub":"account"}`)
}

// assertion verifies the client_assertion of a request as RFC 7523 section 3 says.
func (v *verifier) assertion(key any, alg jose.SignatureAlgorithm, audience string) func(*http.Request) error {
	return func(r *http.Request) error {
		if kind := r.PostForm.Get("client_assertion_type"); kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			return fmt.Errorf("the type is %q", kind)
		}
		if _, _, basic := r.BasicAuth(); basic || r.PostForm.Has("client_secret") || r.PostForm.Get("client_id") != "client id" {
			return fmt.Errorf("the client authenticates in another way too")
		}
		token, err := jwt.ParseSigned(r.PostForm.Get("client_assertion"), []jose.SignatureAlgorithm{alg})
		if err != nil {
			return err
		}
		var c jwt.Claims
		if err := token.Claims(key, &c); err != nil {
			return err
		}
		if err := c.ValidateWithLeeway(jwt.Expected{Issuer: "client id", Subject: "client id", AnyAudience: jwt.Audience{audience}, Time: time.Now()}, 0); err != nil {
			return err
		}
		switch life := c.Expiry.Time().Sub(c.IssuedAt.Time()); {
		case life > 3*time.Minute:
			return fmt.Errorf("it lives for %s", life)
		case c.ID == "" || v.seen[c.ID]:
			return fmt.Errorf("jti %q was used before", c.ID)
		}
		v.seen[c.ID] = true
		return nil
	}
}

// requests makes every kind of request that a client authenticates.
func requests(t *testing.T, c *Client, a App, proof perennial.Secret) {
	reply := c.Refresh(t.Context(), a, proof, testToken, free)
	require.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, "%s %s", reply.Code, reply.Description)
	reply = c.Exchange(t.Context(), a, proof, AuthorizationCode{Code: perennial.NewSecret("planted-code"), Verifier: perennial.NewSecret("planted-verifier"), RedirectURI: "https://p/cb"})
	require.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, "%s %s", reply.Code, reply.Description)
	a.ClientSecrets = []perennial.Secret{proof}
	require.NoError(t, c.Revoke(t.Context(), a, testToken))
	found, err := c.Account(t.Context(), a, proof, perennial.NewSecret("planted-access"), "", "")
	require.NoError(t, err)
	require.Equal(t, "account", found.ID)
}

func verifiedApp(v *verifier, style oauth2.AuthStyle) App {
	return App{Name: "app", ClientID: "client id", Provider: Entry{Name: "p", TokenURL: v.URL + "/token", RevokeURL: v.URL + "/revoke", IntrospectURL: v.URL + "/introspect", AuthStyle: style,
		Account: AccountSource{From: AccountFromIntrospection, Name: "sub"}}}
}

// TestSignedAssertions: every request has an assertion of its own that the server can
// verify, with every kind of key.
func TestSignedAssertions(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	ec := ecKey(t)
	long := strings.Repeat("planted-", 8)
	jwk, err := json.Marshal(jose.JSONWebKey{Key: rsaKey, KeyID: "key-1", Algorithm: "PS384"})
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(ec.signer.(*ecdsa.PrivateKey))
	require.NoError(t, err)
	text := func(kind string, der []byte) perennial.Secret {
		return perennial.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	}
	for name, c := range map[string]struct {
		proof    perennial.Secret
		style    oauth2.AuthStyle
		how      Assertion
		verified any
		alg      jose.SignatureAlgorithm
	}{
		"RSA, PKCS #8":      {newKey(t, rsaKey).key, AuthStylePrivateKeyJWT, Assertion{}, rsaKey.Public(), jose.RS256},
		"RSA, PKCS #1":      {text("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), AuthStylePrivateKeyJWT, Assertion{Algorithm: "PS256"}, rsaKey.Public(), jose.PS256},
		"RSA, JWK":          {perennial.NewSecret(string(jwk)), AuthStylePrivateKeyJWT, Assertion{}, rsaKey.Public(), jose.PS384},
		"RSA, set of JWK":   {perennial.NewSecret(`{"keys":[` + string(jwk) + `]}`), AuthStylePrivateKeyJWT, Assertion{Audience: "https://issuer.example"}, rsaKey.Public(), jose.PS384},
		"P-256, SEC 1":      {text("EC PRIVATE KEY", sec1), AuthStylePrivateKeyJWT, Assertion{}, ec.signer.Public(), jose.ES256},
		"P-384":             {newKey(t, p384).key, AuthStylePrivateKeyJWT, Assertion{}, p384.Public(), jose.ES384},
		"Ed25519":           {newKey(t, edKey).key, AuthStylePrivateKeyJWT, Assertion{}, edKey.Public(), jose.EdDSA},
		"with certificate":  {ec.both, AuthStylePrivateKeyJWT, Assertion{}, ec.signer.Public(), jose.ES256},
		"secret":            {perennial.NewSecret(long), AuthStyleSecretJWT, Assertion{}, []byte(long), jose.HS256},
		"secret, the longs": {perennial.NewSecret(long), AuthStyleSecretJWT, Assertion{Algorithm: "HS512"}, []byte(long), jose.HS512},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t)
			a := verifiedApp(v, c.style)
			a.Provider.Assertion = c.how
			audience := c.how.Audience
			if audience == "" {
				audience = a.Provider.TokenURL
			}
			v.verify = v.assertion(c.verified, c.alg, audience)
			require.NoError(t, a.Provider.CheckProof(c.proof))
			requests(t, v.client(), a, c.proof)
			assert.Len(t, v.seen, 4, "each with a jti of its own")
		})
	}
}

// TestAssertionHeader: a key is named by its id, or by its certificate.
func TestAssertionHeader(t *testing.T) {
	t.Parallel()
	ec := ecKey(t)
	e := Entry{AuthStyle: AuthStylePrivateKeyJWT}
	signed, err := e.sign(ec.both, map[string]any{"iss": "x"})
	require.NoError(t, err)
	token, err := jwt.ParseSigned(signed.Reveal(), []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	sum := sha256.Sum256(ec.certificate.Raw)
	assert.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), token.Headers[0].ExtraHeaders["x5t#S256"])
	assert.NotEmpty(t, token.Headers[0].ExtraHeaders["x5t"])
	assert.Equal(t, "JWT", token.Headers[0].ExtraHeaders["typ"])

	raw, err := json.Marshal(jose.JSONWebKey{Key: ec.signer, KeyID: "key-1"})
	require.NoError(t, err)
	signed, err = e.sign(perennial.NewSecret(string(raw)), map[string]any{"iss": "x"})
	require.NoError(t, err)
	token, err = jwt.ParseSigned(signed.Reveal(), []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	assert.Equal(t, "key-1", token.Headers[0].KeyID)
}

// TestPublicClient sends the client_id alone.
func TestPublicClient(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	v.verify = func(r *http.Request) error {
		if _, ok := r.Header["Authorization"]; ok || r.PostForm.Has("client_secret") || r.PostForm.Has("client_assertion") || r.PostForm.Get("client_id") != "client id" {
			return fmt.Errorf("not a public client")
		}
		return nil
	}
	requests(t, v.client(), verifiedApp(v, AuthStyleNone), perennial.Secret{})
}

// TestClientCertificate: each app's requests have its certificate, and no other's.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	first, second := ecKey(t), ecKey(t)
	client := v.client()
	accept := func(k testKey) {
		v.verify = func(r *http.Request) error {
			if len(r.TLS.PeerCertificates) != 1 || !r.TLS.PeerCertificates[0].Equal(k.certificate) || r.PostForm.Get("client_id") != "client id" || r.PostForm.Has("client_secret") {
				return fmt.Errorf("not the client's certificate")
			}
			return nil
		}
	}
	a := verifiedApp(v, AuthStyleTLS)
	for range 2 {
		for _, k := range []testKey{first, second} {
			accept(k)
			require.NoError(t, a.Provider.CheckProof(k.both))
			requests(t, client, a, k.both)
		}
	}
	reply := client.Refresh(t.Context(), a, first.both, testToken, free)
	assert.True(t, reply.ClientRejected(), "the second is accepted")
	without := verifiedApp(v, AuthStyleNone)
	reply = client.Refresh(t.Context(), without, perennial.Secret{}, testToken, free)
	assert.True(t, reply.ClientRejected(), "another app's requests have no certificate")
}

// TestRefusedCertificate: a server that ends the handshake has not seen the token, and
// the next certificate may be accepted.
func TestRefusedCertificate(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		v := &verifier{verify: func(*http.Request) error { return nil }}
		right, wrong := ecKey(t), ecKey(t)
		v.Server = httptest.NewUnstartedServer(v)
		pool := x509.NewCertPool()
		pool.AddCert(right.certificate)
		v.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MaxVersion: version}
		v.Config.ErrorLog = log.New(io.Discard, "", 0)
		v.StartTLS()
		t.Cleanup(v.Close)
		a := verifiedApp(v, AuthStyleTLS)
		reply := v.client().Refresh(t.Context(), a, wrong.both, testToken, free)
		assert.Equal(t, perennial.OutcomeMisconfigured, reply.Outcome, reply.Code)
		assert.Equal(t, "client_certificate_refused", reply.Code)
		assert.Equal(t, perennial.FaultClient, reply.Fault)
		assert.True(t, reply.ClientRejected())
		reply = v.client().Refresh(t.Context(), a, right.both, testToken, free)
		assert.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, reply.Code)
	}
}

// TestUnusableKey: without a usable key nothing is sent, and no text has it.
func TestUnusableKey(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	ec := ecKey(t)
	public, err := x509.MarshalPKIXPublicKey(ec.signer.Public())
	require.NoError(t, err)
	jwkPublic, err := json.Marshal(jose.JSONWebKey{Key: ec.signer.Public()})
	require.NoError(t, err)
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for text, want := range map[string]string{
		"planted-key":                          "no private key",
		block("PRIVATE KEY", []byte("x")):      "cannot be read",
		block("ENCRYPTED PRIVATE KEY", nil):    "encrypted",
		block("PUBLIC KEY", public):            "public key",
		string(jwkPublic):                      "public key",
		`{"kty":"oct","k":"cGxhbnRlZC1rZXk"}`:  "no private key",
		`{"kty":"planted-key`:                  "cannot be read",
		newKey(t, small).key.Reveal():          "2048 bits",
		ec.key.Reveal() + ec.key.Reveal():      "several private keys",
		ec.key.Reveal() + "\n" + "planted-key": "",
	} {
		v := newVerifier(t)
		v.verify = func(*http.Request) error { return nil }
		a := verifiedApp(v, AuthStylePrivateKeyJWT)
		reply := v.client().Refresh(t.Context(), a, perennial.NewSecret(text), testToken, free)
		err := a.Provider.CheckProof(perennial.NewSecret(text))
		if want == "" {
			require.NoError(t, err)
			require.Equal(t, perennial.OutcomeRefreshed, reply.Outcome)
			continue
		}
		require.ErrorContains(t, err, want)
		assert.Equal(t, perennial.OutcomeMisconfigured, reply.Outcome)
		assert.Equal(t, "client_key_unusable", reply.Code)
		assert.Contains(t, reply.Description, want)
		assert.False(t, reply.Sent)
		assert.Nil(t, v.form, "nothing was sent")
		assert.NotContains(t, reply.Description+err.Error(), "planted")
		require.ErrorContains(t, v.client().Revoke(t.Context(), App{ClientSecrets: []perennial.Secret{perennial.NewSecret(text)}, Provider: a.Provider}, testToken), want)
	}
	v := newVerifier(t)
	a := verifiedApp(v, AuthStyleTLS)
	for _, text := range []string{ec.key.Reveal(), ecKey(t).key.Reveal() + ec.both.Reveal(), "planted-key", strings.ReplaceAll(ec.both.Reveal(), ec.key.Reveal(), ecKey(t).key.Reveal())} {
		require.Error(t, a.Provider.CheckProof(perennial.NewSecret(text)))
		reply := v.client().Refresh(t.Context(), a, perennial.NewSecret(text), testToken, free)
		assert.Equal(t, "client_key_unusable", reply.Code)
	}
}

// TestAssertionStaysInside: a server that repeats the assertion puts it into no text, no
// request id and no kept reply.
func TestAssertionStaysInside(t *testing.T) {
	t.Parallel()
	ec := ecKey(t)
	for _, body := range []string{
		`{"error":"invalid_grant","error_description":"bad: %s"}`, `{"error":"%s"}`,
		`{"access":{"echo":"%s"},"new_token_value":"planted-unreadable"}`,
	} {
		var sent string
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			sent = r.PostForm.Get("client_assertion")
			w.Header().Set("X-Id", strings.ReplaceAll(sent, ".", "-")[:60])
			fmt.Fprintf(w, body, sent)
		}))
		a := App{Name: "app", ClientID: "client id", Provider: Entry{Name: "p", TokenURL: server.URL, AuthStyle: AuthStylePrivateKeyJWT, RequestIDHeader: "X-Id"}}
		reply := NewClient(ClientConfig{Transport: server.Client().Transport}).Refresh(context.Background(), a, ec.key, testToken, free)
		server.Close()
		require.NotEmpty(t, sent)
		require.NotEqual(t, perennial.OutcomeRefreshed, reply.Outcome)
		for _, part := range strings.Split(sent, ".") {
			assert.NotContains(t, reply.Code+reply.Description+reply.RequestID+reply.Unread.Body.Reveal(), part[:20], body)
		}
		if strings.Contains(body, "unreadable") {
			assert.Contains(t, reply.Unread.Body.Reveal(), "planted-unreadable")
		}
	}
}
