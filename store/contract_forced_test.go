package store_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// floor is longer than a test takes.
var floor = perennial.Floor{First: 10 * time.Minute, Longest: 15 * time.Minute}

// force claims c as a caller does, in the order in which the engine tries it.
func (b *bundle) force(t *testing.T, c perennial.Connection) store.Claim {
	t.Helper()
	req := claimRequest(c, lease, single)
	req.Trigger, req.Floor = perennial.TriggerRequest, floor
	claim, ok, err := b.FastClaim(t.Context(), c.App, req)
	require.NoError(t, err)
	if !ok {
		claim, err = b.Claim(t.Context(), req)
		require.NoError(t, err)
	}
	return claim
}

// saveForced saves the next token set for the open attempt of c, which is due in an hour.
// Some are saved in one statement, the others in a transaction.
func (b *bundle) saveForced(t *testing.T, c perennial.Connection) perennial.Connection {
	t.Helper()
	req := saveRequest(c, fmt.Sprint(c.Generation+1))
	req.Ledger.Trigger = c.Open.Trigger
	req.ExpiresAt, req.NextRefreshAt = c.Open.StartedAt.Add(2*time.Hour), c.Open.StartedAt.Add(time.Hour)
	if c.Generation%2 == 0 {
		req.Claimed = perennial.Connection{}
	}
	saved, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.Equal(t, b.row(t, c.ID), saved.Connection)
	return saved.Connection
}

// forcedTimes returns a connection after so many forced refreshes in a row, the last of
// them just now.
func (b *bundle) forcedTimes(t *testing.T, n int) perennial.Connection {
	t.Helper()
	c := b.connect(t)
	b.set(t, c.ID, "next_refresh_at", stampText(c.CreatedAt.Add(time.Hour)))
	b.set(t, c.ID, "expires_at", stampText(c.CreatedAt.Add(2*time.Hour)))
	for c = b.row(t, c.ID); n > 0; n-- {
		claim := b.force(t, c)
		require.Equal(t, store.VerdictClaimed, claim.Verdict)
		c = b.saveForced(t, claim.Connection)
		require.Equal(t, claim.Connection.Open.StartedAt, c.ForcedAt)
		if n > 1 {
			c = b.forcedAgo(t, c, floor.Longest)
		}
	}
	return c
}

// forcedAgo moves the last forced refresh into the past.
func (b *bundle) forcedAgo(t *testing.T, c perennial.Connection, ago time.Duration) perennial.Connection {
	t.Helper()
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.set(t, c.ID, "forced_at", stampText(now.Add(-ago)))
	return b.row(t, c.ID)
}

// testForcedLoop: the first forced refresh is free. The next one comes too soon until the
// floor's end, later after each; nothing is written then.
func testForcedLoop(t *testing.T, b *bundle) {
	for count, wait := range map[int]time.Duration{1: floor.First, 2: floor.Longest, 3: floor.Longest} {
		c := b.forcedTimes(t, count)
		require.Equal(t, count, c.ForcedCount)
		for range 3 {
			claim := b.force(t, c)
			require.Equal(t, store.VerdictTooSoon, claim.Verdict)
			require.Equal(t, c.ForcedAt.Add(wait), claim.RetryAt)
			require.Equal(t, c, claim.Connection)
		}
		require.Equal(t, c, b.row(t, c.ID))
		asked := claimRequest(c, lease, single)
		asked.Generation, asked.Trigger, asked.Floor = c.Generation-1, perennial.TriggerRequest, floor
		got, err := b.Claim(t.Context(), asked)
		require.NoError(t, err)
		require.Equal(t, store.VerdictAlreadyFresh, got.Verdict, "who had the token before gets this one")
		require.Equal(t, store.VerdictClaimed, b.claim(t, c, lease, single).Verdict, "a timer does not wait")
	}
}

// testForcedEnds: a refresh that was due, a new consent, an operator's word and twenty
// minutes begin the count anew.
func testForcedEnds(t *testing.T, b *bundle) {
	for name, end := range map[string]func(c perennial.Connection) perennial.Connection{
		"due, by a timer": func(c perennial.Connection) perennial.Connection {
			b.set(t, c.ID, "next_refresh_at", stampText(c.CreatedAt))
			return b.saveForced(t, b.claimed(t, b.row(t, c.ID), lease, single))
		},
		"due, by a caller": func(c perennial.Connection) perennial.Connection {
			b.set(t, c.ID, "next_refresh_at", stampText(c.CreatedAt))
			return b.saveForced(t, b.force(t, b.row(t, c.ID)).Connection)
		},
		"expired, by a caller": func(c perennial.Connection) perennial.Connection {
			b.set(t, c.ID, "expires_at", stampText(c.CreatedAt))
			return b.saveForced(t, b.force(t, b.row(t, c.ID)).Connection)
		},
		"a new consent": func(c perennial.Connection) perennial.Connection {
			w := tokens(c.Generation+1, "new")
			w.ExpiresAt, w.NextRefreshAt = c.ExpiresAt, c.NextRefreshAt
			c, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, perennial.StatusActive, c.Generation, w)
			require.NoError(t, err)
			return c
		},
		"an operator": func(c perennial.Connection) perennial.Connection {
			c, err := b.EndBackoff(t.Context(), perennial.WorkerAccess(), c.ID)
			require.NoError(t, err)
			return c
		},
	} {
		for _, even := range []int{2, 3} { // both ways to save
			c := end(b.forcedTimes(t, even))
			require.Zero(t, c.ForcedAt, name)
			require.Zero(t, c.ForcedCount, name)
			claim := b.force(t, c)
			require.Equal(t, store.VerdictClaimed, claim.Verdict, name)
			require.Equal(t, 1, b.saveForced(t, claim.Connection).ForcedCount, name)
		}
	}
	c := b.forcedTimes(t, 2)
	w := tokens(c.Generation+1, "imported")
	w.ExpiresAt, w.NextRefreshAt, w.Unproven = c.ExpiresAt, c.NextRefreshAt, true
	c, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, perennial.StatusActive, c.Generation, w)
	require.NoError(t, err)
	require.Equal(t, store.VerdictTooSoon, b.force(t, c).Verdict, "a caller's own tokens do not")
	for ago, want := range map[time.Duration]int{perennial.ForcedForgotten - time.Minute: 4, perennial.ForcedForgotten: 1} {
		c := b.forcedAgo(t, b.forcedTimes(t, 3), ago)
		require.Equal(t, want, b.saveForced(t, b.force(t, c).Connection).ForcedCount)
	}
}

// testForcedFailed: a forced refresh that failed counts too, and its retry neither counts
// nor ends the count: a provider that fails now and then makes no room for a loop.
func testForcedFailed(t *testing.T, b *bundle) {
	for name, fail := range map[string]func(*store.CloseRequest){
		"failed":       func(r *store.CloseRequest) { r.Failed = true },
		"refused once": func(r *store.CloseRequest) { r.Suspect = true },
	} {
		req := closeRequest(b.force(t, b.forcedTimes(t, 0)).Connection, perennial.OutcomeUnavailable)
		fail(&req)
		c, closed, err := b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
		require.True(t, closed)
		require.Equal(t, req.Ledger.StartedAt, c.ForcedAt, name)
		require.Equal(t, 1, c.ForcedCount, name)

		retry := b.force(t, c)
		require.Equal(t, store.VerdictClaimed, retry.Verdict, name+": whoever asks, the failure is settled")
		c = b.saveForced(t, retry.Connection)
		require.Equal(t, 1, c.ForcedCount, name)
		require.Equal(t, store.VerdictTooSoon, b.force(t, c).Verdict, name)
	}
	// One that presented nothing does not count, nor does a failure of a refresh that was due.
	unsent := closeRequest(b.force(t, b.forcedTimes(t, 0)).Connection, perennial.OutcomeThrottled)
	due := closeRequest(b.claimed(t, b.forcedTimes(t, 0), lease, single), perennial.OutcomeUnavailable)
	due.Failed = true
	for _, req := range []store.CloseRequest{unsent, due} {
		c, _, err := b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
		require.Zero(t, c.ForcedCount)
		require.Zero(t, c.ForcedAt)
	}
}

// testForcedOdd: no number in a row costs a token set, or keeps callers away for longer
// than the longest wait.
func testForcedOdd(t *testing.T, b *bundle) {
	for _, count := range []int{math.MinInt32, -1, 0, 64, math.MaxInt32} {
		c := b.forcedTimes(t, 1)
		b.set(t, c.ID, "forced_count", fmt.Sprint(count))
		claim := b.force(t, c)
		require.Equal(t, store.VerdictTooSoon, claim.Verdict)
		require.False(t, claim.RetryAt.After(c.ForcedAt.Add(floor.Longest)))
		c = b.saveForced(t, b.force(t, b.forcedAgo(t, c, floor.Longest)).Connection)
		require.Positive(t, c.ForcedCount)
	}
	c := b.forcedAgo(t, b.forcedTimes(t, 3), -time.Hour) // the clock went back
	claim := b.force(t, c)
	require.Equal(t, store.VerdictClaimed, claim.Verdict)
	require.Equal(t, 1, b.saveForced(t, claim.Connection).ForcedCount)

	// Paused and resumed meanwhile, it waits all the same.
	c = b.forcedTimes(t, 1)
	for _, to := range []perennial.Status{perennial.StatusPaused, perennial.StatusActive} {
		var err error
		c, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, c.Generation, to, "")
		require.NoError(t, err)
		want := map[perennial.Status]store.Verdict{perennial.StatusPaused: store.VerdictRefused, perennial.StatusActive: store.VerdictTooSoon}
		require.Equal(t, want[to], b.force(t, c).Verdict)
	}
}

// testForcedSlot: a loop takes no rate slots from the others of the app.
func testForcedSlot(t *testing.T, b *bundle) {
	c := b.forcedTimes(t, 1)
	_, err := b.Admit(t.Context(), store.AdmitRequest{Connection: c, Rate: 1, Patience: time.Minute})
	require.NoError(t, err)
	before := b.turns(t, c.App)
	req := store.FastAdmitRequest{ID: c.ID, Generation: c.Generation, App: c.App, Rate: 1, Patience: time.Minute, Trigger: perennial.TriggerRequest}
	_, ok, err := b.FastAdmit(t.Context(), req)
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, before, b.turns(t, c.App))
	req.Trigger = perennial.TriggerTimer
	_, ok, err = b.FastAdmit(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, !b.IsSQLite(), ok)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	asked := claimRequest(c, lease, single)
	asked.Trigger, asked.Floor = perennial.TriggerRequest, floor
	require.False(t, store.Claimable(c, asked, now), "the gate is not asked either")
}
