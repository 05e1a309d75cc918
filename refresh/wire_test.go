package refresh

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// wired returns an engine that calls a token endpoint over HTTP, by a catalogue entry.
func wired(t *testing.T, name string, endpoint http.HandlerFunc) *bundle {
	t.Helper()
	server := httptest.NewServer(endpoint)
	t.Cleanup(server.Close)
	entry, ok := provider.Lookup(name)
	require.True(t, ok, name)
	entry.TokenURL = server.URL
	if entry.AuthStyle == 0 {
		entry.AuthStyle = oauth2.AuthStyleInParams
	}
	b := setup(t)
	b.app.Provider = entry
	b.Presenter = provider.NewClient(provider.ClientConfig{})
	return b
}

// TestNextSecretInEachProvidersWords: while a client secret is being changed, no
// customer waits, whichever words the provider has for a wrong secret.
func TestNextSecretInEachProvidersWords(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]struct {
		provider, challenge, body string
		status                    int
	}{
		"hubspot":        {provider: "hubspot", status: 400, body: `{"status":"BAD_CLIENT_SECRET","message":"missing or invalid client secret"}`},
		"github":         {provider: "github", status: 200, body: `{"error":"incorrect_client_credentials"}`},
		"slack":          {provider: "slack", status: 200, body: `{"ok":false,"error":"bad_client_secret"}`},
		"xero":           {provider: "xero", status: 400, body: `{"error":"invalid_client"}`},
		"zoho's form":    {provider: "zoho", status: 200, body: `error=invalid_client_secret`},
		"a bare 401":     {provider: "generic", status: 401},
		"a 401 of Basic": {provider: "generic", status: 401, challenge: `Basic realm="x"`, body: `<html>`},
		"another 401":    {provider: "stripe-apps", status: 401, body: `{"error":{"type":"invalid_request_error","message":"Invalid API Key provided"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tried []string
			b := wired(t, refused.provider, func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				secret := r.FormValue("client_secret") + password
				if secret == "" {
					secret = user
				}
				tried = append(tried, secret)
				if secret != "right" {
					w.Header().Set("WWW-Authenticate", refused.challenge)
					w.WriteHeader(refused.status)
					fmt.Fprint(w, refused.body)
					return
				}
				fmt.Fprint(w, `{"ok":true,"access_token":"A","refresh_token":"R","expires_in":3600}`)
			})
			b.app.ClientSecrets = []perennial.Secret{perennial.NewSecret("wrong"), perennial.NewSecret("right"), perennial.NewSecret("unused")}
			res := b.refresh(t, t.Context(), 1)
			assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome, res.Code)
			assert.Equal(t, []string{"wrong", "right"}, tried)
			assert.Equal(t, perennial.HealthHealthy, res.Connection.Health)
		})
	}
}

// TestCutForm: half a refresh token is never stored. If the provider accepts the old
// one again, nothing is lost. If it does not, the row says that the old one may be
// spent, and the reason for the grant's end says that we lost it.
func TestCutForm(t *testing.T) {
	t.Parallel()
	const good = "refresh-2-0123456789"
	for _, class := range perennial.ReplayClasses {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			var shown []string
			repeats := class == perennial.ReplayReusable || class == perennial.ReplayGrace
			b := wired(t, "generic", func(w http.ResponseWriter, r *http.Request) {
				shown = append(shown, r.FormValue("refresh_token"))
				body := "access_token=access2&expires_in=2&refresh_token=" + good
				switch {
				case len(shown) == 1: // the connection breaks within the refresh token
					w.Header().Set("Content-Length", fmt.Sprint(len(body)))
					fmt.Fprint(w, body[:len(body)-8])
				case repeats:
					fmt.Fprint(w, body)
				default:
					w.WriteHeader(400)
					fmt.Fprint(w, `{"error":"invalid_grant"}`)
				}
			})
			b.app.Provider.ReplayClass, b.app.Provider.GraceWindow = class, 20*time.Minute
			res := b.refresh(t, t.Context(), 1)
			require.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
			require.EqualValues(t, 2, res.Connection.Generation)
			require.Equal(t, b.c.RefreshTokenDigest, res.Connection.RefreshTokenDigest, "the old one stays")
			require.Equal(t, class != perennial.ReplayReusable, res.Connection.Ambiguous())
			require.Equal(t, class != perennial.ReplayReusable, !res.Connection.NextAttemptAt.IsZero(), "it waits")

			last := func(done func(Result) bool) Result {
				require.Eventually(t, func() bool { res = b.refresh(t, t.Context(), 2); return done(res) }, 20*time.Second, 20*time.Millisecond)
				return res
			}
			if repeats {
				res = last(func(r Result) bool { return r.Connection.RefreshTokenDigest == perennial.NewSecret(good).Digest() })
				require.Equal(t, perennial.StatusActive, res.Connection.Status)
				require.False(t, res.Connection.Ambiguous())
				return
			}
			res = last(func(r Result) bool { return r.Connection.Status == perennial.StatusReconnectRequired })
			require.Equal(t, perennial.ReasonRotationLost, res.Connection.Reason)
			require.Equal(t, []string{"refresh 1", "refresh 1", "refresh 1"}, shown, "confirmed once")
		})
	}
}

// TestCutLifetime: a reply that broke off before its lifetime has that of the tokens
// before. Without it, a token that has ended would be served for half an hour.
func TestCutLifetime(t *testing.T) {
	t.Parallel()
	b := wired(t, "generic", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "200")
		fmt.Fprint(w, `{"access_token":"access2","refresh_token":"refr`)
	})
	b.app.Provider.ReplayClass = perennial.ReplaySingleUse
	before := b.c.ExpiresAt.Sub(b.c.LastRefreshedAt)
	require.Positive(t, before)
	got := b.refresh(t, t.Context(), 1).Connection
	require.True(t, got.Ambiguous())
	require.Empty(t, got.FailingCode)
	life := got.ExpiresAt.Sub(got.LastRefreshedAt)
	require.LessOrEqual(t, life, before)
	require.Greater(t, life, before/2)
	require.WithinRange(t, got.NextAttemptAt, got.LastRefreshedAt, got.ExpiresAt)
}

// TestAfterCut: when the old refresh token is presented again.
func TestAfterCut(t *testing.T) {
	t.Parallel()
	now := time.Now()
	row := perennial.Connection{RefreshTokenDigest: "d", Open: perennial.OpenAttempt{StartedAt: now.Add(-2 * time.Second)}}
	doubted := row
	doubted.AmbiguousSince, doubted.AmbiguousDigest = now.Add(-8*time.Minute), "d"
	for name, c := range map[string]struct {
		row   perennial.Connection
		class perennial.ReplayClass
		life  time.Duration
		wait  time.Duration
	}{
		"single use":                   {row, perennial.ReplaySingleUse, time.Hour, 30 * time.Minute},
		"not documented":               {row, perennial.ReplayUnknown, time.Hour, 30 * time.Minute},
		"reuse revokes":                {row, perennial.ReplayReuseRevokes, time.Hour, time.Hour},
		"within grace":                 {row, perennial.ReplayGrace, time.Hour, (9*time.Minute + 28*time.Second) / 2},
		"within what is left of grace": {doubted, perennial.ReplayGrace, time.Hour, 45 * time.Second},
		"a short life":                 {row, perennial.ReplayGrace, time.Minute, 30 * time.Second},
		"no life is named":             {row, perennial.ReplaySingleUse, 0, unknownLife / 2},
		"a life that is over":          {row, perennial.ReplaySingleUse, -time.Second, 0},
	} {
		var expires time.Time
		if c.life != 0 {
			expires = now.Add(c.life)
		}
		since, next := afterCut(c.row, provider.Entry{ReplayClass: c.class, GraceWindow: 10 * time.Minute}, expires, now)
		assert.Equal(t, c.wait, next.Sub(now), name)
		want := c.row.Open.StartedAt
		if c.row.Ambiguous() {
			want = c.row.AmbiguousSince
		}
		assert.Equal(t, want, since, name)
	}
}

// TestTokensAreStoredWithoutWhatTheDatabaseRefuses: a refused text, such as NUL on
// PostgreSQL, is dropped, and the tokens are stored.
func TestTokensAreStoredWithoutWhatTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*provider.Reply){
		"scope":       func(r *provider.Reply) { r.Tokens.Scopes = []string{"read\x00"} },
		"not UTF-8":   func(r *provider.Reply) { r.Tokens.Scopes = []string{"read\xff"} },
		"token type":  func(r *provider.Reply) { r.Tokens.TokenType = "a\x00" },
		"metadata":    func(r *provider.Reply) { r.Tokens.Metadata = map[string]string{"id": "\xff\x00"} },
		"request id":  func(r *provider.Reply) { r.RequestID = "\x00" },
		"error code":  func(r *provider.Reply) { r.Code = "\xff" },
		"the tokens":  func(r *provider.Reply) { r.Tokens.AccessToken = perennial.NewSecret("a\x00\xff") },
		"all is well": func(*provider.Reply) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, url := range []string{testpg.URL(t), "sqlite:" + filepath.Join(t.TempDir(), "e.db")} {
				reply := fresh("2")
				reply.Tokens.RefreshToken = perennial.NewSecret("r\x00\xff")
				spoil(&reply)
				b := setupOn(t, url, reply)
				res := b.refresh(t, t.Context(), 1)
				require.Equal(t, perennial.OutcomeRefreshed, res.Outcome, res.Code)
				require.Nil(t, res.Unsaved)
				c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
				require.NoError(t, err)
				token, err := b.keyring.Open(seal.BindingOf(c, seal.FieldRefreshToken, 2), c.RefreshTokenSealed)
				require.NoError(t, err)
				require.Equal(t, "r\x00\xff", token.Reveal(), "every byte")
				require.Len(t, b.shown, 1)
			}
		})
	}
}
