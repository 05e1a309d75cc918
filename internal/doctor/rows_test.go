package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/doctor"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/schema"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inDatabase lists the checks that need no Temporal.
var inDatabase = []string{"schema", "database pool", "keys", "sealed rows", "overdue", "doubt", "replies", "unfinished grants", "apps", "spool", "webhooks", "configuration"}

// TestRows breaks one thing after another in rows that were well, and mends it. Temporal
// is away meanwhile.
func TestRows(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		c := newClinic(t, d)
		for _, check := range inDatabase { // without any row
			c.isWell(check)
		}
		c.insert("con_1", "app", "api.hubapi.com")
		c.insert("con_2", "app", "api.hubapi.com")
		c.insert("con_3", "zen", "acme.zendesk.com")
		for _, check := range inDatabase {
			c.isWell(check)
		}
		c.sees("sealed rows", doctor.Well, "they open: 6 tokens of 3 rows")
		for _, b := range []struct {
			breaks, mends string
			check         string
			state         doctor.State
			seen          string
		}{
			{"UPDATE connections SET next_refresh_at = " + c.ago(time.Hour) + " WHERE id = 'con_1'", "UPDATE connections SET next_refresh_at = " + c.ago(-time.Hour),
				"overdue", doctor.Wrong, "neglected: 1 connections, late and passed over, the first since "},
			{"INSERT INTO apps (app, slot_at, updated_at) VALUES ('app', " + c.ago(-time.Hour) + ", " + c.ago(0) + "); UPDATE connections SET next_refresh_at = " + c.ago(time.Hour) + " WHERE id = 'con_1'",
				"DELETE FROM apps; UPDATE connections SET next_refresh_at = " + c.ago(-time.Hour),
				"overdue", doctor.Warning, "in a backlog that is being served: 1, the first since "},
			{"INSERT INTO attempts (id, connection_id, generation, trigger_name, outcome, started_at) VALUES ('a', 'con_2', 1, 'beside', 'refreshed', " + c.ago(time.Minute) + ")", "DELETE FROM attempts",
				"overdue", doctor.Warning, "refreshed beside Temporal, because their workflows did not in time: 1 connections since "},
			{"UPDATE connections SET next_refresh_at = " + c.ago(time.Hour) + ", attempt_id = 'a', attempt_deadline = " + c.ago(time.Hour) + " WHERE id = 'con_2'", "UPDATE connections SET attempt_id = '', attempt_deadline = NULL, next_refresh_at = " + c.ago(-time.Hour),
				"doubt", doctor.Wrong, "open long after their deadline: con_2"},
			{"UPDATE connections SET suspect_since = " + c.ago(time.Hour) + ", suspect_digest = 'd', confirm_at = " + c.ago(50*time.Minute) + " WHERE id = 'con_2'", "UPDATE connections SET suspect_since = NULL, confirm_at = NULL",
				"doubt", doctor.Wrong, "refused once and not confirmed in time: 1: con_2"},
			{"UPDATE connections SET health = 'failing', ambiguous_since = " + c.ago(time.Hour) + ", ambiguous_digest = 'd' WHERE id = 'con_2'", "UPDATE connections SET health = 'healthy', ambiguous_since = NULL",
				"doubt", doctor.Warning, "may be spent, because a reply never came: con_2"},
			{"INSERT INTO kept_replies (connection_id, app, generation, digest, attempt_id, reply_sealed, whole, sent_at, kept_at) SELECT id, app, generation, refresh_token_digest, 'a', 'x', true, " + c.ago(time.Hour) + ", " + c.ago(time.Hour) + " FROM connections WHERE id = 'con_2'", "DELETE FROM kept_replies",
				"replies", doctor.Wrong, "could not be read are kept of con_2"},
			{"INSERT INTO connect_sessions (id, tenant_id, app, mode, link_digest, outcome, account_id, revocation, created_at, expires_at) VALUES ('cs_1', 't', 'app', 'page', 'l', 'not_finished', '62515', 'failed', " + c.ago(time.Hour) + ", " + c.ago(0) + ")", "UPDATE connect_sessions SET revocation = 'done'",
				"unfinished grants", doctor.Warning, `may live on at the provider: cs_1 (app, account "62515", tenant "t")`},
			{"INSERT INTO circuits (app, host, reason, code, opened_at, next_probe_at, updated_at) VALUES ('app', 'api.hubapi.com', 'misconfigured', 'invalid_client', " + c.ago(time.Hour) + ", " + c.ago(-time.Minute) + ", " + c.ago(0) + ")", "DELETE FROM circuits",
				"apps", doctor.Wrong, "app app at api.hubapi.com: circuit open since "},
			{"INSERT INTO circuits (app, host, slow_until, updated_at) VALUES ('app', 'api.hubapi.com', " + c.ago(-time.Hour) + ", " + c.ago(0) + ")", "DELETE FROM circuits",
				"apps", doctor.Warning, "asked for a pause until "},
			{"INSERT INTO apps (app, slow_until, updated_at) VALUES ('app', " + c.ago(-time.Hour) + ", " + c.ago(0) + ")", "DELETE FROM apps",
				"apps", doctor.Warning, "app app: the provider asked for a pause"},
			{"INSERT INTO apps (app, release_until, updated_at) VALUES ('app', " + c.ago(-time.Hour) + ", " + c.ago(0) + ")", "DELETE FROM apps",
				"apps", doctor.Well, "are released until about "},
			{"INSERT INTO apps (app, hold_terminal, hold_reason, held_at, updated_at) VALUES ('app', true, 'eight were refused', " + c.ago(time.Hour) + ", " + c.ago(0) + ")", "DELETE FROM apps",
				"apps", doctor.Wrong, "eight were refused"},
			{"INSERT INTO apps (app, stopped_at, updated_at) VALUES ('app', " + c.ago(time.Hour) + ", " + c.ago(0) + ")", "DELETE FROM apps",
				"apps", doctor.Wrong, "an operator has stopped it"},
			{"INSERT INTO webhook_deliveries (event_id, endpoint_id, state, created_at) VALUES ('e', 'whe_1', 'dead', " + c.ago(time.Hour) + ")", "DELETE FROM webhook_deliveries",
				"webhooks", doctor.Warning, "deliveries given up: 1, at whe_1"},
			{"INSERT INTO webhook_deliveries (event_id, endpoint_id, state, next_try_at, created_at) VALUES ('e', 'whe_1', 'pending', " + c.ago(time.Hour) + ", " + c.ago(time.Hour) + ")", "DELETE FROM webhook_deliveries",
				"webhooks", doctor.Wrong, "deliveries that are late: 1, the first since "},
			{"INSERT INTO outbox (id, type, app, body, created_at) VALUES ('e', 'x', 'app', '{}', " + c.ago(time.Hour) + ")", "DELETE FROM outbox WHERE id = 'e'",
				"webhooks", doctor.Wrong, "wait for a worker to deliver them: 1"},
			{"UPDATE connections SET app = 'gone' WHERE id = 'con_1'", "UPDATE connections SET app = 'app' WHERE id = 'con_1'",
				"configuration", doctor.Wrong, "does not have: gone"},
			{"UPDATE connections SET host = 'acme.evil.example' WHERE id = 'con_3'", "UPDATE connections SET host = 'acme.zendesk.com' WHERE id = 'con_3'",
				"configuration", doctor.Wrong, "acme.evil.example"},
			{"UPDATE connections SET host = 'old.hubapi.com' WHERE id = 'con_1'", "UPDATE connections SET host = 'api.hubapi.com' WHERE id = 'con_1'",
				"configuration", doctor.Warning, "old.hubapi.com"},
			{"UPDATE connections SET provider = 'xero' WHERE id = 'con_1'", "UPDATE connections SET provider = 'hubspot' WHERE id = 'con_1'",
				"configuration", doctor.Wrong, "of provider hubspot and has connections of xero"},
			{"UPDATE connections SET generation = 2 WHERE id = 'con_2'", "UPDATE connections SET generation = 1 WHERE id = 'con_2'",
				"sealed rows", doctor.Wrong, "do not open with the keys here: 2, in 3 sampled rows: those of con_2"},
		} {
			d.Exec(t, b.breaks)
			c.sees(b.check, b.state, b.seen)
			d.Exec(t, b.mends)
			c.isWell(b.check)
		}
	})
}

// TestPassedOver: an overdue connection is neglected unless its app is being served in the
// order of the due times.
func TestPassedOver(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		c := newClinic(t, d)
		c.insert("con_1", "app", "api.hubapi.com")
		c.insert("con_2", "app", "api.hubapi.com")
		d.Exec(t, "UPDATE connections SET next_refresh_at = "+c.ago(time.Hour)+" WHERE id = 'con_1'")
		line := "INSERT INTO attempts (id, connection_id, generation, trigger_name, outcome, lateness_ms, started_at) VALUES "
		c.sees("overdue", doctor.Wrong, "neglected: 1 connections")
		d.Exec(t, line+"('one due before', 'con_2', 1, 'due', 'refreshed', 3900000, "+c.ago(0)+")")
		c.sees("overdue", doctor.Warning, "in a backlog that is being served: 1")
		d.Exec(t, line+"('one due later', 'con_2', 1, 'due', 'refreshed', 60000, "+c.ago(0)+")")
		c.sees("overdue", doctor.Wrong, "neglected: 1 connections")
	})
}

// TestKeys: a keyset that is not here, other keys than the rows', and none at all.
func TestKeys(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	c.insert("con_1", "app", "api.hubapi.com")
	id, err := c.keys.PrimaryKeyID(seal.FieldAccessToken)
	require.NoError(t, err)
	require.NotZero(t, id)

	dir := filepath.Join(c.dir, "keys")
	require.NoError(t, os.Rename(filepath.Join(dir, "refresh.keyset.json"), filepath.Join(c.dir, "refresh")))
	c.sees("keys", doctor.Warning, "no keyset here for the refresh_token")
	c.isWell("sealed rows") // the access token alone
	require.NoError(t, os.Rename(filepath.Join(c.dir, "refresh"), filepath.Join(dir, "refresh.keyset.json")))
	c.isWell("keys")

	require.NoError(t, os.Rename(dir, dir+".away"))
	c.sees("keys", doctor.Wrong, "keys new")
	c.sees("sealed rows", doctor.Unknown, "not checked: the keys could not be opened")
	require.NoError(t, seal.Generate(dir, nil, true))
	c.isWell("keys")
	c.sees("sealed rows", doctor.Wrong, "do not open with the keys here: 2, in 1 sampled rows: those of con_1, sealed by key ")
}

// TestSpool breaks the spool's folder.
func TestSpool(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	c.sees("spool", doctor.Well, "is not on this machine")
	dir := c.sources.Config.Spool
	assert.NoDirExists(t, dir)
	s, err := spool.Open(dir, 0)
	require.NoError(t, err)
	c.sees("spool", doctor.Well, "token sets waiting: 0")
	set := store.SaveRequest{ID: "con_1", AttemptID: "a", Generation: 1, NewGeneration: 2}
	require.NoError(t, s.Add(set))
	c.sees("spool", doctor.Well, "token sets waiting: 1") // a worker has it in a moment
	files, err := filepath.Glob(filepath.Join(dir, "*.sealed"))
	require.NoError(t, err)
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(files[0], old, old))
	c.sees("spool", doctor.Wrong, "token sets that wait in "+dir+": 1, the oldest since ")
	require.NoError(t, s.SetAside(set))
	c.sees("spool", doctor.Warning, "that could not be stored: 1")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.corrupt"), nil, 0o600))
	c.sees("spool", doctor.Wrong, "that cannot be read: 1;")
	require.NoError(t, os.Chmod(dir, 0o777))
	c.sees("spool", doctor.Wrong, "chmod 700 "+dir)
	after, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, after, 2, "it changes nothing")
	c.sources.Config.Spool = ""
	c.sees("spool", doctor.Warning, "no spool is configured")
}

// TestSchema: a schema with a migration pending, one of a newer program, and none.
func TestSchema(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		c := newClinic(t, d)
		c.isWell("schema")
		if schema.Version > schema.Oldest {
			require.NoError(t, d.MigrateDown(t.Context()))
			c.sees("schema", doctor.Warning, "this program brings")
			_, _, err := d.Migrate(t.Context())
			require.NoError(t, err)
			c.isWell("schema")
		}
		for range int(schema.Version - schema.Oldest + 1) {
			require.NoError(t, d.MigrateDown(t.Context()))
		}
		c.sees("schema", doctor.Wrong, "run `perennial migrate`")
		c.sees("overdue", doctor.Unknown, "not checked: its schema is out of range")
	})
}

// TestPool: a server with fewer connections left than a process may open.
func TestPool(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		c := newClinic(t, d)
		c.isWell("database pool")
		if d.IsSQLite() {
			return
		}
		c.sources.Config.DatabasePool.MaxOpen = 100_000
		c.sees("database pool", doctor.Warning, "one more process may find none")
	})
}

// TestClockAndTransport: an offset of more than 30 s in each direction, and how each form
// of a URL is protected.
func TestClockAndTransport(t *testing.T) {
	t.Parallel()
	for offset, want := range map[time.Duration]doctor.State{0: doctor.Well, 30 * time.Second: doctor.Well, 30*time.Second + 1: doctor.Warning, -31 * time.Second: doctor.Warning} {
		assert.Equal(t, want, doctor.AboutClock(time.Millisecond, offset).State, offset)
	}
	for url, want := range map[string]doctor.State{
		"postgres://p@127.0.0.1/x?sslmode=disable":      doctor.Well,
		"postgres://p@db.example/x?sslmode=verify-full": doctor.Well,
		"postgres://p@db.example/x?sslmode=require":     doctor.Warning,
		"postgres://p@db.example/x?sslmode=disable":     doctor.Warning,
	} {
		assert.Equal(t, want, doctor.Transport(&config.Config{DatabaseURL: url}, &db.DB{Dialect: schema.Postgres}).State, url)
	}
	assert.Equal(t, doctor.Warning, doctor.Transport(&config.Config{}, &db.DB{Dialect: schema.SQLite}).State)
}

// TestDatabaseAway: checks that need no rows run all the same.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	c.sources.Database = func(ctx context.Context) (*db.DB, error) {
		return db.Open(ctx, "postgres://perennial@127.0.0.1:1/x?sslmode=disable", db.Pool{})
	}
	c.sees("database", doctor.Unknown, "does not answer")
	c.sees("overdue", doctor.Unknown, "not checked: the database could not be opened")
	c.isWell("keys")
	c.isWell("spool")
	assert.Equal(t, doctor.Unknown, c.run().State)

	c.sources.Database = func(ctx context.Context) (*db.DB, error) { <-ctx.Done(); return nil, ctx.Err() }
	c.sources.Timeout = 200 * time.Millisecond
	c.sees("database", doctor.Unknown, "does not answer")
	c.isWell("keys")
}

// TestHangs: a check that ignores its deadline delays no other, and no error hides what
// its check saw.
func TestHangs(t *testing.T) {
	t.Parallel()
	c := newClinic(t, dbtest.New(t, dbtest.SQLiteURL(t)))
	c.sources.Timeout = 100 * time.Millisecond
	end := make(chan struct{})
	defer close(end)
	r := doctor.RunOnly(t.Context(), c.sources, map[string]func(context.Context) ([]doctor.Finding, error){
		"hangs":  func(context.Context) ([]doctor.Finding, error) { <-end; return nil, nil },
		"hangs2": func(context.Context) ([]doctor.Finding, error) { <-end; return nil, nil },
		"ends":   func(ctx context.Context) ([]doctor.Finding, error) { <-ctx.Done(); return nil, ctx.Err() },
		"half": func(context.Context) ([]doctor.Finding, error) {
			return []doctor.Finding{{State: doctor.Wrong, Seen: strings.Repeat("ä", 1000)}}, errors.Join(errors.New("and no more"), errors.New("than this"))
		},
		"well": func(context.Context) ([]doctor.Finding, error) {
			return []doctor.Finding{{State: doctor.Well, Seen: "yes"}}, nil
		},
	})
	assert.Contains(t, of(r, "hangs")[0].Seen, "did not end within 100ms")
	assert.Contains(t, of(r, "hangs2")[0].Seen, "did not end within 100ms")
	assert.Contains(t, of(r, "ends")[0].Seen, "not checked: context deadline exceeded")
	assert.Equal(t, []doctor.State{doctor.Wrong, doctor.Unknown}, []doctor.State{of(r, "half")[0].State, of(r, "half")[1].State})
	assert.Less(t, len(of(r, "half")[0].Seen), 700)
	assert.True(t, utf8.ValidString(of(r, "half")[0].Seen))
	assert.Equal(t, "not checked: and no more; than this", of(r, "half")[1].Seen)
	assert.Equal(t, doctor.Well, of(r, "well")[0].State)
	assert.Equal(t, doctor.Wrong, r.State)
	assert.Equal(t, 3+1, r.Count(doctor.Unknown))
}
