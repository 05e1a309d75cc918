package refresh

import (
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
)

func TestDue(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, c := range []struct {
		name             string
		life             time.Duration
		profile          provider.BufferProfile
		earliest, latest time.Duration
	}{
		{"10 min, queue: a quarter of the life", 10 * time.Minute, provider.BufferQueue, 390 * time.Second, 450 * time.Second},
		{"10 min, realtime", 10 * time.Minute, provider.BufferRealtime, 7 * time.Minute, 8 * time.Minute},
		{"10 min, share", 10 * time.Minute, provider.BufferShare, 8 * time.Minute, 9 * time.Minute},
		{"30 min, queue", 30 * time.Minute, provider.BufferQueue, 22 * time.Minute, 25 * time.Minute},
		{"30 min, realtime", 30 * time.Minute, provider.BufferRealtime, 25 * time.Minute, 28 * time.Minute},
		{"30 min, share", 30 * time.Minute, provider.BufferShare, 24 * time.Minute, 27 * time.Minute},
		{"1 h, queue", time.Hour, provider.BufferQueue, 50 * time.Minute, 55 * time.Minute},
		{"1 h, share", time.Hour, provider.BufferShare, 49 * time.Minute, 54 * time.Minute},
		{"6 h, queue", 6 * time.Hour, provider.BufferQueue, 350 * time.Minute, 355 * time.Minute},
		{"6 h, share: capped", 6 * time.Hour, provider.BufferShare, 345 * time.Minute, 350 * time.Minute},
		{"30 days: no refresh token rests for more than a day", 30 * day, provider.BufferQueue, day - 5*time.Minute, day},
		{"none given", 0, provider.BufferQueue, 22 * time.Minute, 25 * time.Minute},
		{"negative", -time.Hour, provider.BufferQueue, 22 * time.Minute, 25 * time.Minute},
		{"absurd", 1 << 62, provider.BufferQueue, day - 5*time.Minute, day},
		{"1 s", time.Second, provider.BufferQueue, 500 * time.Millisecond, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := map[time.Duration]bool{}
			for i := range 500 {
				due := Due(start, c.life, c.profile, fmt.Sprint("con_", i), int64(i%7)).Sub(start)
				assert.GreaterOrEqual(t, due, c.earliest)
				assert.LessOrEqual(t, due, c.latest)
				seen[due] = true
			}
			assert.Greater(t, len(seen), 400, "spread out")
			assert.Equal(t, Due(start, c.life, c.profile, "con_1", 1), Due(start, c.life, c.profile, "con_1", 1), "the same for every caller")
		})
	}
}

func TestWake(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	for _, c := range []struct {
		name    string
		c       perennial.Connection
		want    time.Duration
		trigger perennial.Trigger
	}{
		{"due in an hour", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(time.Hour), ExpiresAt: at(2 * time.Hour), CreatedAt: now}, time.Hour, perennial.TriggerTimer},
		{"a wait is kept", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(0), NextAttemptAt: at(time.Hour), FailureCount: 1}, time.Hour, perennial.TriggerRetry},
		{"a confirmation", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(0), ConfirmAt: at(time.Minute), SuspectSince: now, RefreshTokenDigest: "d", SuspectDigest: "d"}, time.Minute, perennial.TriggerConfirm},
		{"an open attempt", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(0), Open: perennial.OpenAttempt{ID: "a", Deadline: at(time.Second)}}, time.Second, perennial.TriggerRetry},
		{"an open attempt long before the due time", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(time.Hour), Open: perennial.OpenAttempt{ID: "a", Deadline: at(time.Second)}}, time.Second, perennial.TriggerRetry},
		{"a confirmation long before the due time", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(time.Hour), ConfirmAt: at(time.Minute), SuspectSince: now, RefreshTokenDigest: "d", SuspectDigest: "d"}, time.Minute, perennial.TriggerConfirm},
		{"a failure long before the due time", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(time.Hour), NextAttemptAt: at(time.Minute), FailureCount: 1}, time.Minute, perennial.TriggerRetry},
		{"an absurd due time", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(1000 * time.Hour), ExpiresAt: at(2000 * time.Hour), CreatedAt: now}, 0, perennial.TriggerTimer},
		{"due after its token's end", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(time.Hour), ExpiresAt: at(time.Hour - 1), CreatedAt: now}, 0, perennial.TriggerTimer},
		{"no life is known, and due in an hour", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(time.Hour), CreatedAt: now}, 0, perennial.TriggerTimer},
		{"an absurd wait", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(0), NextAttemptAt: at(1000 * time.Hour), FailureCount: 1}, 0, perennial.TriggerRetry},
		{"an absurd deadline", perennial.Connection{Status: perennial.StatusActive, NextRefreshAt: at(0), Open: perennial.OpenAttempt{ID: "a", Deadline: at(1000 * time.Hour)}}, 0, perennial.TriggerRetry},
		{"waiting for the user", perennial.Connection{Status: perennial.StatusReconnectRequired, NextRefreshAt: at(0)}, 24 * time.Hour, ""},
		{"paused: half the idle clock", perennial.Connection{Status: perennial.StatusPaused, CreatedAt: now, RefreshTokenExpiresAt: at(48 * time.Hour)}, 24 * time.Hour, perennial.TriggerKeepAlive},
		{"paused without an idle clock", perennial.Connection{Status: perennial.StatusPaused, CreatedAt: now}, 7 * 24 * time.Hour, perennial.TriggerKeepAlive},
	} {
		wake, trigger := Wake(c.c, now)
		assert.Equal(t, max(c.want, 0), max(wake.Sub(now), 0), c.name)
		assert.Equal(t, c.trigger, trigger, c.name)
	}
	never, _ := Wake(perennial.Connection{Status: perennial.StatusActive}, now)
	assert.False(t, never.After(now), "a row without a due time is due")
}

func TestTimingChain(t *testing.T) {
	t.Parallel()
	good := Timing{}.WithDefaults()
	assert.NoError(t, good.Validate(1))
	assert.NoError(t, good.Validate(3))
	assert.ErrorContains(t, good.Validate(4), "client secrets")
	for want, change := range map[string]func(*Timing){
		"attempt_deadline": func(t *Timing) { t.AttemptDeadline = t.StartToClose },
		"worker_stop":      func(t *Timing) { t.WorkerStop = t.StartToClose },
		"save_timeout":     func(t *Timing) { t.SaveTimeout = -1 },
		"start_to_close":   func(t *Timing) { t.HTTPTimeout = t.StartToClose },
	} {
		bad := good
		change(&bad)
		assert.ErrorContains(t, bad.Validate(1), want)
	}
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	t.Parallel()
	for outcome, r := range backoffRange {
		for failures := range 200 {
			wait := backoff(provider.Reply{Outcome: outcome, HTTPStatus: 400}, failures)
			assert.GreaterOrEqual(t, wait, r.first)
			assert.LessOrEqual(t, wait, r.longest+r.longest/5)
		}
		assert.GreaterOrEqual(t, backoff(provider.Reply{Outcome: outcome, RetryAfter: 2 * time.Hour}, 1), 2*time.Hour, "what the provider asks for is a floor")
	}
	soon := provider.Reply{Outcome: perennial.OutcomeRateLimited, RetryAfter: 2 * time.Second}
	assert.LessOrEqual(t, backoff(soon, 3), 3*time.Second, "the provider's word")
	assert.GreaterOrEqual(t, backoff(soon, 5), 8*time.Second, "which proved wrong")
	assert.LessOrEqual(t, backoff(soon, 200), 18*time.Minute)
	assert.Zero(t, backoff(provider.Reply{Outcome: perennial.OutcomeRefreshed}, 1))
	malformed := provider.Reply{Outcome: perennial.OutcomeUnknown, Code: provider.CodeMalformed}
	own := provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "client_id_mismatch"}
	assert.LessOrEqual(t, backoff(own, 1), 6*time.Second, "another worker may have the right settings")
	assert.GreaterOrEqual(t, backoff(own, 30), 5*time.Minute)
	own.HTTPStatus = 401
	assert.GreaterOrEqual(t, backoff(own, 1), time.Minute, "the provider said it")
	assert.GreaterOrEqual(t, backoff(malformed, 30), time.Hour, "an answer that is always malformed is not asked for without end")
}
