package wiring

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"go.temporal.io/api/serviceerror"
)

// TestReady: only the process's own state makes it unready. While the database does not
// answer, the last known schema version counts.
func TestReady(t *testing.T) {
	t.Parallel()
	var schema, temporal error
	var logged bytes.Buffer
	c := &checks{log: slog.New(slog.NewTextHandler(&logged, nil)),
		checkSchema:   func(context.Context) error { return schema },
		checkTemporal: func(context.Context) error { return temporal }}
	look := func(database, workflows error) {
		schema, temporal = database, workflows
		c.lookAtDatabase(t.Context())
		c.lookAtTemporal(t.Context())
	}
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		c.ready(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	is := func(status int, says string, lines ...string) {
		t.Helper()
		got, body := ask("/readyz")
		assert.Equal(t, status, got)
		assert.Equal(t, says+"\n", body)
		got, body = ask("/readyz?verbose")
		assert.Equal(t, status, got, "verbose changes no status")
		assert.True(t, strings.HasSuffix(body, "\n"+says+"\n"), body)
		assert.Len(t, strings.Split(strings.TrimSpace(body), "\n"), 7, body)
		for _, line := range lines {
			assert.Contains(t, body, line)
		}
	}
	away := errors.New("refused")
	tooNew := perennial.Errorf(perennial.CodeSchema, "deploy a newer perennial")

	is(503, "starting", "[-]started starting")
	c.started.Store(true)
	is(200, "ready", "[+]started ok", "[+]accepting ok", "[+]schema ok", "[+]keys ok", "[+]database ok", "[+]temporal ok")
	look(away, away)
	is(200, "ready", "[+]schema ok", "[-]database does not answer since ", "[-]temporal does not answer since ")
	assert.False(t, c.database.up())
	assert.False(t, c.temporal.up())
	began := c.database.Load()
	look(away, nil)
	is(200, "ready", "[-]database", "[+]temporal ok")
	assert.Equal(t, began, c.database.Load(), "since the first time")
	look(tooNew, nil)
	is(503, "deploy a newer perennial", "[-]schema deploy a newer perennial", "[+]database ok")
	look(nil, serviceerror.NewPermissionDenied("the key secret-1 has expired", ""))
	is(200, "ready", "[-]temporal answers PermissionDenied since ")
	assert.False(t, c.temporal.up())
	assert.NotContains(t, logged.String(), "secret-1")
	look(tooNew, nil)
	look(away, nil)
	is(503, "deploy a newer perennial", "[-]schema", "[-]database")
	look(nil, nil)
	is(200, "ready", "[+]schema ok", "[+]database ok")
	assert.True(t, c.database.up())

	c.missingKeys = []string{"refresh_token"}
	is(503, "no keyset for the refresh_token", "[-]keys")
	c.missingKeys = nil
	c.draining.Store(true)
	is(503, "stopping", "[-]accepting stopping")
}

// TestProbesEndWithTheProcess: a probe that the end of the process interrupts is no
// outage.
func TestProbesEndWithTheProcess(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := &checks{log: slog.New(slog.DiscardHandler), checkSchema: func(ctx context.Context) error { cancel(); return ctx.Err() }}
	c.lookAtDatabase(ctx)
	assert.True(t, c.database.up())
}
