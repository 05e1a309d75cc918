package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// grantServer gives access tokens for customers' credentials: at /zoom for the id and
// secret of a customer's own client, at /jwt for a token that the app's key signed.
type grantServer struct {
	*httptest.Server

	mu      sync.Mutex
	secrets map[string]string // by account
	key     crypto.PublicKey  // of the app
	given   map[string]int    // access tokens, by account
	seen    map[string]bool   // every jti
}

// lifetime of its access tokens, in seconds.
const grantLifetime = 5

func newGrantServer(t *testing.T) *grantServer {
	s := &grantServer{secrets: map[string]string{}, given: map[string]int{}, seen: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /zoom", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		account := r.FormValue("account_id")
		s.answer(w, account, r.FormValue("grant_type") == "account_credentials" && id == "client-"+account && s.is(account, secret), "invalid_client")
	})
	mux.HandleFunc("POST /jwt", func(w http.ResponseWriter, r *http.Request) {
		account, err := s.subject(r.FormValue("assertion"), "http://"+r.Host+"/jwt")
		code := "invalid_client"
		if err == nil && !s.is(account, "") {
			code = "invalid_grant"
		}
		s.answer(w, account, err == nil && code == "invalid_client" && r.FormValue("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer", code)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// is reports whether the account is known with that secret.
func (s *grantServer) is(account, secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	want, known := s.secrets[account]
	return known && want == secret
}

func (s *grantServer) set(account, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[account] = secret
}

func (s *grantServer) tokens(account string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given[account]
}

// subject verifies a signed token and returns for whom it is.
func (s *grantServer) subject(token, audience string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return "", err
	}
	var c jwt.Claims
	if err := parsed.Claims(s.key, &c); err != nil {
		return "", err
	}
	if err := c.ValidateWithLeeway(jwt.Expected{Issuer: "jwt client", AnyAudience: jwt.Audience{audience}, Time: time.Now()}, 0); err != nil {
		return "", err
	}
	if c.ID == "" || s.seen[c.ID] {
		return "", fmt.Errorf("jti %q was used before", c.ID)
	}
	s.seen[c.ID] = true
	return c.Subject, nil
}

func (s *grantServer) answer(w http.ResponseWriter, account string, ok bool, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":%q}`, code)
		return
	}
	s.given[account]++
	fmt.Fprintf(w, `{"access_token":"planted-access-%s-%d","token_type":"bearer","expires_in":%d}`, account, s.given[account], grantLifetime)
}

// appKey returns a new private key in PEM, and its public key.
func appKey(t *testing.T) (string, crypto.PublicKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), key.Public()
}

// call makes a request of a product's and returns the answer.
func (s *stack) call(p *serverProcess, key, method, path string, body any) (status int, answer map[string]any) {
	s.Helper()
	raw, err := json.Marshal(body)
	require.NoError(s, err)
	req, err := http.NewRequestWithContext(s.Context(), method, "http://"+p.address+"/v1/connections"+path, strings.NewReader(string(raw)))
	require.NoError(s, err)
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s, err)
	defer resp.Body.Close()
	raw, err = io.ReadAll(resp.Body)
	require.NoError(s, err)
	require.NotContains(s, string(raw), "planted")
	require.NoError(s, json.Unmarshal(raw, &answer), "%s", raw)
	return resp.StatusCode, answer
}

// TestCredentials: connections without a consent. They are made from what a customer
// gave, once the provider has accepted that, and kept alive with it; a wrong secret of one
// customer is that connection's alone, a wrong key of the app is nobody's connection.
func TestCredentials(t *testing.T) {
	t.Parallel()
	grants := newGrantServer(t)
	key, public := appKey(t)
	grants.key = public
	keyFile := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(keyFile, []byte(key), 0o600))
	s := setup(t, setting{extra: fmt.Sprintf(`}
  - {name: zoom, provider: zoom-account, token_url: "%[1]s/zoom"}
  - {name: jwt, provider: generic, title: Force, client_id: jwt client, client_key_file: %[2]q, token_url: "%[1]s/jwt", auth_style: none, grant: jwt_bearer,
     credentials: [username], assertion: {subject: "{username}"}, account: {from: credentials, name: username}, default_lifetime: 1h`, grants.URL, keyFile)})
	s.work()
	p := s.serve()
	k, secret := api.NewKey("tenant", s.Name(), perennial.ScopeConnectionsWrite)
	_, err := api.NewKeyStore(s.deps.DB).Add(t.Context(), perennial.CommandLineAccess(), k)
	require.NoError(t, err)
	zoom := func(account, secret string) map[string]any {
		return map[string]any{"app": "zoom", "account_id": account, "credentials": map[string]any{"account_id": account, "client_id": "client-" + account, "client_secret": secret}}
	}
	grants.set("a1", "planted-secret-1")
	grants.set("a2", "planted-secret-2")
	grants.set("user", "")

	status, answer := s.call(p, secret.Reveal(), "POST", "", zoom("a1", "planted-wrong"))
	require.Equal(t, http.StatusUnprocessableEntity, status, answer)
	require.Contains(t, answer["detail"], "refuses the credentials")
	rows, err := s.deps.Store.List(t.Context(), perennial.WorkerAccess(), store.Filter{})
	require.NoError(t, err)
	require.Empty(t, rows, "nothing is stored")
	wrong := zoom("a1", "planted-secret-1")
	wrong["account_id"] = "a2"
	status, _ = s.call(p, secret.Reveal(), "POST", "", wrong)
	require.Equal(t, http.StatusUnprocessableEntity, status, "of another account")

	ids := map[string]string{}
	for account, body := range map[string]map[string]any{"a1": zoom("a1", "planted-secret-1"), "a2": zoom("a2", "planted-secret-2"),
		"user": {"app": "jwt", "account_id": "user", "credentials": map[string]any{"username": "user"}}} {
		status, answer = s.call(p, secret.Reveal(), "POST", "", body)
		require.Equal(t, http.StatusOK, status, answer)
		require.Equal(t, "active", answer["status"])
		ids[account] = answer["id"].(string)
		require.Equal(t, 1, grants.tokens(account), "it is verified before it is stored")
	}
	for account, id := range ids {
		c := s.until(id, "it is refreshed twice", generation(3))
		require.Equal(t, perennial.HealthHealthy, c.Health)
		require.GreaterOrEqual(t, grants.tokens(account), 3)
	}

	grants.set("a1", "planted-secret-3") // the customer made a new one
	c := s.until(ids["a1"], "it needs the customer", func(c perennial.Connection) bool { return c.Status == perennial.StatusReconnectRequired })
	require.Equal(t, perennial.ReasonCredentials, c.Reason)
	before := s.get(ids["a2"]).Generation
	s.until(ids["a2"], "the other one goes on", generation(before+2))
	incidents, err := s.deps.Store.Incidents(t.Context())
	require.NoError(t, err)
	require.Empty(t, incidents)

	status, _ = s.call(p, secret.Reveal(), "PUT", "/"+ids["a1"]+"/tokens", map[string]any{"account_id": "a1", "credentials": zoom("a1", "planted-secret-1")["credentials"]})
	require.Equal(t, http.StatusUnprocessableEntity, status, "the old one again")
	require.Equal(t, perennial.StatusReconnectRequired, s.get(ids["a1"]).Status)
	status, answer = s.call(p, secret.Reveal(), "PUT", "/"+ids["a1"]+"/tokens", map[string]any{"account_id": "a1", "credentials": zoom("a1", "planted-secret-3")["credentials"]})
	require.Equal(t, http.StatusOK, status, answer)
	now := s.get(ids["a1"])
	require.Equal(t, perennial.StatusActive, now.Status)
	s.until(ids["a1"], "it is refreshed again", generation(now.Generation+2))

	_, other := appKey(t)
	grants.mu.Lock()
	grants.key = other // the provider no longer knows the app's key
	grants.mu.Unlock()
	c = s.until(ids["user"], "the app is in trouble", func(c perennial.Connection) bool { return c.Health == perennial.HealthFailing })
	require.Equal(t, perennial.StatusActive, c.Status, "the customer can do nothing about it")
	require.Equal(t, perennial.FaultClient, perennial.FaultOf(c.FailingCode), c.FailingCode)

	for _, id := range ids {
		s.replayAll(id, "credentials")
		for _, h := range s.histories(id) {
			raw, err := json.Marshal(h)
			require.NoError(t, err)
			require.NotContains(t, string(raw), "planted")
		}
	}
	assert.NotContains(t, string(s.dump()), "planted-secret")
	assert.NotContains(t, string(s.logs.Bytes()), "planted-")
}
