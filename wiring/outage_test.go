package wiring

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/internal/pgserver"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answered is the answer to a caller.
type answered struct {
	status     int
	body       string
	code       string // of the problem
	retryAfter string
}

// ask makes one request, and fails the test if its connection is refused or broken.
func (p *process) ask(t *testing.T, method, path, body string) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.address+path, strings.NewReader(body))
	assert.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+p.key)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", strings.ReplaceAll(path, "/", "-"))
	}
	answer, err := http.DefaultClient.Do(r)
	if !assert.NoError(t, err, "%s %s", method, path) {
		return answered{}
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	assert.NoError(t, err, "%s %s", method, path)
	out := answered{status: answer.StatusCode, body: string(raw), retryAfter: answer.Header.Get("Retry-After")}
	if answer.Header.Get("Content-Type") == "application/problem+json" {
		var problem struct{ Code string }
		assert.NoError(t, json.Unmarshal(raw, &problem))
		out.code = problem.Code
	}
	return out
}

func (p *process) probe(t *testing.T, path string) (int, string) {
	t.Helper()
	return get(t, http.DefaultClient, "http://"+p.health+path, "")
}

// TestDatabaseOutage: while PostgreSQL hangs, and while it is stopped, every call gets
// an answer that says so, and no probe fails. When it is back, everything works again.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	pg, err := pgserver.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = pg.Thaw(); _ = pg.Stop(); _ = os.RemoveAll(pg.Dir) })
	p := startOn(t, pg.URL, `
server: {listen: "127.0.0.1:0", health: "127.0.0.1:0"}
connect: {base_url: "https://connect.example", return_urls: ["https://app.example/"]}`)
	const grant = `{"app": "crm", "account_id": "1", "tokens": {"access_token": "planted", "refresh_token": "r", "expires_in": 3600, "obtained_at": "2999-01-01T00:00:00Z"}}`
	made := p.ask(t, http.MethodPost, "/v1/connections", strings.Replace(grant, "2999-01-01T00:00:00Z", time.Now().UTC().Format(time.RFC3339), 1))
	require.Equal(t, 200, made.status, made.body)
	var c struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(made.body), &c))
	at := "/v1/connections/" + c.ID
	calls := []struct{ method, path, body string }{
		{http.MethodGet, "/v1/connections", ""},
		{http.MethodGet, at, ""},
		{http.MethodGet, at + "/token", ""},
		{http.MethodGet, at + "/attempts", ""},
		{http.MethodGet, "/v1/apps", ""},
		{http.MethodGet, "/v1/webhooks", ""},
		{http.MethodPost, at + "/pause", "{}"},
		{http.MethodPost, at + "/refresh", "{}"},
		{http.MethodPost, at + "/notes", `{"note": "used"}`},
		{http.MethodPut, at + "/cadence", `{"cadence": "on_use"}`},
		{http.MethodPost, "/v1/connect-sessions", `{"app": "crm", "return_url": "https://app.example/"}`},
		{http.MethodPost, "/v1/connections", strings.Replace(grant, `"1"`, `"2"`, 1)},
	}
	unavailable := func(when string) {
		t.Helper()
		var all sync.WaitGroup
		for _, call := range calls {
			all.Go(func() {
				got := p.ask(t, call.method, call.path, call.body)
				assert.Equal(t, 503, got.status, "%s: %s %s: %s", when, call.method, call.path, got.body)
				assert.Equal(t, "unavailable", got.code, "%s: %s %s", when, call.method, call.path)
				assert.NotEmpty(t, got.retryAfter, "%s: %s %s", when, call.method, call.path)
			})
		}
		all.Go(func() {
			assert.Equal(t, 503, p.ask(t, http.MethodGet, PagesPath+"cl_"+strings.Repeat("x", 43), "").status, when)
		})
		all.Wait()
		assert.Equal(t, 404, p.ask(t, http.MethodGet, "/v1/nothing", "").status, when)
		assert.Equal(t, 200, p.ask(t, http.MethodGet, "/v1/openapi.json", "").status, when)
	}
	reports := func(line, gauge string) {
		t.Helper()
		require.Eventually(t, func() bool {
			status, body := p.probe(t, "/readyz?verbose")
			_, metrics := p.probe(t, "/metrics")
			return assert.Equal(t, 200, status, body) && strings.Contains(body, line) && strings.Contains(metrics, gauge)
		}, time.Minute, 50*time.Millisecond, line)
		status, body := p.probe(t, "/readyz")
		assert.Equal(t, 200, status)
		assert.Equal(t, "ready\n", body)
	}
	reports("[+]database ok\n", "perennial_database_up 1\n")

	require.NoError(t, pg.Freeze())
	unavailable("frozen")
	reports("[-]database does not answer since ", "perennial_database_up 0\n")
	require.NoError(t, pg.Thaw())
	reports("[+]database ok\n", "perennial_database_up 1\n")

	require.NoError(t, pg.Stop())
	unavailable("gone")
	reports("[-]database does not answer since ", "perennial_database_up 0\n")

	require.NoError(t, pg.Run())
	reports("[+]database ok\n", "perennial_database_up 1\n")
	got := p.ask(t, http.MethodGet, at+"/token", "")
	assert.Equal(t, 200, got.status, got.body)
	assert.Contains(t, got.body, `"access_token":"planted"`)
	got = p.ask(t, http.MethodPut, at+"/cadence", `{"cadence": "on_use"}`)
	assert.Equal(t, 200, got.status, got.body)
	p.stop()
	require.NoError(t, <-p.ended)
}
