package doctor_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/doctor"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// clinic is an installation in which a test breaks something.
type clinic struct {
	*testing.T
	dir     string
	path    string // of the configuration
	d       *dbtest.Database
	keys    *seal.Keyring
	rows    *store.Store
	sources doctor.Sources
}

// planted is in every token and secret of the tests, and in no finding.
const planted = "planted-secret"

func newClinic(t *testing.T, d *dbtest.Database) *clinic {
	t.Helper()
	c := &clinic{T: t, dir: t.TempDir(), d: d, rows: store.New(d.DB)}
	c.path = filepath.Join(c.dir, "perennial.yaml")
	c.configure("")
	require.NoError(t, seal.Generate(filepath.Join(c.dir, "keys"), nil, true))
	var err error
	c.keys, err = seal.Load(filepath.Join(c.dir, "keys"), nil, true)
	require.NoError(t, err)
	c.sources.Namespace = "default"
	c.sources.Timeout = 30 * time.Second // a busy machine is no finding
	c.sources.Database = func(context.Context) (*db.DB, error) { return d.DB, nil }
	c.sources.Keys = func(context.Context) (*seal.Keyring, error) {
		return seal.Load(filepath.Join(c.dir, "keys"), nil, true)
	}
	c.sources.Temporal = func(context.Context) (client.Client, error) {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "no Temporal server answers at nowhere")
	}
	c.sources.Binding = func(ctx context.Context, _ *db.DB, t client.Client) (doctor.Binding, error) {
		f, err := c.bound(t).Inspect(ctx)
		out := doctor.Binding{State: string(f.State), Presents: f.State.Presents(), Reason: f.Reason, Database: f.Installation.DatabaseID}
		for _, at := range f.Installation.Bindings {
			out.Places = append(out.Places, at.TaskQueue)
		}
		return out, err
	}
	return c
}

// configure writes the configuration with more settings and reads it.
func (c *clinic) configure(more string) {
	c.Helper()
	require.NoError(c, os.WriteFile(c.path, fmt.Appendf(nil, `
database_url: %q
keys: %q
spool: %q
allow_plaintext_keys: true
task_queue: %q
listen: 127.0.0.1:0
timing: {http_timeout: 3s, save_timeout: 1s, start_to_close: 5s, attempt_deadline: 6s, worker_stop: 7s}
%s
apps:
  - {name: app, provider: hubspot, client_id: id, client_secret_env: APP_SECRET}
  - {name: zen, provider: zendesk, client_id: id, client_secret_env: ZEN_SECRET}
`, c.d.URL, filepath.Join(c.dir, "keys"), filepath.Join(c.dir, "spool"), c.Name(), more), 0o600))
	cfg, err := config.LoadWithoutSecrets(c.path, []string{"APP_SECRET=" + planted})
	require.NoError(c, err)
	c.sources.Config = cfg
}

// bound returns the binding between the clinic's database and Temporal.
func (c *clinic) bound(t client.Client) *wiring.Binding {
	c.Helper()
	b, err := (&wiring.Deps{Config: c.sources.Config, DB: c.d.DB, Store: c.rows, Log: slog.New(slog.DiscardHandler)}).
		BindingFor(c.Context(), t, []string{"TEMPORAL_NAMESPACE=" + c.sources.Namespace})
	require.NoError(c, err)
	return b
}

// insert stores a connection that was refreshed just now, with sealed tokens.
func (c *clinic) insert(id, app, host string) perennial.Connection {
	c.Helper()
	row := perennial.Connection{ID: id, TenantID: "tenant", App: app, Provider: "hubspot", Host: host, AccountID: "of " + id, Cadence: perennial.CadenceAlways}
	if app == "zen" {
		row.Provider = "zendesk"
	}
	w := store.TokenWrite{Generation: 1, ClientIDDigest: "c", Status: perennial.StatusActive}
	var err error
	w.AccessTokenSealed, err = c.keys.Seal(seal.BindingOf(row, seal.FieldAccessToken, 1), perennial.NewSecret(planted))
	require.NoError(c, err)
	w.RefreshTokenSealed, err = c.keys.Seal(seal.BindingOf(row, seal.FieldRefreshToken, 1), perennial.NewSecret(planted))
	require.NoError(c, err)
	w.RefreshTokenDigest, w.ExpiresAt, w.NextRefreshAt = "d", time.Now().Add(time.Hour), time.Now().Add(50*time.Minute)
	out, err := c.rows.Insert(c.Context(), perennial.WorkerAccess(), row, w)
	require.NoError(c, err)
	return out
}

// ago is the SQL of a time.
func (c *clinic) ago(d time.Duration) string {
	if c.d.IsSQLite() {
		return fmt.Sprintf("'%s'", time.Now().Add(-d).UTC().Format("2006-01-02 15:04:05.000000+00:00"))
	}
	return fmt.Sprintf("clock_timestamp() - interval '%d seconds'", int(d.Seconds()))
}

func (c *clinic) run() doctor.Report {
	c.Helper()
	began := time.Now()
	r := doctor.Run(c.Context(), c.sources)
	assert.Less(c, time.Since(began), 8*time.Second)
	for _, f := range r.Findings {
		assert.NotContains(c, f.Seen+f.Do, planted)
		assert.Contains(c, doctor.Names(), f.Check)
		if f.State != doctor.Well && !strings.Contains(f.Seen, "not checked: ") {
			assert.True(c, f.Do != "" || strings.ContainsAny(f.Seen, ":`"), "%+v says what to do", f)
		}
	}
	for _, name := range doctor.Names() {
		assert.NotEmpty(c, of(r, name), name)
	}
	return r
}

func of(r doctor.Report, check string) (out []doctor.Finding) {
	for _, f := range r.Findings {
		if f.Check == check {
			out = append(out, f)
		}
	}
	return out
}

// sees runs the doctor and requires that a check found this.
func (c *clinic) sees(check string, state doctor.State, seen string) {
	c.Helper()
	found := of(c.run(), check)
	for _, f := range found {
		if f.State == state && strings.Contains(f.Seen, seen) {
			return
		}
	}
	assert.Fail(c, "not found", "%s: %s %q in %+v", check, state, seen, found)
}

// comesToSee runs the doctor until a check finds this. A workflow that has just begun may
// need a moment to answer, and later ones too on a busy machine.
func (c *clinic) comesToSee(check string, state doctor.State, seen string) {
	c.Helper()
	c.eventually(seen, func() bool {
		return slices.ContainsFunc(of(doctor.Run(c.Context(), c.sources), check), func(f doctor.Finding) bool {
			return f.State == state && strings.Contains(f.Seen, seen)
		})
	})
}

// isWell runs the doctor and requires that a check found nothing bad.
func (c *clinic) isWell(check string) {
	c.Helper()
	for _, f := range of(c.run(), check) {
		assert.Equal(c, doctor.Well, f.State, "%+v", f)
	}
}
