package foreign

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/web/connectui"
	"github.com/stretchr/testify/require"
)

const (
	clientID     = "client"
	clientSecret = "planted-client-secret"
	appName      = "sso"
	// example is the server's address in the descriptions of testdata, as users read them.
	example = "https://sso.example"
)

// server is a foreign authorization server with one client and one user.
type server struct {
	*proxy
	// consent is what the user does at the authorization endpoint. It returns the URL of
	// the callback.
	consent func(t *testing.T, b *connecttest.Browser, authorize string) string
	// alive reports whether the server accepts an access token.
	alive func(t *testing.T, token perennial.Secret) bool
	// end ends all grants of the user, at the server.
	end func(t *testing.T)
	// remove, if there is one, is what the user's own page at the server does instead.
	remove func(t *testing.T)
}

// world is Perennial beside a foreign server: connect pages, store and engine.
type world struct {
	*server
	path string // of the configuration
	app  provider.App

	rows     *store.Store
	keys     *seal.Keyring
	engine   *refresh.Engine
	sessions *connect.Sessions
	pages    *httptest.Server
}

// App implements refresh.Apps.
func (w *world) App(string) (provider.App, error) { return w.app, nil }

// noWorkflows stands for Temporal: the tests ask the engine themselves.
type noWorkflows struct{}

func (noWorkflows) Signal(context.Context, perennial.Connection, string) error { return nil }

// newWorld starts a server and configures an app for it from testdata/DESCRIPTION.yaml.
func newWorld(t *testing.T, description string, serve func(t *testing.T, redirectURI string) *server) *world {
	t.Helper()
	w := &world{}
	var pages http.Handler
	w.pages = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { pages.ServeHTTP(rw, r) }))
	base := "https://" + w.pages.Listener.Addr().String()
	w.pages.StartTLS()
	t.Cleanup(w.pages.Close)
	w.server = serve(t, base+"/connect/callback/"+appName)
	w.configure(t, description)

	handle, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "perennial.db"), db.Pool{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, handle.Close()) })
	_, _, err = handle.Migrate(t.Context())
	require.NoError(t, err)
	w.rows = store.New(handle)
	w.keys, err = seal.NewEphemeral()
	require.NoError(t, err)
	kept, err := spool.Open(t.TempDir(), 0)
	require.NoError(t, err)
	client := provider.NewClient(provider.ClientConfig{})
	w.engine = refresh.New(refresh.Config{Store: w.rows, Presenter: client, Apps: w, Sealer: w.keys, Spool: kept, Timing: timing.Config{ConfirmDelay: time.Millisecond}})
	service := connect.New(connect.Config{Store: w.rows, Apps: w, Sealer: w.keys, Workflows: noWorkflows{}})
	w.sessions, err = connect.NewSessions(connect.SessionsConfig{Service: service, Store: connect.NewSessionStore(handle), Provider: client, BaseURL: base})
	require.NoError(t, err)
	pages, err = connectui.New(connectui.Config{Sessions: w.sessions, Product: "Product"})
	require.NoError(t, err)
	return w
}

// configure writes a perennial.yaml with the description's app at the server's real
// address, and reads it.
func (w *world) configure(t *testing.T, description string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", description+".yaml"))
	require.NoError(t, err)
	w.path = filepath.Join(t.TempDir(), "perennial.yaml")
	text := "database_url: sqlite:perennial.db\nkeys: keys\n" + strings.ReplaceAll(string(raw), example, w.URL)
	require.NoError(t, os.WriteFile(w.path, []byte(text), 0o600))
	w.use(t, clientSecret)
}

// use reads the configuration with this client secret.
func (w *world) use(t *testing.T, secret string) {
	t.Helper()
	c, err := config.LoadEnviron(w.path, []string{"SSO_SECRET=" + secret})
	require.NoError(t, err)
	w.app, err = c.App(appName)
	require.NoError(t, err)
}

// connect goes from a new link to a stored connection. Without an id it is a new
// connection of the tenant; otherwise it is a reconnect.
func (w *world) connect(t *testing.T, tenant, id string) string {
	t.Helper()
	link, err := w.sessions.CreateSession(t.Context(), perennial.WorkerAccess(), connect.SessionRequest{Tenant: tenant, App: appName, ConnectionID: id})
	require.NoError(t, err)
	b := connecttest.NewBrowser(t, w.pages.URL, w.pages.Client().Transport.(*http.Transport).Clone())
	authorize := b.Begin(b.Open(link.Link.Reveal()))
	u, err := url.Parse(authorize)
	require.NoError(t, err)
	require.Equal(t, "S256", u.Query().Get("code_challenge_method"))
	page := b.Open(w.consent(t, b, authorize))
	session, err := w.sessions.Session(t.Context(), perennial.WorkerAccess(), link.ID)
	require.NoError(t, err)
	require.Equal(t, perennial.ConnectConnected, session.Outcome, "%s: %s", page.Heading(), page.Text())
	return session.ResultID
}

func (w *world) row(t *testing.T, id string) perennial.Connection {
	t.Helper()
	c, _, err := w.rows.Get(t.Context(), perennial.WorkerAccess(), id)
	require.NoError(t, err)
	return c
}

// token opens a token of the row.
func (w *world) token(t *testing.T, id string, field seal.Field) perennial.Secret {
	t.Helper()
	c := w.row(t, id)
	sealed := c.AccessTokenSealed
	if field == seal.FieldRefreshToken {
		sealed = c.RefreshTokenSealed
	}
	token, err := w.keys.Open(seal.BindingOf(c, field, c.Generation), sealed)
	require.NoError(t, err)
	return token
}

// ask asks the engine once, even if the row has a wait.
func (w *world) ask(t *testing.T, id string) refresh.Result {
	t.Helper()
	res, err := w.engine.Refresh(t.Context(), refresh.Request{ConnectionID: id, Generation: w.row(t, id).Generation, Trigger: perennial.TriggerTimer})
	require.NoError(t, err)
	return res
}

// maxWait is the longest wait of a row that a test sits out.
const maxWait = time.Minute

// refresh asks the engine once the row's waits are over.
func (w *world) refresh(t *testing.T, id string) refresh.Result {
	t.Helper()
	for {
		c, now, err := w.rows.Get(t.Context(), perennial.WorkerAccess(), id)
		require.NoError(t, err)
		left := c.WaitsUntil(now).Sub(now)
		if left <= 0 {
			return w.ask(t, id)
		}
		require.Less(t, left, maxWait, "too long for a test: %s", c.FailingCode)
		time.Sleep(left) // the row's wait, by the database's clock
	}
}

// reply is what the token endpoint answers to the test itself.
type reply struct {
	status  int
	members map[string]any
}

// String is the status with the error code, if there is one: "400 invalid_grant".
func (r reply) String() string {
	if code, _ := r.members["error"].(string); code != "" {
		return fmt.Sprint(r.status, " ", code)
	}
	return fmt.Sprint(r.status)
}

func (r reply) member(name string) string {
	text, _ := r.members[name].(string)
	return text
}

// present presents a refresh token without the engine.
func (w *world) present(t *testing.T, token, secret string) reply {
	t.Helper()
	return w.post(t, w.app.Provider.TokenURL, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, secret)
}

// post sends a form as the client.
func (w *world) post(t *testing.T, target string, form url.Values, secret string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(clientID, secret)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	r := reply{status: resp.StatusCode}
	if len(body) > 0 {
		require.NoError(t, json.Unmarshal(body, &r.members), "%d", resp.StatusCode)
	}
	return r
}
