package timing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDue(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name             string
		life             time.Duration
		profile          provider.BufferProfile
		earliest, latest time.Duration
	}{
		{"10 min, queue: a quarter of the life", 10 * time.Minute, provider.BufferQueue, 5 * time.Minute, 450 * time.Second},
		{"10 min, realtime: never much too early", 10 * time.Minute, provider.BufferRealtime, 7 * time.Minute, 8 * time.Minute},
		{"10 min, share", 10 * time.Minute, provider.BufferShare, 5 * time.Minute, 9 * time.Minute},
		{"10 min, 30 s: a life of minutes allows it", 10 * time.Minute, "30s", 510 * time.Second, 570 * time.Second},
		{"1 min, 30 s: a quarter of the life", time.Minute, "30s", 39 * time.Second, 45 * time.Second},
		{"no such profile", time.Hour, "9s", 30 * time.Minute, 55 * time.Minute},
		{"30 min, queue", 30 * time.Minute, provider.BufferQueue, 15 * time.Minute, 25 * time.Minute},
		{"30 min, realtime", 30 * time.Minute, provider.BufferRealtime, 25 * time.Minute, 28 * time.Minute},
		{"30 min, share", 30 * time.Minute, provider.BufferShare, 15 * time.Minute, 27 * time.Minute},
		{"1 h, queue", time.Hour, provider.BufferQueue, 30 * time.Minute, 55 * time.Minute},
		{"1 h, share", time.Hour, provider.BufferShare, 30 * time.Minute, 54 * time.Minute},
		{"6 h, queue", 6 * time.Hour, provider.BufferQueue, 3 * time.Hour, 355 * time.Minute},
		{"6 h, share: capped", 6 * time.Hour, provider.BufferShare, 3 * time.Hour, 350 * time.Minute},
		{"30 days: no refresh token rests for more than a day", 30 * day, provider.BufferQueue, day / 2, day},
		{"none given", 0, provider.BufferQueue, 15 * time.Minute, 25 * time.Minute},
		{"negative", -time.Hour, provider.BufferQueue, 15 * time.Minute, 25 * time.Minute},
		{"absurd", 1 << 62, provider.BufferQueue, day / 2, day},
		{"1 min", time.Minute, provider.BufferQueue, 30 * time.Second, 45 * time.Second},
		{"1 s", time.Second, provider.BufferQueue, 500 * time.Millisecond, time.Second},
		{"1 ns", 1, provider.BufferQueue, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seen := map[time.Duration]bool{}
			for i := range 500 {
				due := Due(start, c.life, c.profile, fmt.Sprint("con_", i), int64(i%7)).Sub(start)
				require.GreaterOrEqual(t, due, c.earliest)
				require.LessOrEqual(t, due, c.latest)
				seen[due] = true
			}
			if c.life != 1 {
				assert.Greater(t, len(seen), 400, "spread out")
			}
			assert.Equal(t, Due(start, c.life, c.profile, "con_1", 1), Due(start, c.life, c.profile, "con_1", 1), "the same for every caller")
		})
	}
}

const day = 24 * time.Hour

// TestDueBounds draws what a provider may answer, at any time. No token set is due
// later than its buffer before expiry, and none in the first half of its life.
func TestDueBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		start := time.UnixMicro(rapid.Int64Range(-1<<52, 1<<52).Draw(t, "start"))
		life := time.Duration(rapid.Int64Range(1, int64(60*day)).Draw(t, "life"))
		before := time.Duration(rapid.Int64Range(0, int64(60*day)).Draw(t, "before"))
		profile := rapid.SampledFrom([]provider.BufferProfile{provider.BufferQueue, provider.BufferRealtime, provider.BufferShare, "", "30s", "1h"}).Draw(t, "profile")
		due := DueAfter(before, start, life, profile, rapid.String().Draw(t, "id"), rapid.Int64().Draw(t, "generation")).Sub(start)
		if due > min(life-Buffer(profile, life), day) {
			t.Fatalf("due %s after the start of a life of %s", due, life)
		}
		if due < min(life, day)/2 {
			t.Fatalf("due only %s after the start of a life of %s", due, life)
		}
	})
}

// cohort refreshes connections that start together, each some seconds late. It returns
// how uneven the last cycle is: its busiest twentieth divided by the mean.
func cohort(profile provider.BufferProfile, life func() time.Duration, cycles int, cycle time.Duration) (peakToMean, renewals float64) {
	const connections, parts = 20_000, 20
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	from := start.Add(time.Duration(cycles-1) * cycle)
	var bins [parts]int
	sum, all := 0, 0
	for i := range connections {
		id, at, before := fmt.Sprint("con_", i), start, time.Duration(0)
		for generation := int64(1); ; generation++ {
			now := life()
			at = DueAfter(before, at, now, profile, id, generation).Add(time.Duration(rand.Int64N(int64(2 * time.Second))))
			before = now
			if part := int(at.Sub(from) * parts / cycle); at.Before(from) {
				all++
			} else if part < parts {
				all++
				bins[part]++
				sum++
			} else {
				break
			}
		}
	}
	return float64(slices.Max(bins[:])) * parts / float64(sum), float64(all) / connections
}

// TestAHerdScatters: connections with one expiry, as after an import or an outage, are
// even again within six cycles, for less than one extra refresh each.
func TestAHerdScatters(t *testing.T) {
	t.Parallel()
	for _, life := range []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour, 10 * time.Hour, day, 30 * day} {
		cycle := cycleOf(min(life-Buffer(provider.BufferQueue, life), day))
		uneven, renewals := cohort(provider.BufferQueue, func() time.Duration { return life }, 6, cycle)
		assert.Less(t, uneven, 1.15, "a life of %s", life)
		assert.Less(t, renewals, 7.0, "a life of %s", life)
	}
	const hour = time.Hour
	uneven, _ := cohort(provider.BufferRealtime, func() time.Duration { return hour }, 40, cycleOf(hour-2*time.Minute))
	assert.Less(t, uneven, 1.3, "who may not be early takes longer")
}

// TestLivesThatDiffer: they spread without extra refreshes.
func TestLivesThatDiffer(t *testing.T) {
	t.Parallel()
	life := func() time.Duration {
		return (time.Hour + time.Duration(rand.Int64N(int64(30*time.Minute)))).Truncate(time.Second)
	}
	uneven, renewals := cohort(provider.BufferQueue, life, 12, 70*time.Minute)
	assert.Less(t, uneven, 1.3)
	assert.Less(t, renewals, 12.8)
}

// TestEachHasItsPlace: a connection in its place is refreshed once a cycle, even if
// some lives are a few seconds shorter.
func TestEachHasItsPlace(t *testing.T) {
	t.Parallel()
	for life, cycle := range map[time.Duration]time.Duration{
		time.Minute:      44 * time.Second,
		10 * time.Minute: 445 * time.Second,
		30 * time.Minute: 24*time.Minute + 45*time.Second,
		time.Hour:        54*time.Minute + 45*time.Second,
		day:              23*time.Hour + 50*time.Minute,
		30 * day:         23*time.Hour + 55*time.Minute,
	} {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for generation := range int64(20) {
			due := Due(at, life-time.Duration(generation%2)*life/3600, provider.BufferQueue, "con_1", generation)
			if generation > 6 {
				assert.Equal(t, cycle, due.Sub(at).Round(time.Microsecond), "a life of %s", life)
			}
			at = due
		}
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
	good := Config{}.WithDefaults()
	assert.NoError(t, good.Validate(1))
	assert.NoError(t, good.Validate(3))
	assert.ErrorContains(t, good.Validate(4), "client secrets")
	for want, change := range map[string]func(*Config){
		"attempt_deadline": func(t *Config) { t.AttemptDeadline = t.StartToClose },
		"worker_stop":      func(t *Config) { t.WorkerStop = t.StartToClose },
		"save_timeout":     func(t *Config) { t.SaveTimeout = -1 },
		"start_to_close":   func(t *Config) { t.HTTPTimeout = t.StartToClose },
	} {
		bad := good
		change(&bad)
		assert.ErrorContains(t, bad.Validate(1), want)
	}
}

// TestLease: a dead process leaves time within a grace window for a whole presentation,
// and a lease always covers a presentation and its save.
func TestLease(t *testing.T) {
	t.Parallel()
	c := Config{}.WithDefaults()
	for window, want := range map[time.Duration]time.Duration{
		0: 90 * time.Second, 10 * time.Second: 40 * time.Second, time.Minute: 40 * time.Second, 90 * time.Second: 45 * time.Second,
		2 * time.Minute: time.Minute, 3 * time.Minute: 90 * time.Second, 30 * time.Minute: 90 * time.Second,
	} {
		e := provider.Entry{ReplayClass: perennial.ReplayGrace, GraceWindow: window}
		assert.Equal(t, want, c.Lease(e), window)
		if want < c.AttemptDeadline {
			assert.False(t, c.Stalled(want-35*time.Second, e), window)
			assert.True(t, c.Stalled(want-34*time.Second, e), window)
		}
		e.ReplayClass = perennial.ReplayUnknown
		assert.Equal(t, c.AttemptDeadline, c.Lease(e))
		assert.False(t, c.Stalled(70*time.Second, e))
		assert.True(t, c.Stalled(71*time.Second, e))
	}
	for window, want := range map[time.Duration]time.Duration{10 * time.Second: 5 * time.Second, 30 * time.Second: 15 * time.Second, time.Minute: 30 * time.Second, 30 * time.Minute: 90 * time.Second} {
		same := provider.Entry{ReplayClass: perennial.ReplayGrace, GraceWindow: window, GraceReply: provider.GraceSamePair}
		assert.Equal(t, want, c.Lease(same), "%s, and two that live at once bring the same pair", window)
		assert.False(t, c.Stalled(min(want-1, 70*time.Second), same), window)
		assert.True(t, c.Stalled(want, same), window)
	}
	reusable := provider.Entry{ReplayClass: perennial.ReplayReusable}
	assert.Equal(t, 40*time.Second, c.Lease(reusable))
	assert.False(t, c.Stalled(70*time.Second, reusable), "a slow network stops nobody")
	assert.True(t, c.Stalled(71*time.Second, reusable))
	c.AttemptDeadline = 30 * time.Second
	assert.Equal(t, c.AttemptDeadline, c.Lease(reusable))
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	t.Parallel()
	for outcome, r := range backoffRange {
		for failures := range 200 {
			wait := Backoff(provider.Reply{Outcome: outcome, HTTPStatus: 400}, failures)
			assert.GreaterOrEqual(t, wait, r.first)
			assert.LessOrEqual(t, wait, r.longest+r.longest/5)
		}
		assert.GreaterOrEqual(t, Backoff(provider.Reply{Outcome: outcome, RetryAfter: 2 * time.Hour}, 1), 2*time.Hour, "what the provider asks for is a floor")
	}
	soon := provider.Reply{Outcome: perennial.OutcomeRateLimited, RetryAfter: 2 * time.Second}
	assert.LessOrEqual(t, Backoff(soon, 3), 3*time.Second, "the provider's word")
	assert.GreaterOrEqual(t, Backoff(soon, 5), 8*time.Second, "which proved wrong")
	assert.LessOrEqual(t, Backoff(soon, 200), 18*time.Minute)
	assert.Zero(t, Backoff(provider.Reply{Outcome: perennial.OutcomeRefreshed}, 1))
	malformed := provider.Reply{Outcome: perennial.OutcomeUnknown, Code: provider.CodeMalformed}
	own := provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "client_id_mismatch"}
	assert.LessOrEqual(t, Backoff(own, 1), 6*time.Second, "another worker may have the right settings")
	assert.GreaterOrEqual(t, Backoff(own, 30), 5*time.Minute)
	own.HTTPStatus = 401
	assert.GreaterOrEqual(t, Backoff(own, 1), time.Minute, "the provider said it")
	assert.GreaterOrEqual(t, Backoff(malformed, 30), 10*time.Minute, "an answer that is always malformed is not asked for without end")
}
