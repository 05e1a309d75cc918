package foreign

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refreshes refreshes a new connection again and again.
func refreshes(t *testing.T, w *world, rotates bool) {
	t.Helper()
	id := w.connect(t, "refreshed", "")
	assert.NotEmpty(t, w.row(t, id).AccountID)
	assert.True(t, w.alive(t, w.token(t, id, seal.FieldAccessToken)))
	seen := map[string]bool{w.token(t, id, seal.FieldRefreshToken).Reveal(): true}
	for generation := int64(2); generation <= 4; generation++ {
		res := w.refresh(t, id)
		require.Equal(t, perennial.OutcomeRefreshed, res.Outcome, "%s %s", res.Code, res.Description)
		assert.Equal(t, generation, res.Connection.Generation)
		assert.True(t, w.alive(t, w.token(t, id, seal.FieldAccessToken)))
		token := w.token(t, id, seal.FieldRefreshToken).Reveal()
		assert.Equal(t, rotates, !seen[token], "a new refresh token")
		seen[token] = true
	}
}

// settled returns a new connection that was refreshed once: if many grants are refused at
// their first refresh, the engine believes that of none.
func settled(t *testing.T, w *world, tenant string) (id string) {
	t.Helper()
	id = w.connect(t, tenant, "")
	res := w.refresh(t, id)
	require.Equal(t, perennial.OutcomeRefreshed, res.Outcome, "%s %s", res.Code, res.Description)
	return id
}

// revoked: the user ends the grant at the server. The engine believes it after one
// confirmation, and a reconnect mends it.
func revoked(t *testing.T, w *world) {
	t.Helper()
	id := settled(t, w, "revoked")
	w.end(t)
	res := w.refresh(t, id)
	require.Equal(t, perennial.OutcomeRevoked, res.Outcome, "%s %s", res.Code, res.Description)
	assert.Equal(t, perennial.StatusActive, res.Connection.Status, "not believed at once")
	res = w.refresh(t, id)
	assert.Equal(t, perennial.StatusReconnectRequired, res.Connection.Status)
	assert.Equal(t, perennial.ReasonInvalidGrant, res.Connection.Reason)
	require.Equal(t, id, w.connect(t, "revoked", id))
	assert.Equal(t, perennial.StatusActive, w.row(t, id).Status)
	assert.Equal(t, perennial.OutcomeRefreshed, w.refresh(t, id).Outcome)
}

// spent: another client has used the refresh token.
func spent(t *testing.T, w *world) {
	t.Helper()
	id := settled(t, w, "spent")
	require.Equal(t, "200", w.present(t, w.token(t, id, seal.FieldRefreshToken).Reveal(), clientSecret).String())
	assert.Equal(t, perennial.OutcomeRevoked, w.refresh(t, id).Outcome)
	res := w.refresh(t, id)
	assert.Equal(t, perennial.StatusReconnectRequired, res.Connection.Status)
	assert.Equal(t, perennial.ReasonInvalidGrant, res.Connection.Reason)
}

// wrongClient: a wrong client secret is the app's trouble, and costs no customer anything.
func wrongClient(t *testing.T, w *world) {
	t.Helper()
	id := settled(t, w, "wrong")
	w.use(t, "wrong")
	res := w.ask(t, id)
	assert.Equal(t, perennial.OutcomeMisconfigured, res.Outcome)
	assert.Equal(t, "invalid_client", res.Code)
	c := w.row(t, id)
	assert.Equal(t, perennial.StatusActive, c.Status)
	assert.False(t, c.Ambiguous())
	assert.False(t, c.Suspect())
	assert.Equal(t, perennial.FaultClient, perennial.FaultOf(res.Code))
	w.use(t, clientSecret)
	_, err := w.rows.EndBackoff(t.Context(), perennial.WorkerAccess(), id)
	require.NoError(t, err)
	res = w.refresh(t, id)
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome, "%s %s", res.Code, res.Description)
}

// lost loses the reply of a refresh, and returns what came of the connection.
func lost(t *testing.T, w *world) (id string, last refresh.Result) {
	t.Helper()
	id = settled(t, w, "lost")
	w.lose.Store(1)
	res := w.ask(t, id)
	require.Equal(t, perennial.OutcomeUnknown, res.Outcome, "%s %s", res.Code, res.Description)
	require.True(t, res.Connection.Ambiguous())
	for {
		last = w.refresh(t, id)
		if last.Outcome == perennial.OutcomeRefreshed || last.Connection.Status == perennial.StatusReconnectRequired {
			return id, last
		}
		require.Contains(t, []perennial.Outcome{perennial.OutcomeRevoked, perennial.OutcomeThrottled}, last.Outcome, "%s %s", last.Code, last.Description)
	}
}

// recovers: the old refresh token brings the tokens after all.
func recovers(t *testing.T, w *world) {
	t.Helper()
	id, last := lost(t, w)
	assert.Equal(t, perennial.OutcomeRefreshed, last.Outcome, "%s %s", last.Code, last.Description)
	assert.False(t, w.row(t, id).Ambiguous())
	assert.True(t, w.alive(t, w.token(t, id, seal.FieldAccessToken)))
	assert.Equal(t, perennial.OutcomeRefreshed, w.refresh(t, id).Outcome, "and it goes on")
}

// refusedWithoutAWord: a dead grant and a wrong client secret have the same answer, so
// that neither accuses anybody. A reconnect mends the one, the right secret the other.
func refusedWithoutAWord(t *testing.T, w *world, endGrant func(t *testing.T), outcome perennial.Outcome, code string) (id string) {
	t.Helper()
	id = settled(t, w, "unclear")
	endGrant(t)
	for range 3 { // as many make a connection failing
		res := w.refresh(t, id)
		assert.Equal(t, outcome, res.Outcome)
		assert.Equal(t, code, res.Code)
		_, err := w.rows.EndBackoff(t.Context(), perennial.WorkerAccess(), id)
		require.NoError(t, err)
	}
	c := w.row(t, id)
	assert.Equal(t, perennial.StatusActive, c.Status)
	assert.Equal(t, perennial.HealthFailing, c.Health)
	assert.Equal(t, code, c.FailingCode)
	assert.Equal(t, perennial.FaultNobody, perennial.FaultOf(c.FailingCode))
	assert.False(t, c.Suspect())
	require.Equal(t, id, w.connect(t, "unclear", id))
	res := w.refresh(t, id)
	for res.Outcome == perennial.OutcomeThrottled { // the app's circuit may be open: it has this one connection
		res = w.refresh(t, id)
	}
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome, "%s %s", res.Code, res.Description)
	return id
}

// isLost: the tokens are gone, and the reason does not blame the customer.
func isLost(t *testing.T, w *world) {
	t.Helper()
	_, last := lost(t, w)
	assert.Equal(t, perennial.StatusReconnectRequired, last.Connection.Status)
	assert.Equal(t, perennial.ReasonRotationLost, last.Connection.Reason)
}
