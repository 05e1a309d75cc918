package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// testSaveUnderFloor: while an attempt is open after a restore, the workflow tells the
// row that generation 5 was given out. The attempt's set is not stored under it, by
// either path; sealed again for the next number, it is. A new grant is refused as well.
func testSaveUnderFloor(t *testing.T, b *bundle) {
	for name, claimed := range map[string]bool{"as claimed": true, "by another process": false} {
		c := b.claimed(t, b.connect(t), lease, single)
		_, err := b.Claim(t.Context(), store.ClaimRequest{ID: c.ID, Generation: 5, AttemptID: "later", Lease: lease, Trigger: perennial.TriggerTimer})
		require.NoError(t, err)
		before := b.row(t, c.ID)
		require.EqualValues(t, 5, before.GenerationFloor)
		_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, tokens(2, "new grant"))
		requireCode(t, perennial.CodeConflict, err)
		req := saveRequest(c, "2")
		if !claimed {
			req.Claimed = perennial.Connection{}
		}
		_, err = b.Save(t.Context(), req)
		taken, ok := errors.AsType[*store.TakenError](err)
		require.True(t, ok, "%s: %v", name, err)
		require.Equal(t, store.TakenError{ID: c.ID, Generation: 2, Next: 6}, *taken, name)
		require.Equal(t, before, b.row(t, c.ID), name)
		require.Empty(t, b.outcomes(t, c.ID), name)
		req.NewGeneration = taken.Next
		saved, err := b.Save(t.Context(), req)
		require.NoError(t, err)
		require.True(t, saved.Stored, name)
		require.EqualValues(t, 6, saved.Connection.Generation, name)
		again, err := b.Save(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, saved.Connection, again.Connection, name)
	}
}

// testSetAside: while a set above the row's generation is set aside, no class but
// reusable may be claimed; the connection stays active and its workflow looks again.
func testSetAside(t *testing.T, b *bundle) {
	for _, class := range perennial.ReplayClasses {
		c := b.connect(t)
		b.Exec(t, "UPDATE connections SET expires_at = '"+at(time.Hour)+"' WHERE id = '"+c.ID+"'")
		before := b.row(t, c.ID)
		marked, err := b.MarkSetAside(t.Context(), store.SetAsideRequest{ID: c.ID, Generation: 1, NewGeneration: 2})
		require.NoError(t, err)
		require.Equal(t, []any{perennial.StatusActive, perennial.HealthFailing, store.CodeSetAside}, []any{marked.Status, marked.Health, marked.FailingCode})
		require.True(t, marked.HasSetAside())
		require.WithinDuration(t, before.ExpiresAt.Add(24*time.Hour), marked.SetAsideUntil, time.Minute, "the access token is served to its end")
		again, err := b.MarkSetAside(t.Context(), store.SetAsideRequest{ID: c.ID, Generation: 1, NewGeneration: 2})
		require.NoError(t, err)
		require.Equal(t, marked, again, "a second mark moves nothing")
		require.Equal(t, store.VerdictWait, b.claim(t, c, lease, class).Verdict)

		b.Exec(t, "UPDATE connections SET next_attempt_at = NULL WHERE id = '"+c.ID+"'")
		got := b.claim(t, c, lease, class)
		if class == perennial.ReplayReusable {
			require.Equal(t, store.VerdictClaimed, got.Verdict)
			continue
		}
		require.Equal(t, store.VerdictSetAside, got.Verdict, class)
		b.Exec(t, "UPDATE connections SET next_attempt_at = NULL, ambiguous_since = created_at, ambiguous_digest = refresh_token_digest, expires_at = '"+at(20*time.Hour)+"' WHERE id = '"+c.ID+"'")
		got = b.claim(t, c, lease, class)
		require.Equal(t, store.VerdictSetAside, got.Verdict, class)
		require.WithinDuration(t, got.Now.Add(10*time.Minute), got.RetryAt, time.Second, "also %s looks again soon, though its own wait would be long", class)
		require.Equal(t, got.RetryAt, got.Connection.NextAttemptAt, "the wait is in the row")
		require.Equal(t, store.VerdictWait, b.claim(t, c, lease, class).Verdict)
		require.Empty(t, b.outcomes(t, c.ID), "nothing was presented")

		saved, err := b.Save(t.Context(), saveRequest(before, "2"))
		require.NoError(t, err)
		require.Equal(t, perennial.HealthHealthy, saved.Connection.Health)
		require.False(t, saved.Connection.HasSetAside(), "stored after all")
		b.claimed(t, saved.Connection, lease, class)
	}
}

// testSetAsideEnds: a day after the access token's end, and when an operator gives the
// set up, the refresh token is presented again, in doubt: a refusal is our loss. A new
// grant ends the mark at once.
func testSetAsideEnds(t *testing.T, b *bundle) {
	mark := func() perennial.Connection {
		c := b.connect(t)
		c, err := b.MarkSetAside(t.Context(), store.SetAsideRequest{ID: c.ID, Generation: 1, NewGeneration: 2})
		require.NoError(t, err)
		require.NotZero(t, c.SetAsideUntil)
		return c
	}
	until := func(c perennial.Connection, at string) {
		b.Exec(t, "UPDATE connections SET set_aside_until = '"+at+"', next_attempt_at = NULL WHERE id = '"+c.ID+"'")
	}
	for name, end := range map[string]func(perennial.Connection){
		"over": func(c perennial.Connection) {
			until(c, at(-time.Minute))
		},
		"by mistake": func(c perennial.Connection) {
			until(c, at(9*365*24*time.Hour))
		},
		"given up": func(c perennial.Connection) {
			_, err := b.GiveUpSetAside(t.Context(), perennial.WorkerAccess(), c.ID)
			require.NoError(t, err)
		},
		"marked anew": func(c perennial.Connection) {
			_, err := b.GiveUpSetAside(t.Context(), perennial.WorkerAccess(), c.ID)
			require.NoError(t, err)
			_, err = b.MarkSetAside(t.Context(), store.SetAsideRequest{ID: c.ID, Generation: 1, NewGeneration: 2})
			require.NoError(t, err)
		},
	} {
		c := mark()
		end(c)
		got := b.claimed(t, c, lease, single)
		require.True(t, got.Ambiguous(), name)
	}
	c := mark()
	c, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, tokens(2, "new"))
	require.NoError(t, err)
	require.Zero(t, c.SetAsideGeneration)
	require.Equal(t, perennial.HealthHealthy, c.Health)
	require.False(t, b.claimed(t, c, lease, single).Ambiguous())
	_, err = b.GiveUpSetAside(t.Context(), perennial.WorkerAccess(), c.ID)
	requireCode(t, perennial.CodeConflict, err)
	_, err = b.GiveUpSetAside(t.Context(), perennial.WorkerAccess(), "missing")
	requireCode(t, perennial.CodeNotFound, err)
}

// testSetAsideGuards: a set that can no longer replace anything bars nothing.
func testSetAsideGuards(t *testing.T, b *bundle) {
	c := b.connect(t)
	_, err := b.Save(t.Context(), saveRequest(b.claimed(t, c, lease, single), "2"))
	require.NoError(t, err)
	gone := b.connect(t)
	_, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), gone.ID, perennial.Statuses, 1, perennial.StatusDisconnected, perennial.ReasonNone)
	require.NoError(t, err)
	for name, req := range map[string]store.SetAsideRequest{
		"moved on":     {ID: c.ID, Generation: 1, NewGeneration: 2},
		"not above":    {ID: c.ID, Generation: 2, NewGeneration: 2},
		"far above":    {ID: c.ID, Generation: 2, NewGeneration: 1 << 50},
		"disconnected": {ID: gone.ID, Generation: 1, NewGeneration: 2},
	} {
		before := b.row(t, req.ID)
		got, err := b.MarkSetAside(t.Context(), req)
		require.NoError(t, err, name)
		require.Equal(t, before, got, name)
		require.Equal(t, before, b.row(t, req.ID), name)
	}
	_, err = b.MarkSetAside(t.Context(), store.SetAsideRequest{ID: "missing", Generation: 1, NewGeneration: 2})
	requireCode(t, perennial.CodeNotFound, err)
}

// at returns the time after d, as a statement writes it.
func at(d time.Duration) string {
	return time.Now().Add(d).UTC().Format("2006-01-02 15:04:05.000000") + "+00:00"
}
