package refresh

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHealthyBesideFailing: a pooled app whose provider always answers 500 for a few
// connections. The pacer claims and refreshes each healthy connection at its first look
// after the due time, and the circuit stays closed.
func TestHealthyBesideFailing(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		healthyBesideFailing(t, "pgx", testpg.URL(t), "")
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "fleet.db")
		healthyBesideFailing(t, "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)", "sqlite:"+path)
	})
}

func healthyBesideFailing(t *testing.T, driver, dsn, url string) {
	const good, bad, rounds, batch = 48, 10, 3, 16
	if url == "" {
		url = dsn
	}
	b := setupOn(t, url, provider.Reply{})
	b.Presenter = badTokens{}
	b.app.Pacers = 1
	b.Timing.ProbeInterval = 30 * time.Second
	raw, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, raw.Close()) })
	exec := func(statement string) {
		t.Helper()
		_, err := raw.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	exec("DELETE FROM connections")
	insert := func(id string) {
		c := perennial.Connection{ID: id, TenantID: "t", App: "app", Provider: "generic", Host: "h", AccountID: id}
		set := fresh("1").Tokens
		set.RefreshToken = perennial.NewSecret(id)
		w, err := Tokens(b.keyring, b.app, c, 1, set, set.RefreshToken, time.Now())
		require.NoError(t, err)
		_, err = b.db.Insert(t.Context(), perennial.WorkerAccess(), c, w)
		require.NoError(t, err)
	}
	for i := range good {
		insert(fmt.Sprintf("good%03d", i))
	}
	for i := range bad {
		insert(fmt.Sprintf("bad%03d", i))
	}
	exec("UPDATE connections SET failure_count = 12, health = 'failing', failing_code = 'http_500' WHERE id LIKE 'bad%'")
	pace := store.ClaimDueRequest{Shard: store.Shard{App: "app", Of: 1}, Limit: batch, Lease: b.Timing.AttemptDeadline, Trigger: perennial.TriggerTimer}
	_, err = b.db.ClaimDue(t.Context(), pace) // creates the pacer's row
	require.NoError(t, err)
	for round := range rounds {
		exec("UPDATE connections SET next_refresh_at = '2020-01-01 00:00:00+00:00', next_attempt_at = NULL")
		for next := 0; next < bad; { // between two looks of the pacer, some connections fail once more
			for range bad * batch / good {
				if next < bad {
					id := fmt.Sprintf("bad%03d", next)
					res, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: id, Generation: 1, Trigger: perennial.TriggerTimer, App: "app"})
					require.NoError(t, err)
					require.Equal(t, perennial.OutcomeUnknown, res.Outcome, id)
					next++
				}
			}
			got, err := b.db.ClaimDue(t.Context(), pace)
			require.NoError(t, err)
			pace.Beat = got.Beat
			for _, claim := range got.Claims {
				res, err := b.RefreshClaimed(t.Context(), claim, time.Now(), time.Time{}, "")
				require.NoError(t, err)
				require.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
			}
		}
		var late int
		require.NoError(t, raw.QueryRowContext(t.Context(), "SELECT count(*) FROM connections WHERE id LIKE 'good%' AND generation < $1", round+2).Scan(&late))
		assert.Zero(t, late, "round %d: healthy connections that the pacer did not refresh", round)
	}
	state, err := b.db.AppState(t.Context(), "app")
	require.NoError(t, err)
	require.Len(t, state.Circuits, 1)
	assert.False(t, state.Circuits[0].Open)
	events, err := b.db.Events(t.Context(), "", 1000)
	require.NoError(t, err)
	for _, e := range events {
		if e.Type != perennial.EventConnected {
			assert.True(t, strings.HasPrefix(e.ConnectionID, "bad"), "%s of %q", e.Type, e.ConnectionID)
		}
	}
}

// badTokens refreshes every token except those that begin with "bad".
type badTokens struct{}

func (badTokens) Refresh(ctx context.Context, _ provider.App, _, token perennial.Secret, send func(context.Context) error) provider.Reply {
	if err := send(ctx); err != nil {
		return provider.Reply{Outcome: perennial.OutcomeUnavailable, Code: "unsent"}
	}
	if strings.HasPrefix(token.Reveal(), "bad") {
		return provider.Reply{Outcome: perennial.OutcomeUnknown, Code: "http_500", Sent: true, HTTPStatus: 500}
	}
	reply := fresh("2")
	reply.Tokens.RefreshToken = token
	return reply
}
