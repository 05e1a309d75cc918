package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// changeAndEvent shows a connection's part of a change and the events.
var changeAndEvent = []string{
	"SELECT status, reason, health, failing_code, generation, attempt_id = '', refresh_token_digest, grant_warned_days FROM connections ORDER BY id",
	"SELECT type, app, connection_id FROM outbox ORDER BY created_at",
	"SELECT outcome FROM attempts ORDER BY id",
	"SELECT app, host, reason, releasing_at IS NULL FROM circuits ORDER BY host",
	"SELECT app, hold_reason, held_at IS NULL, stopped_at IS NULL, operator_did FROM apps",
}

func note(ctx context.Context, s *store.Store, id string, o perennial.Outcome) error {
	return s.NoteReply(ctx, store.NoteRequest{Connection: perennial.Connection{ID: id, App: "hubspot", Host: "h"}, Outcome: o, Code: "invalid_client", Interval: time.Hour})
}

// TestKilledBetweenStatements: a process that dies between two statements leaves
// neither a change without its event nor an event without its change.
func TestKilledBetweenStatements(t *testing.T) {
	t.Parallel()
	const id = "con_1"
	insert := func(ctx context.Context, s *store.Store) error {
		_, err := s.Insert(ctx, perennial.WorkerAccess(), perennial.Connection{ID: id, TenantID: "acme", App: "hubspot", Provider: "hubspot", Host: "h", AccountID: "a"}, tokens(1, "1"))
		return err
	}
	// row reads the connection in the process that makes the change.
	row := func(ctx context.Context, s *store.Store) perennial.Connection {
		c, _, _ := s.Get(ctx, perennial.WorkerAccess(), id)
		return c
	}
	claimed := func(t *testing.T, s *store.Store) {
		require.NoError(t, insert(t.Context(), s))
		got, err := s.Claim(t.Context(), claimRequest(row(t.Context(), s), lease, single))
		require.NoError(t, err)
		require.Equal(t, store.VerdictClaimed, got.Verdict)
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, s *store.Store)
		do      func(ctx context.Context, s *store.Store) error
	}{
		"connected": {func(*testing.T, *store.Store) {}, insert},
		"disconnected": {func(t *testing.T, s *store.Store) { require.NoError(t, insert(t.Context(), s)) }, func(ctx context.Context, s *store.Store) error {
			_, err := s.SetStatus(ctx, perennial.WorkerAccess(), id, perennial.Statuses, 1, perennial.StatusDisconnected, "")
			return err
		}},
		"reconnect_required": {claimed, func(ctx context.Context, s *store.Store) error {
			req := closeRequest(row(ctx, s), perennial.OutcomeRevoked)
			req.Terminal = perennial.ReasonInvalidGrant
			_, _, err := s.CloseAttempt(ctx, req)
			return err
		}},
		"failing": {claimed, func(ctx context.Context, s *store.Store) error {
			req := closeRequest(row(ctx, s), perennial.OutcomeUnavailable)
			req.Failed, req.FailingAfter, req.FailingCode = true, 1, "http_500"
			_, _, err := s.CloseAttempt(ctx, req)
			return err
		}},
		"set aside": {claimed, func(ctx context.Context, s *store.Store) error {
			_, err := s.MarkSetAside(ctx, store.SetAsideRequest{ID: id, Generation: 1, NewGeneration: 2})
			return err
		}},
		"recovered": {func(t *testing.T, s *store.Store) {
			claimed(t, s)
			_, err := s.SetStatus(t.Context(), perennial.WorkerAccess(), id, perennial.Statuses, 1, perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
			require.NoError(t, err)
		}, func(ctx context.Context, s *store.Store) error {
			req := saveRequest(row(ctx, s), "2")
			req.Claimed = perennial.Connection{} // not in one statement
			_, err := s.Save(ctx, req)
			return err
		}},
		"reconnected": {func(t *testing.T, s *store.Store) {
			require.NoError(t, insert(t.Context(), s))
			_, err := s.SetStatus(t.Context(), perennial.WorkerAccess(), id, perennial.Statuses, 1, perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
			require.NoError(t, err)
		}, func(ctx context.Context, s *store.Store) error {
			_, err := s.ReplaceTokens(ctx, perennial.WorkerAccess(), id, "", 1, tokens(2, "2"))
			return err
		}},
		"warned": {func(t *testing.T, s *store.Store) {
			require.NoError(t, insert(t.Context(), s))
			now, err := s.Now(t.Context())
			require.NoError(t, err)
			store.Execute(t, s, "UPDATE connections SET grant_expires_at = ?", now.Add(20*24*time.Hour))
		}, func(ctx context.Context, s *store.Store) error {
			_, err := s.Warn(ctx, 10)
			return err
		}},
		"held": {func(t *testing.T, s *store.Store) { require.NoError(t, insert(t.Context(), s)) }, func(ctx context.Context, s *store.Store) error {
			return s.RaiseRefusalHold(ctx, "hubspot", "by hand")
		}},
		"stopped": {func(*testing.T, *store.Store) {}, func(ctx context.Context, s *store.Store) error { return s.StopApp(ctx, "hubspot") }},
		"started": {func(t *testing.T, s *store.Store) {
			require.NoError(t, s.StopApp(t.Context(), "hubspot"))
		}, func(ctx context.Context, s *store.Store) error { return s.StartApp(ctx, "hubspot") }},
		"closed by an operator": {func(t *testing.T, s *store.Store) {
			for _, of := range []string{id, id, "con_2"} {
				require.NoError(t, note(t.Context(), s, of, perennial.OutcomeMisconfigured))
			}
		}, func(ctx context.Context, s *store.Store) error {
			_, err := s.CloseCircuits(ctx, "hubspot")
			return err
		}},
		"circuit opened": {func(t *testing.T, s *store.Store) {
			require.NoError(t, insert(t.Context(), s))
			_, err := s.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: "con_2", TenantID: "acme", App: "hubspot", Provider: "hubspot", Host: "h", AccountID: "b"}, tokens(1, "2"))
			require.NoError(t, err) // an app with one connection needs no second witness
			for range 2 {
				require.NoError(t, note(t.Context(), s, id, perennial.OutcomeMisconfigured))
			}
		}, func(ctx context.Context, s *store.Store) error {
			return note(ctx, s, "con_2", perennial.OutcomeMisconfigured)
		}},
		"circuit releasing": {func(t *testing.T, s *store.Store) {
			for _, of := range []string{id, id, "con_2"} {
				require.NoError(t, note(t.Context(), s, of, perennial.OutcomeMisconfigured))
			}
		}, func(ctx context.Context, s *store.Store) error { return note(ctx, s, id, perennial.OutcomeRefreshed) }},
		"circuit open again": {func(t *testing.T, s *store.Store) {
			for _, of := range []string{id, id, "con_2"} {
				require.NoError(t, note(t.Context(), s, of, perennial.OutcomeMisconfigured))
			}
			require.NoError(t, note(t.Context(), s, id, perennial.OutcomeRefreshed))
		}, func(ctx context.Context, s *store.Store) error {
			return note(ctx, s, id, perennial.OutcomeMisconfigured)
		}},
		"circuit closed": {func(t *testing.T, s *store.Store) {
			for _, of := range []string{id, id, "con_2"} {
				require.NoError(t, note(t.Context(), s, of, perennial.OutcomeMisconfigured))
			}
			require.NoError(t, note(t.Context(), s, id, perennial.OutcomeRefreshed))
		}, func(ctx context.Context, s *store.Store) error {
			_, _, err := s.Release(ctx, store.ReleaseRequest{App: "hubspot"})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Killed(t, dbtest.Change{State: changeAndEvent,
				Prepare: func(t *testing.T, d *dbtest.Database) { c.prepare(t, store.New(d.DB)) },
				Do:      func(ctx context.Context, d *db.DB) error { return c.do(ctx, store.New(d)) }})
		})
	}
}
