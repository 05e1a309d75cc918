package refresh

import (
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTooEarly: a provider that refuses to refresh too early is asked again when the
// token is nearly over. That is no failure.
func TestTooEarly(t *testing.T) {
	t.Parallel()
	const body = `{"error":"access_denied","error_description":"Rate limit exceeded: access_token not expired"}`
	r := newReport(t, "generic", reported{400, body, ""}, reported{200, `{"access_token":"a-2","refresh_token":"r-2","expires_in":600}`, ""})
	r.insert(t, "con_10m", 10*time.Minute)
	res := r.refreshed(t, "con_10m", perennial.TriggerTimer)
	assert.Equal(t, perennial.OutcomeTooEarly, res.Outcome)
	c := r.row(t, "con_10m")
	assert.Equal(t, perennial.HealthHealthy, c.Health)
	assert.Zero(t, c.FailureCount)
	assert.False(t, c.OwnWait(), "nobody shortens it")
	assert.WithinDuration(t, c.ExpiresAt.Add(-nearlyOver), c.NextAttemptAt, 2*time.Second)
	state, err := r.db.AppState(t.Context(), "app")
	require.NoError(t, err)
	assert.Empty(t, state.Circuits)
	assert.Empty(t, state.Evidence)
	lines, err := r.db.Attempts(t.Context(), perennial.WorkerAccess(), "con_10m", 1)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeTooEarly, lines[0].Outcome)
}

func TestUntilNearlyOver(t *testing.T) {
	t.Parallel()
	now := time.Now()
	early := provider.Reply{Outcome: perennial.OutcomeTooEarly, HTTPStatus: 400, Code: "too_early"}
	for _, c := range []struct {
		left, retryAfter, want time.Duration
		failed                 bool
	}{
		{10 * time.Minute, 0, 10*time.Minute - nearlyOver, false},
		{nearlyOver + minBeforeEnd + time.Nanosecond, 0, minBeforeEnd + time.Nanosecond, false},
		{nearlyOver, 0, nearlyOver + afterEnd, false}, // it was too early already
		{time.Nanosecond, 0, afterEnd + time.Nanosecond, false},
		{time.Minute, 2 * time.Minute, 2 * time.Minute, false}, // the provider knows better
		{0, 0, 0, true},
		{-time.Hour, 0, 0, true},
	} {
		early.RetryAfter = c.retryAfter
		got := decide(perennial.Connection{ExpiresAt: now.Add(c.left), FailureCount: 9}, provider.Entry{}, early, now, time.Minute)
		if c.failed {
			assert.Positive(t, got.Wait, "it is asked again")
		} else {
			assert.Equal(t, c.want, got.Wait, "%+v", c)
		}
		assert.Equal(t, c.failed, got.Failed, "%+v", c)
		assert.Equal(t, c.failed, got.FailingAfter == 1, "%+v: the product is without a token", c)
		assert.False(t, got.Queued || got.OwnWait || got.Suspect || got.Terminal != "", "%+v", c)
	}
}

// TestRefreshWithin: with a provider that refreshes only near the end, a token set is due
// then, in every profile, and not before.
func TestRefreshWithin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.app.Provider.RefreshWithin = 30 * time.Second
	start := time.Now()
	for _, profile := range []provider.BufferProfile{provider.BufferQueue, provider.BufferRealtime, provider.BufferShare} {
		for i := range 50 {
			b.app.Buffer = profile
			set := fresh("2").Tokens
			set.ExpiresIn = 10 * time.Minute
			w, err := Tokens(b.keyring, b.app, perennial.Connection{ID: fmt.Sprint("con_", i)}, 2, set, set.RefreshToken, start)
			require.NoError(t, err)
			left := w.ExpiresAt.Sub(w.NextRefreshAt)
			assert.LessOrEqual(t, left, 25*time.Second, profile)
			assert.Positive(t, left, profile)
		}
	}
}

// TestUnclearRefusal: refusals in unknown words are named once they have lasted,
// and the access token has ended.
func TestUnclearRefusal(t *testing.T) {
	t.Parallel()
	now := time.Now()
	failing := func(code string, since, left time.Duration) perennial.Connection {
		return perennial.Connection{Health: perennial.HealthFailing, FailingCode: code, FailingSince: now.Add(-since), FailureCount: 20, ExpiresAt: now.Add(left)}
	}
	unclear := provider.Reply{Outcome: perennial.OutcomeRejected, Code: "http_400", HTTPStatus: 400, Unclear: true}
	for _, c := range []struct {
		name  string
		row   perennial.Connection
		reply provider.Reply
		want  string
	}{
		{"for an hour", failing("http_400", time.Hour, -time.Second), unclear, store.CodeRefusedUnclear},
		{"and on", failing(store.CodeRefusedUnclear, 9*time.Hour, -time.Hour), unclear, store.CodeRefusedUnclear},
		{"for less", failing("http_400", time.Hour-time.Nanosecond, -time.Second), unclear, "http_400"},
		{"the product still has a token", failing("http_400", 2*time.Hour, time.Second), unclear, "http_400"},
		{"another failure before it", failing("http_503", 2*time.Hour, -time.Hour), unclear, "http_400"},
		{"not failing yet", perennial.Connection{}, unclear, "http_400"},
		{"an outage", failing("http_503", 2*time.Hour, -time.Hour), provider.Reply{Outcome: perennial.OutcomeUnknown, Code: "http_503", HTTPStatus: 503}, "http_503"},
		{"a clear one", failing("request_refused", 2*time.Hour, -time.Hour), provider.Reply{Outcome: perennial.OutcomeRejected, Code: "request_refused", HTTPStatus: 400}, "request_refused"},
	} {
		got := decide(c.row, provider.Entry{}, c.reply, now, time.Minute)
		assert.Equal(t, c.want, got.FailingCode, c.name)
		assert.Empty(t, got.Terminal, c.name)
	}
}

// TestUnclearRefusalIsTold: the row, an event and the customer's text say so, once.
func TestUnclearRefusalIsTold(t *testing.T) {
	t.Parallel()
	r := newReport(t, "generic", reported{400, `{"error":"computer_says_no"}`, ""})
	again := func(failing string) perennial.Connection {
		r.exec(t, `UPDATE connections SET next_attempt_at = NULL, queued_at = NULL, expires_at = clock_timestamp() - interval '1 minute', failing_since = clock_timestamp() - interval '`+failing+`' WHERE id = 'con_1'`)
		return r.refreshed(t, "con_1", perennial.TriggerTimer).Connection
	}
	assert.Equal(t, "computer_says_no", again("1 second").FailingCode)
	assert.Equal(t, "computer_says_no", again("59 minutes").FailingCode)
	c := again("1 hour")
	assert.Equal(t, store.CodeRefusedUnclear, c.FailingCode)
	assert.Equal(t, perennial.StatusActive, c.Status)
	assert.Contains(t, c.Words("Acme").Detail, "Acme has refused our renewals for some time and does not say why")
	assert.Equal(t, store.CodeRefusedUnclear, again("2 hours").FailingCode)
	events, err := r.db.Events(t.Context(), "con_1", 10)
	require.NoError(t, err)
	var told []string
	for _, e := range events {
		if e.Type == perennial.EventFailing {
			told = append(told, e.Data.Code)
		}
	}
	assert.Equal(t, []string{store.CodeRefusedUnclear, "computer_says_no"}, told, "newest first")
	lines, err := r.db.Attempts(t.Context(), perennial.WorkerAccess(), "con_1", 1)
	require.NoError(t, err)
	assert.Equal(t, "computer_says_no", lines[0].ErrorCode, "the ledger keeps the provider's code")
}

// TestDirectoriesWithoutTheApp: a directory that removed the app ends its own
// connections. Three at once, without a refresh between, are the app's trouble.
func TestDirectoriesWithoutTheApp(t *testing.T) {
	t.Parallel()
	r := newReport(t, "microsoft", reported{400, `{"error":"unauthorized_client","error_description":"AADSTS700016: Application with identifier 'x' was not found in the directory 'Contoso'."}`, ""})
	for i := range 20 {
		r.insert(t, fmt.Sprintf("con_%02d", i+10), time.Hour)
	}
	circuits := func() (open []string) {
		state, err := r.db.AppState(t.Context(), "app")
		require.NoError(t, err)
		for _, c := range state.Circuits {
			if c.Open {
				open = append(open, c.Reason)
			}
		}
		return open
	}
	for _, id := range []string{"con_10", "con_11"} {
		res := r.refreshed(t, id, perennial.TriggerTimer)
		assert.Equal(t, perennial.OutcomeRevoked, res.Outcome)
		assert.Empty(t, circuits())
	}
	r.refreshed(t, "con_12", perennial.TriggerTimer)
	assert.Equal(t, []string{"misconfigured"}, circuits())
	assert.Equal(t, perennial.StatusActive, r.row(t, "con_10").Status, "a refusal is confirmed first")
}

// TestEarlyBackoff: a provider that says too early after the token's end is asked again
// soon, and ever less often.
func TestEarlyBackoff(t *testing.T) {
	t.Parallel()
	early := provider.Reply{Outcome: perennial.OutcomeTooEarly, HTTPStatus: 400}
	assert.Equal(t, 5*time.Second, timing.MinBackoff(early, 1))
	assert.Equal(t, 10*time.Minute, timing.MinBackoff(early, 20))
}

// TestSignInRequired: a user who must sign in again did not remove access, and no rotation
// was lost, also after a lost reply.
func TestSignInRequired(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for code, want := range map[string]perennial.Reason{
		"interaction_required": perennial.ReasonSignInRequired, "login_required": perennial.ReasonSignInRequired, "consent_required": perennial.ReasonSignInRequired,
		"unmet_authentication_requirements": perennial.ReasonSignInRequired, "invalid_grant": perennial.ReasonRotationLost, "BAD_REFRESH_TOKEN": perennial.ReasonRotationLost,
	} {
		row := perennial.Connection{RefreshTokenDigest: "d", SuspectSince: now, SuspectDigest: "d", AmbiguousSince: now, AmbiguousDigest: "d"}
		reply := provider.Reply{Outcome: perennial.OutcomeRevoked, Code: code, HTTPStatus: 400}
		assert.Equal(t, want, decide(row, provider.Entry{ReplayClass: perennial.ReplaySingleUse}, reply, now, time.Minute).Terminal, code)
	}
	r := newReport(t, "microsoft", reported{400, `{"error":"interaction_required","error_description":"AADSTS50079: enrol","suberror":"basic_action"}`, ""})
	r.refreshed(t, "con_1", perennial.TriggerTimer)
	r.refreshed(t, "con_1", perennial.TriggerConfirm)
	c := r.row(t, "con_1")
	assert.Equal(t, perennial.StatusReconnectRequired, c.Status)
	assert.Contains(t, c.Words("Microsoft").String(), "Microsoft asks you to sign in")
}
