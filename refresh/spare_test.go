package refresh

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// overtaken returns an attempt whose process stands still after its claim, and lets another
// one get and save the next answer.
func (b *bundle) overtaken(t *testing.T) *attempt {
	t.Helper()
	req := Request{ConnectionID: "con_1", Generation: 1, Trigger: perennial.TriggerTimer}
	claim, err := b.db.Claim(t.Context(), b.claimRequest(req, b.app.Provider))
	require.NoError(t, err)
	b.exec(t, "UPDATE connections SET attempt_deadline = attempt_started_at")
	require.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 1).Outcome)
	slow := b.newAttempt(req, claim, time.Now())
	slow.app = b.app
	return slow
}

// TestSecondSetAfterTheRefusal: the pair that lives comes when the other was refused for
// good. The connection recovers.
func TestSecondSetAfterTheRefusal(t *testing.T) {
	t.Parallel()
	for class, recovers := range map[perennial.ReplayClass]bool{perennial.ReplayGrace: true, perennial.ReplayUnknown: true, perennial.ReplayReusable: false} {
		b := setup(t, fresh("2"), refusal, refusal, fresh("2b"), fresh("3"))
		b.app.Provider.ReplayClass, b.app.Provider.GraceWindow = class, time.Hour
		slow := b.overtaken(t)
		b.refresh(t, t.Context(), 2)
		require.Eventually(t, func() bool {
			return b.refresh(t, t.Context(), 2).Connection.Status == perennial.StatusReconnectRequired
		}, time.Minute, time.Millisecond, class)
		res, err := slow.run(t.Context())
		require.NoError(t, err)
		if !recovers {
			assert.Equal(t, perennial.StatusReconnectRequired, res.Connection.Status, "both of a reusable one are as good")
			continue
		}
		require.Equal(t, perennial.StatusActive, res.Connection.Status, class)
		assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
		assert.True(t, res.Recovered)
		require.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 3).Outcome)
		assert.Equal(t, "refresh 2b", b.shown[len(b.shown)-1], class)
	}
}

// TestSecondSetFromOutside: a set that a spool or a workflow brings is kept as well, and
// one that its process cannot open ends nothing.
func TestSecondSetFromOutside(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), refusal)
	b.app.Provider.ReplayClass, b.app.Provider.GraceWindow = perennial.ReplayGrace, time.Hour
	slow := b.overtaken(t)
	reply := fresh("2b")
	set, err := slow.saveRequest(reply, perennial.NewSecret("refresh 1"))
	require.NoError(t, err)
	slow.authenticate(&set)
	set.Claimed = perennial.Connection{} // it comes as JSON
	res, err := b.Persist(t.Context(), set)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeAlreadyFresh, res.Outcome)
	_, ok, err := b.db.Spare(t.Context(), "con_1")
	require.NoError(t, err)
	require.True(t, ok)

	b.refresh(t, t.Context(), 2)
	b.exec(t, "UPDATE spare_sets SET refresh_token_sealed = x'00'")
	require.Eventually(t, func() bool {
		_, err = b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", Generation: 2, Trigger: perennial.TriggerConfirm})
		return err != nil
	}, time.Minute, time.Millisecond)
	require.ErrorContains(t, err, "the spare token set of connection con_1")
	row, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	assert.Equal(t, perennial.StatusActive, row.Status, "another process may have the keys")
}

// TestGrantReplaced: at a provider that limits the grants of a user, a newer grant of the
// account ends the oldest, and the reason says so. Elsewhere it is what it was.
func TestGrantReplaced(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]perennial.Reason{0: perennial.ReasonInvalidGrant, 100: perennial.ReasonGrantReplaced} {
		b := setup(t, refusal)
		b.app.Provider.GrantsPerUser = limit
		for i, id := range []string{"con_1", "con_2"} {
			c := perennial.Connection{ID: id, TenantID: []string{"t", "another"}[i], App: "app", Provider: "generic", AccountID: "a"}
			set := fresh(id).Tokens
			w, err := Tokens(b.keyring, b.app, c, int64(2-i), set, set.RefreshToken, time.Now())
			require.NoError(t, err)
			w.Sole = true
			if i == 0 {
				_, err = b.db.ReplaceTokens(t.Context(), perennial.WorkerAccess(), id, "", 1, w)
			} else {
				_, err = b.db.Insert(t.Context(), perennial.WorkerAccess(), c, w)
			}
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool {
			return b.refresh(t, t.Context(), 2).Connection.Status == perennial.StatusReconnectRequired
		}, time.Minute, time.Millisecond)
		c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
		require.NoError(t, err)
		assert.Equal(t, want, c.Reason, limit)
	}
}
