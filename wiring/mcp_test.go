package wiring

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/provider/discovery"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mcpServer is a small MCP server with its authorization server: it registers clients,
// wants S256 and the resource in every request, and rotates.
type mcpServer struct {
	*httptest.Server
	mu         sync.Mutex
	method     string            // token_endpoint_auth_method; empty: client_secret_basic
	clients    map[string]string // secret by id
	registered int
	challenge  string // of the one code that is out
	grants     map[string]bool
	n          int
	resources  []string // of the token requests
	tokenPath  string
}

func newMCPServer(t *testing.T) *mcpServer {
	m := &mcpServer{clients: map[string]string{}, grants: map[string]bool{}, tokenPath: "/token"}
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+m.URL+`/.well-known/oauth-protected-resource/mcp"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"resource":"%s/mcp","authorization_servers":[%q]}`, m.URL, m.URL)
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		methods := `"client_secret_basic"`
		if m.method != "" {
			methods = strconv.Quote(m.method)
		}
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s%[2]s","introspection_endpoint":"%[1]s/introspect",
			"registration_endpoint":"%[1]s/register","code_challenge_methods_supported":["S256"],"token_endpoint_auth_methods_supported":[%[3]s]}`, m.URL, m.tokenPath, methods)
	})
	mux.HandleFunc("POST /register", m.register)
	mux.HandleFunc("GET /authorize", m.authorize)
	mux.HandleFunc("POST /token", m.token)
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"active":true,"sub":"team-7"}`) })
	m.Server = httptest.NewServer(mux)
	t.Cleanup(m.Close)
	return m
}

func (m *mcpServer) register(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var asked map[string]any
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m.registered++
	id, secret := fmt.Sprintf("client-%d", m.registered), fmt.Sprintf("PLANTED-secret-%d", m.registered)
	m.clients[id] = secret
	asked["client_id"], asked["client_secret"] = id, secret
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(asked)
}

func (m *mcpServer) authorize(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := r.URL.Query()
	if q.Get("resource") != m.URL+"/mcp" || q.Get("code_challenge_method") != "S256" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m.challenge = q.Get("code_challenge")
	back := url.Values{"code": {"the-code-of-this-consent"}, "state": {q.Get("state")}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (m *mcpServer) token(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	refuse := func(code string, status int) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":%q}`, code)
	}
	want, known := m.clients[id]
	if !known || basic == (m.method == "client_secret_post") || secret != want {
		refuse("invalid_client", http.StatusUnauthorized)
		return
	}
	m.resources = append(m.resources, r.FormValue("resource"))
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	switch {
	case r.FormValue("resource") != m.URL+"/mcp":
		refuse("invalid_target", http.StatusBadRequest)
		return
	case r.FormValue("grant_type") == "authorization_code" && base64.RawURLEncoding.EncodeToString(sum[:]) == m.challenge:
	case r.FormValue("grant_type") == "refresh_token" && m.grants[r.FormValue("refresh_token")]:
		delete(m.grants, r.FormValue("refresh_token"))
	default:
		refuse("invalid_grant", http.StatusBadRequest)
		return
	}
	m.n++
	refreshToken := fmt.Sprintf("refresh-token-number-%d", m.n)
	m.grants[refreshToken] = true
	fmt.Fprintf(w, `{"access_token":"access-token-number-%d","token_type":"Bearer","expires_in":3600,"refresh_token":%q}`, m.n, refreshToken)
}

// installation is a process with a database of its own, or that of another one.
func installation(t *testing.T, dir, app string) (*Deps, *connecttest.Logs) {
	path := filepath.Join(dir, "perennial.yaml")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `database_url: "sqlite:%[1]s/p.db"
keys: %[1]s/keys
allow_plaintext_keys: true
connect: {base_url: "http://127.0.0.1:8080", return_urls: ["https://app.example.com"], product: Example}
apps:
  - {name: tools, %[2]s}
`, dir, app), 0o600))
	cfg, err := config.LoadEnviron(path, nil)
	require.NoError(t, err)
	if _, err := os.Stat(cfg.KeysDir); err != nil {
		require.NoError(t, seal.Generate(cfg.KeysDir, nil, true))
	}
	rows, err := store.Open(t.Context(), cfg.DatabaseURL)
	require.NoError(t, err)
	_, _, err = rows.Migrate(t.Context())
	require.NoError(t, err)
	require.NoError(t, rows.Close())
	logs := &connecttest.Logs{}
	deps, err := Open(t.Context(), cfg, slog.New(slog.NewTextHandler(logs, nil)))
	require.NoError(t, err)
	t.Cleanup(deps.Close)
	return deps, logs
}

// consent takes a customer through a link, and returns what came of it.
func consent(t *testing.T, deps *Deps, connection string) perennial.ConnectSession {
	t.Helper()
	service := deps.Connections(&connecttest.Signals{})
	sessions, err := deps.Sessions(service)
	require.NoError(t, err)
	req := connect.SessionRequest{Tenant: "t1", App: "tools"}
	if connection != "" {
		req = connect.SessionRequest{Tenant: "t1", ConnectionID: connection}
	}
	link, err := sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), req)
	require.NoError(t, err)
	u, err := url.Parse(link.Link.Reveal())
	require.NoError(t, err)
	start, err := sessions.Start(t.Context(), perennial.NewSecret(u.Path[strings.LastIndex(u.Path, "/")+1:]))
	require.NoError(t, err)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(start.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	back, err := resp.Location()
	require.NoError(t, err, "the authorization server answered %d", resp.StatusCode)
	got, err := sessions.Answer(t.Context(), "tools", back.Query(), func(string) perennial.Secret { return start.Browser })
	require.NoError(t, err)
	return got
}

func refreshed(t *testing.T, deps *Deps, id string) refresh.Result {
	t.Helper()
	c, _, err := deps.Store.Get(t.Context(), perennial.WorkerAccess(), id)
	require.NoError(t, err)
	result, err := refresh.New(deps.EngineConfig()).Refresh(t.Context(), refresh.Request{ConnectionID: id, Generation: c.Generation, Trigger: perennial.TriggerTimer, App: c.App})
	require.NoError(t, err)
	return result
}

// TestMCP: the URL of an MCP server suffices for a connect and a refresh, with one client
// for all processes, whose secret stands nowhere in the clear.
func TestMCP(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"", "client_secret_post"} {
		m := newMCPServer(t)
		m.method = method
		dir := t.TempDir()
		deps, logs := installation(t, dir, "mcp: \""+m.URL+"/mcp\"")
		var all sync.WaitGroup
		second, _ := installation(t, dir, "mcp: \""+m.URL+"/mcp\"")
		for _, d := range []*Deps{deps, second} {
			all.Go(func() { _, _ = d.Config.App("tools") }) // one of them may be told to come again
		}
		all.Wait()
		c := consent(t, deps, "")
		require.Equal(t, perennial.ConnectConnected, c.Outcome, logs.String())
		require.Equal(t, perennial.OutcomeRefreshed, refreshed(t, deps, c.ResultID).Outcome)
		assert.Equal(t, []string{m.URL + "/mcp", m.URL + "/mcp"}, m.resources, "every token request names the resource")
		assert.Equal(t, 1, m.registered)
		raw, err := os.ReadFile(filepath.Join(dir, "p.db"))
		require.NoError(t, err)
		wal, _ := os.ReadFile(filepath.Join(dir, "p.db-wal"))
		assert.NotContains(t, string(raw)+string(wal)+logs.String(), "PLANTED")
		row, _, err := deps.Store.Get(t.Context(), perennial.WorkerAccess(), c.ResultID)
		require.NoError(t, err)
		assert.Equal(t, "team-7", row.AccountID)

		// A process that starts while the server is away goes on from what is pinned.
		third, _ := installation(t, dir, "mcp: \""+m.URL+"/mcp\"")
		m.mu.Lock()
		m.tokenPath = "/elsewhere" // nobody is sent there
		m.mu.Unlock()
		require.Equal(t, perennial.OutcomeRefreshed, refreshed(t, third, c.ResultID).Outcome)
		assert.Equal(t, 1, m.registered)
	}
}

// TestMCPForgetsItsClient: a server that has forgotten its client gets another one only if
// no connection works with the old one, or if an operator says so.
func TestMCPForgetsItsClient(t *testing.T) {
	t.Parallel()
	m := newMCPServer(t)
	deps, logs := installation(t, t.TempDir(), "mcp: \""+m.URL+"/mcp\"")
	c := consent(t, deps, "")
	require.Equal(t, perennial.ConnectConnected, c.Outcome, logs.String())
	m.mu.Lock()
	clear(m.clients)
	m.mu.Unlock()
	assert.Equal(t, perennial.ConnectMisconfigured, consent(t, deps, "").Outcome)
	assert.Equal(t, 1, m.registered, "a healthy connection may prove the server wrong")
	assert.Contains(t, logs.String(), "nothing is registered anew without an operator")
	require.Equal(t, perennial.OutcomeMisconfigured, refreshed(t, deps, c.ResultID).Outcome)
	assert.Equal(t, perennial.ConnectMisconfigured, consent(t, deps, "").Outcome)
	assert.Equal(t, 2, m.registered, "now nothing works with it")
	again := consent(t, deps, c.ResultID)
	require.Equal(t, perennial.ConnectConnected, again.Outcome, logs.String())

	got, err := deps.RegisterClient(t.Context(), "tools")
	require.NoError(t, err)
	assert.Equal(t, []any{"client-3", int64(3)}, []any{got.ClientID, got.Registration})
	assert.Empty(t, deps.discovery.Look(t.Context()))
	app, err := deps.Config.App("tools")
	require.NoError(t, err)
	assert.Equal(t, "client-3", app.ClientID)
}

// TestClientDocument: an app without a client_id has a document, and no other has.
func TestClientDocument(t *testing.T) {
	t.Parallel()
	for app, status := range map[string]int{`mcp: "https://mcp.example/mcp"`: 200, `mcp: "https://mcp.example/mcp", client_id: own`: 404, `issuer: "https://idp.example", client_id: own, client_secret_env: PATH`: 404} {
		path := filepath.Join(t.TempDir(), "perennial.yaml")
		require.NoError(t, os.WriteFile(path, []byte("database_url: sqlite:p.db\nkeys: k\nconnect: {base_url: 'https://connect.example.com'}\napps:\n  - {name: tools, "+app+"}\n"), 0o600))
		cfg, err := config.LoadEnviron(path, []string{"PATH=x"})
		require.NoError(t, err)
		d := &Deps{Config: cfg, Log: slog.New(slog.DiscardHandler)}
		d.discovery = discovery.New(d.discoveryConfig())
		mux := http.NewServeMux()
		mux.HandleFunc("GET "+PagesPath+"client/{app}", d.clientDocument)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/connect/client/tools", nil))
		assert.Equal(t, status, w.Code, app)
		if status == 200 {
			assert.JSONEq(t, `{"client_id":"https://connect.example.com/connect/client/tools","redirect_uris":["https://connect.example.com/connect/callback/tools"],
				"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`, w.Body.String())
		}
	}
}
