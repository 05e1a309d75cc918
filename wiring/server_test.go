package wiring

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/remote"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/internal/version"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// frontend is the part of Temporal that a server needs to start: it can be dialed, and
// has no workflow.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
}

func (frontend) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{Capabilities: &workflowservice.GetSystemInfoResponse_Capabilities{}}, nil
}

func temporalAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(s, frontend{})
	healthy := health.NewServer()
	healthy.SetServingStatus("temporal.api.workflowservice.v1.WorkflowService", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(s, healthy)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// process is a server that runs as the program does.
type process struct {
	address, health string
	key             string
	database        string
	stop            context.CancelFunc
	ended           chan error
	logs            *logs
}

type logs struct {
	mu    sync.Mutex
	text  strings.Builder
	lines chan map[string]any
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	for line := range strings.Lines(string(p)) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil {
			select {
			case l.lines <- entry:
			default:
			}
		}
	}
	return len(p), nil
}

func (l *logs) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.text.String() }

func start(t *testing.T, more string) *process {
	t.Helper()
	return startOn(t, testpg.URL(t), more)
}

func startOn(t *testing.T, url, more string) *process {
	t.Helper()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	require.NoError(t, seal.Generate(keys, nil, true))
	d, err := db.Open(t.Context(), url, db.Pool{})
	require.NoError(t, err)
	defer d.Close()
	_, _, err = d.Migrate(t.Context())
	require.NoError(t, err)
	k, key := api.NewKey("acme", "test", perennial.ScopeAdmin)
	_, err = api.NewKeyStore(d).Add(t.Context(), perennial.CommandLineAccess(), k)
	require.NoError(t, err)
	path := filepath.Join(dir, "perennial.yaml")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `
database_url: %q
keys: %s
allow_plaintext_keys: true
log_level: debug
spool: %s
%s
apps:
  - {name: crm, provider: hubspot, client_id: id, client_secret_env: CRM_SECRET}
`, url, keys, filepath.Join(dir, "spool"), more), 0o600))
	ctx, stop := context.WithCancel(t.Context())
	p := &process{database: url, stop: stop, key: key.Reveal(), ended: make(chan error, 1), logs: &logs{lines: make(chan map[string]any, 1000)}}
	environ := []string{"CRM_SECRET=planted-client-secret", "TEMPORAL_ADDRESS=" + temporalAddress(t)}
	go func() { p.ended <- RunServer(ctx, []string{"--config", path}, environ, p.logs) }()
	t.Cleanup(func() { stop() })
	for {
		select {
		case err := <-p.ended:
			require.NoError(t, err)
			t.Fatal("it ended")
		case line := <-p.logs.lines:
			if line["msg"] == "server started" {
				p.address, p.health = line["address"].(string), line["health"].(string)
				return p
			}
		}
	}
}

func get(t *testing.T, c *http.Client, url, key string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := c.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

// TestRun: the program starts, serves the API and the health checks, shows no secret in
// its metrics and logs, and ends when it is told to.
func TestRun(t *testing.T) {
	t.Parallel()
	p := start(t, `server: {listen: "127.0.0.1:0", health: "127.0.0.1:0"}`)
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	status, body := get(t, c, "http://"+p.address+"/v1/connections", p.key)
	assert.Equal(t, 200, status, body)
	status, body = get(t, c, "http://"+p.address+"/v1/apps", p.key)
	assert.Equal(t, 200, status)
	assert.Contains(t, body, `"crm"`)
	status, _ = get(t, c, "http://"+p.address+"/v1/connections", "")
	assert.Equal(t, 401, status)
	status, _ = get(t, c, "http://"+p.address+PagesPath, "")
	assert.Equal(t, 404, status)
	status, body = get(t, c, "http://"+p.address+"/metrics", p.key)
	assert.Equal(t, 404, status, "metrics have an address of their own")
	assert.Contains(t, body, "not_found")
	for _, path := range []string{"/healthz", "/readyz"} {
		status, body = get(t, c, "http://"+p.health+path, "")
		assert.Equal(t, 200, status, body)
	}
	status, metrics := get(t, c, "http://"+p.health+"/metrics", "")
	assert.Equal(t, 200, status)
	assert.Contains(t, metrics, `perennial_api_requests_total{code="",operation="listConnections",status="200"} 1`)
	assert.Contains(t, metrics, `perennial_api_requests_total{code="unauthorized",operation="listConnections",status="401"} 1`)
	build := version.Get()
	assert.Contains(t, metrics, fmt.Sprintf(`perennial_build_info{commit=%q,commit_time=%q,go=%q,version=%q} 1`, build.Commit, build.CommitTime, build.Go, build.Version))
	assert.Contains(t, p.logs.String(), fmt.Sprintf(`"msg":"server started","build":{"version":%q,"commit":%q,"commit_time":%q`, build.Version, build.Commit, build.CommitTime))
	status, body = get(t, c, "http://"+p.address+"/v1/version", p.key)
	assert.Equal(t, 200, status)
	assert.Contains(t, body, fmt.Sprintf(`"commit":%q,"commit_time":%q`, build.Commit, build.CommitTime))
	p.stop()
	require.NoError(t, <-p.ended)
	for _, text := range []string{metrics, p.logs.String()} {
		assert.NotContains(t, text, "planted-client-secret")
		assert.NotContains(t, text, p.key[len("pk_0011223344556677_"):])
		assert.NotContains(t, metrics, "acme")
	}
	assert.Contains(t, p.logs.String(), "server stopped")
}

// TestTLS: with a certificate the server serves TLS only.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key, pool := certificate(t)
	p := start(t, fmt.Sprintf(`server: {listen: "127.0.0.1:0", health: "127.0.0.1:0", tls_cert: %s, tls_key: %s}`, cert, key))
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer c.CloseIdleConnections()
	status, body := get(t, c, "https://"+p.address+"/v1/connections", p.key)
	assert.Equal(t, 200, status, body)
	plain := &http.Client{Transport: &http.Transport{}}
	status, _ = get(t, plain, "http://"+p.address+"/v1/connections", p.key)
	assert.Equal(t, 400, status)
	_, err := tls.Dial("tcp", p.address, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11})
	assert.Error(t, err, "too old a TLS")
	p.stop()
	require.NoError(t, <-p.ended)
}

// TestReconnectLinks: a caller who asks for the token of a dead connection gets the
// address where its customer can repair it. No answer creates a link.
func TestReconnectLinks(t *testing.T) {
	t.Parallel()
	p := start(t, `
server: {listen: "127.0.0.1:0", health: "127.0.0.1:0"}
connect: {reconnect_url: "https://app.example/{app}/{connection_id}", help_url: "https://help.example"}`)
	backend, err := remote.New(remote.Config{URL: "http://" + p.address, Key: perennial.NewSecret(p.key)})
	require.NoError(t, err)
	c, err := client.New(client.Config{Backend: backend})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.address+"/v1/connections",
		strings.NewReader(`{"app": "crm", "account_id": "1", "tokens": {"access_token": "a", "refresh_token": "r", "expires_in": 1, "obtained_at": "2020-01-01T00:00:00Z"}}`))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+p.key)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	var made struct{ ID string }
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&made))
	db, err := store.Open(t.Context(), p.database)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.SetStatus(t.Context(), perennial.WorkerAccess(), made.ID, perennial.Statuses, 1, perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
	require.NoError(t, err)

	_, err = c.Token(t.Context(), made.ID)
	needed := new(client.ErrReconnectRequired)
	require.ErrorAs(t, err, &needed)
	assert.Equal(t, "https://app.example/crm/"+made.ID, needed.ReconnectURL)
	assert.Equal(t, "https://help.example", needed.HelpURL)
	_, err = c.Reconnect(t.Context(), made.ID, client.ReconnectRequest{})
	require.ErrorAs(t, err, new(*client.ErrInvalid), "no connect.base_url")
	p.stop()
	require.NoError(t, <-p.ended)
}

func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

// TestTLSKeyIsPrivate: the server refuses a key that others can read.
func TestTLSKeyIsPrivate(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t)
	require.NoError(t, os.Chmod(key, 0o644))
	_, err := listen(config.Server{Listen: "127.0.0.1:0", TLSCert: cert, TLSKey: key}, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	require.ErrorContains(t, err, "chmod 600 "+key)
}
