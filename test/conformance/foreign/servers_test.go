package foreign

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHydra(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "hydra", serveHydra("0s"))
	refreshes(t, w, true)
	isLost(t, w)
	revoked(t, w)
	wrongClient(t, w)
}

func TestHydraGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "hydra-grace", serveHydra("2m"))
	refreshes(t, w, true)
	recovers(t, w)
	revoked(t, w)
}

func TestDoorkeeper(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "doorkeeper", serveDoorkeeper(true))
	refreshes(t, w, true)
	recovers(t, w)
	revoked(t, w)
	wrongClient(t, w)
}

func TestDoorkeeperSingleUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "doorkeeper-single-use", serveDoorkeeper(false))
	refreshes(t, w, true)
	spent(t, w)
	isLost(t, w)
	wrongClient(t, w)
}

func TestDjango(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "django", serveDjango(0))
	refreshes(t, w, true)
	isLost(t, w)
	revoked(t, w)
	wrongClient(t, w)
}

// TestDjangoRemoved: the toolkit's page of a user's tokens deletes the access token only.
// Afterwards a refresh fails for good, with an error of the server's own.
func TestDjangoRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "django", serveDjango(0))
	refusedWithoutAWord(t, w, w.remove, perennial.OutcomeUnknown, "http_500")
}

// TestDjangoGrace: within the grace period a revoked grant is an error of the server's
// own, too.
func TestDjangoGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "django-grace", serveDjango(30))
	refreshes(t, w, true)
	recovers(t, w)
	id := settled(t, w, "revoked")
	w.end(t)
	assert.Equal(t, "http_500", w.refresh(t, id).Code)
	for w.row(t, id).Status == perennial.StatusActive {
		_, err := w.rows.EndBackoff(t.Context(), perennial.WorkerAccess(), id) // which grows with each error
		require.NoError(t, err)
		w.refresh(t, id)
	}
	assert.Equal(t, perennial.StatusReconnectRequired, w.row(t, id).Status)
	assert.Contains(t, []perennial.Reason{perennial.ReasonInvalidGrant, perennial.ReasonRotationLost}, w.row(t, id).Reason, "nobody knows whether the error spent the token")
}

// TestGlewlwyd: every refusal is a 400 without a body. The old refresh token stays good.
func TestGlewlwyd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "glewlwyd", serveGlewlwyd("never", time.Hour))
	refreshes(t, w, false)
	recovers(t, w)
	id := refusedWithoutAWord(t, w, w.end, perennial.OutcomeRejected, "http_400")
	w.use(t, "wrong")
	res := w.refresh(t, id)
	assert.Equal(t, perennial.OutcomeRejected, res.Outcome)
	assert.Equal(t, perennial.StatusActive, res.Connection.Status)
	w.use(t, clientSecret)
	_, err := w.rows.EndBackoff(t.Context(), perennial.WorkerAccess(), id)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeRefreshed, w.refresh(t, id).Outcome)
}

// TestGlewlwydOneUse: the server spends the refresh token before it looks at the client.
func TestGlewlwydOneUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "glewlwyd-one-use", serveGlewlwyd("always", 30*time.Second))
	refreshes(t, w, true)
	refusedWithoutAWord(t, w, w.end, perennial.OutcomeRejected, "http_400")
	id := settled(t, w, "lost")
	w.lose.Store(1)
	require.Equal(t, perennial.OutcomeUnknown, w.ask(t, id).Outcome)
	end, requests := w.row(t, id).ExpiresAt, w.requests.Load()
	assert.Equal(t, perennial.OutcomeThrottled, w.ask(t, id).Outcome)
	assert.Equal(t, requests, w.requests.Load(), "the access token is served to its end")
	res := w.refresh(t, id)
	assert.Equal(t, "http_400", res.Code)
	assert.False(t, res.Now.Before(end))
}

// TestLemonLDAP: the server has one vague code for a dead grant. Without its spelling the
// connection stays active for ever; with it, one line of the description, all is as it
// should be.
func TestLemonLDAP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "lemonldap", serveLemonLDAP)
	refreshes(t, w, false)
	recovers(t, w)
	revoked(t, w)
	wrongClient(t, w)

	id := settled(t, w, "unspelt")
	require.Len(t, w.app.Provider.Spellings, 1)
	w.app.Provider.Spellings = nil
	w.end(t)
	for range 3 {
		assert.Equal(t, perennial.OutcomeRejected, w.refresh(t, id).Outcome)
		_, err := w.rows.EndBackoff(t.Context(), perennial.WorkerAccess(), id)
		require.NoError(t, err)
	}
	assert.Equal(t, perennial.StatusActive, w.row(t, id).Status)
	w.use(t, clientSecret)
	w.refresh(t, id)
	res := w.refresh(t, id)
	assert.Equal(t, perennial.StatusReconnectRequired, res.Connection.Status, "the description is read anew")
	assert.Equal(t, perennial.ReasonInvalidGrant, res.Connection.Reason)
}
