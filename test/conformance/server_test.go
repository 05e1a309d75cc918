package conformance

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/oauth2"
)

const clientSecret = "planted-client-secret"

// server is a fosite server with one client and one user.
type server struct {
	*httptest.Server
	books    *storage.MemoryStore
	oauth2   fosite.OAuth2Provider
	config   *fosite.Config
	requests atomic.Int32
	mu       sync.Mutex
	lose     int // number of next replies that are cut off after the work
}

func newServer(t *testing.T) *server {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(clientSecret), bcrypt.MinCost)
	require.NoError(t, err)
	s := &server{books: storage.NewMemoryStore()}
	s.books.Clients["client"] = &fosite.DefaultClient{ID: "client", Secret: hash, GrantTypes: []string{"password", "refresh_token"}, Scopes: []string{"offline", "read"}}
	s.books.Users["user"] = storage.MemoryUserRelation{Username: "user", Password: "password"}
	config := &fosite.Config{AccessTokenLifespan: time.Hour, GlobalSecret: []byte(strings.Repeat("s", 32)), HashCost: bcrypt.MinCost}
	s.config = config
	s.oauth2 = compose.Compose(config, s.books, compose.NewOAuth2HMACStrategy(config),
		compose.OAuth2ResourceOwnerPasswordCredentialsFactory, compose.OAuth2RefreshTokenGrantFactory, compose.OAuth2TokenIntrospectionFactory, compose.OAuth2TokenRevocationFactory)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) {
		s.oauth2.WriteRevocationResponse(r.Context(), w, s.oauth2.NewRevocationRequest(r.Context(), r))
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	ctx := context.Background() // the work is done even if the caller goes away
	request, err := s.oauth2.NewAccessRequest(ctx, r, &fosite.DefaultSession{})
	if err != nil {
		s.oauth2.WriteAccessError(ctx, w, request, err)
		return
	}
	for _, scope := range request.GetRequestedScopes() {
		request.GrantScope(scope)
	}
	response, err := s.oauth2.NewAccessResponse(ctx, request)
	if err != nil {
		s.oauth2.WriteAccessError(ctx, w, request, err)
		return
	}
	s.mu.Lock()
	cut := s.lose > 0
	if cut {
		s.lose--
	}
	s.mu.Unlock()
	if cut {
		panic(http.ErrAbortHandler)
	}
	s.oauth2.WriteAccessResponse(ctx, w, request, response)
}

// consent returns the first token set, as if the user had approved.
func (s *server) consent(t *testing.T) perennial.TokenSet {
	t.Helper()
	reply := s.post(t, url.Values{"grant_type": {"password"}, "username": {"user"}, "password": {"password"}, "scope": {"offline read"}})
	require.NotEmpty(t, reply["refresh_token"], "%v", reply)
	return perennial.TokenSet{AccessToken: perennial.NewSecret(reply["access_token"].(string)), RefreshToken: perennial.NewSecret(reply["refresh_token"].(string)), ExpiresIn: time.Hour}
}

// post calls the token endpoint without the engine.
func (s *server) post(t *testing.T, form url.Values) map[string]any {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.URL+"/token", strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("client", clientSecret)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var reply map[string]any
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&reply))
	return reply
}

// alive reports whether the server accepts an access token.
func (s *server) alive(token perennial.Secret) bool {
	_, _, err := s.oauth2.IntrospectToken(context.Background(), token.Reveal(), fosite.AccessToken, &fosite.DefaultSession{})
	return err == nil
}

// bundle is an engine over a real store, with one connection at the server.
type bundle struct {
	*refresh.Engine
	*server
	db      *store.Store
	keyring *seal.Keyring
	app     provider.App
}

func (b *bundle) App(string) (provider.App, error) { return b.app, nil }

func setup(t *testing.T, class perennial.ReplayClass) *bundle {
	t.Helper()
	b := &bundle{server: newServer(t)}
	b.app = provider.App{Name: "app", ClientID: "client", ClientSecrets: []perennial.Secret{perennial.NewSecret(clientSecret)},
		Provider: provider.Entry{Name: "generic", TokenURL: b.URL + "/token", RevokeURL: b.URL + "/revoke", AuthStyle: oauth2.AuthStyleInHeader, ReplayClass: class}}
	var err error
	b.db, err = store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "perennial.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.db.Close()) })
	_, _, err = b.db.Migrate(t.Context())
	require.NoError(t, err)
	b.keyring, err = seal.NewEphemeral()
	require.NoError(t, err)
	kept, err := spool.Open(t.TempDir(), 0)
	require.NoError(t, err)
	b.Engine = refresh.New(refresh.Config{Store: b.db, Presenter: provider.NewClient(provider.ClientConfig{}), Apps: b, Sealer: b.keyring, Spool: kept,
		Timing: timing.Config{ConfirmDelay: time.Millisecond}})
	c := perennial.Connection{ID: "con_1", TenantID: "t", App: "app", Provider: "generic", AccountID: "user"}
	first := b.consent(t)
	b.requests.Store(0)
	w, err := refresh.Tokens(b.keyring, b.app, c, 1, first, first.RefreshToken, time.Now())
	require.NoError(t, err)
	_, err = b.db.Insert(t.Context(), perennial.WorkerAccess(), c, w)
	require.NoError(t, err)
	return b
}

func (b *bundle) row(t *testing.T) perennial.Connection {
	t.Helper()
	c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	return c
}

func (b *bundle) open(t *testing.T, field seal.Field) perennial.Secret {
	t.Helper()
	c := b.row(t)
	sealed := c.AccessTokenSealed
	if field == seal.FieldRefreshToken {
		sealed = c.RefreshTokenSealed
	}
	token, err := b.keyring.Open(seal.BindingOf(c, field, c.Generation), sealed)
	require.NoError(t, err)
	return token
}

// refresh asks the engine once the row's waits are over.
func (b *bundle) refresh(t *testing.T) refresh.Result {
	t.Helper()
	for {
		c, now, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
		require.NoError(t, err)
		until := c.WaitsUntil(now)
		if !until.After(now) || until.After(now.Add(time.Minute)) {
			res, err := b.Refresh(t.Context(), refresh.Request{ConnectionID: "con_1", Generation: c.Generation, Trigger: perennial.TriggerTimer})
			require.NoError(t, err)
			return res
		}
		time.Sleep(until.Sub(now)) // the row's wait, by the database's clock
	}
}
