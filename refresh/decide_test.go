package refresh

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAWaitLeavesTimeToBeMended: a token that fails in its last minute is tried again
// within that minute, however often it failed before.
func TestAWaitLeavesTimeToBeMended(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	misconfigured := provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "invalid_client", HTTPStatus: 401}
	malformed := provider.Reply{Outcome: perennial.OutcomeUnknown, Code: provider.CodeMalformed, HTTPStatus: 200}
	asked := provider.Reply{Outcome: perennial.OutcomeUnavailable, HTTPStatus: 503, RetryAfter: 10 * time.Minute}
	limited := provider.Reply{Outcome: perennial.OutcomeRateLimited, HTTPStatus: 429}
	for _, c := range []struct {
		name          string
		reply         provider.Reply
		failures      int
		left          time.Duration
		least, upmost time.Duration
	}{
		{"the client is rejected 40 s before the end", misconfigured, 0, 40 * time.Second, 20 * time.Second, 20 * time.Second},
		{"and hours before", misconfigured, 0, 5 * time.Hour, time.Minute, 72 * time.Second},
		{"a malformed reply after six failures", malformed, 6, 50 * time.Second, 25 * time.Second, 25 * time.Second},
		{"in the last seconds", malformed, 6, 3 * time.Second, 5 * time.Second, 5 * time.Second},
		{"after the end", misconfigured, 0, -time.Second, time.Minute, 72 * time.Second},
		{"after the end, the first malformed reply after an outage", malformed, 12, -time.Hour, time.Minute, time.Minute},
		{"what the provider asks for stands", asked, 0, 40 * time.Second, 10 * time.Minute, 12 * time.Minute},
		{"and a 429 without a time", limited, 0, 40 * time.Second, 30 * time.Second, 36 * time.Second},
	} {
		row := perennial.Connection{FailureCount: c.failures, ExpiresAt: now.Add(c.left)}
		for range 20 {
			wait := decide(row, provider.Entry{ReplayClass: perennial.ReplayReusable}, c.reply, now, time.Minute).Wait
			require.GreaterOrEqual(t, wait, c.least, c.name)
			require.LessOrEqual(t, wait, c.upmost, c.name)
		}
	}
	again := perennial.Connection{FailureCount: 13, FailingCode: provider.CodeMalformed, ExpiresAt: now.Add(-time.Hour)}
	require.GreaterOrEqual(t, decide(again, provider.Entry{ReplayClass: perennial.ReplayReusable}, malformed, now, time.Minute).Wait, 10*time.Minute, "the second shows that it stays so")
}

// TestAfterGrace: when a grace window is over, a lost reply costs what the description says
// of a replay then, and in doubt the most.
func TestAfterGrace(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	lost := provider.Reply{Outcome: perennial.OutcomeUnknown, Sent: true}
	row := perennial.Connection{ExpiresAt: now.Add(40 * time.Minute), RefreshTokenDigest: "d", AmbiguousDigest: "d"}
	for name, c := range map[string]struct {
		ago   time.Duration
		entry provider.Entry
		toEnd bool
		loss  perennial.Reason
	}{
		"within":                {9 * time.Minute, provider.Entry{}, false, perennial.ReasonInvalidGrant},
		"in its last half":      {9*time.Minute + 29*time.Second, provider.Entry{}, false, perennial.ReasonInvalidGrant},
		"too late to arrive":    {9*time.Minute + 30*time.Second, provider.Entry{}, true, perennial.ReasonRotationLost},
		"after it":              {10 * time.Minute, provider.Entry{}, true, perennial.ReasonRotationLost},
		"said to revoke":        {10 * time.Minute, provider.Entry{AfterGrace: perennial.ReplayReuseRevokes}, true, perennial.ReasonRotationLost},
		"with the access token": {10 * time.Minute, provider.Entry{RefreshKillsAccessToken: true}, false, perennial.ReasonRotationLost},
		"said to be refused":    {10 * time.Minute, provider.Entry{AfterGrace: perennial.ReplaySingleUse}, false, perennial.ReasonRotationLost},
	} {
		entry := c.entry
		entry.ReplayClass, entry.GraceWindow = perennial.ReplayGrace, 10*time.Minute
		row.AmbiguousSince = now.Add(-c.ago)
		assert.Equal(t, c.toEnd, decide(row, entry, lost, now, 0).Wait == 40*time.Minute, name)
		_, next := afterCut(row, entry, now.Add(time.Hour), now)
		assert.Equal(t, c.toEnd, next.Equal(now.Add(time.Hour)), name)
		assert.Equal(t, c.loss, refusalReason(row, entry, refusal, now), name)
	}
}

// TestLongFailing: a connection that nobody mends is tried ever less often. What its
// provider asks for, and a first failure, stand.
func TestLongFailing(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	reusable := provider.Entry{ReplayClass: perennial.ReplayReusable}
	for _, outcome := range []perennial.Outcome{perennial.OutcomeUnavailable, perennial.OutcomeUnknown, perennial.OutcomeMisconfigured, perennial.OutcomeRejected, perennial.OutcomeRateLimited} {
		reply := provider.Reply{Outcome: outcome, HTTPStatus: 500}
		for since, want := range map[time.Duration][2]time.Duration{
			time.Hour: {0, 20 * time.Minute}, day: {time.Hour, 2 * time.Hour}, 29 * day: {time.Hour, 2 * time.Hour}, 30 * day: {day, 30 * time.Hour}, 900 * day: {day, 30 * time.Hour},
		} {
			row := perennial.Connection{FailureCount: 500, Health: perennial.HealthFailing, FailingSince: now.Add(-since), ExpiresAt: now.Add(-since)}
			wait := decide(row, reusable, reply, now, time.Minute).Wait
			require.GreaterOrEqual(t, wait, want[0], "%s for %s", outcome, since)
			require.LessOrEqual(t, wait, want[1], "%s for %s", outcome, since)
		}
	}
	row := perennial.Connection{FailureCount: 500, FailingSince: now.Add(-40 * day), ExpiresAt: now.Add(-40 * day)}
	asked := provider.Reply{Outcome: perennial.OutcomeUnavailable, HTTPStatus: 503, RetryAfter: 26 * time.Hour}
	require.GreaterOrEqual(t, decide(row, reusable, asked, now, time.Minute).Wait, 26*time.Hour)
}

// TestWhoseWait: only a wait of our own may be shortened. One that the provider asked
// for, the confirmation of a refusal, and an access token that is served to its end
// stand.
func TestWhoseWait(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	reply := func(o perennial.Outcome) provider.Reply { return provider.Reply{Outcome: o, HTTPStatus: 400} }
	asked := provider.Reply{Outcome: perennial.OutcomeUnavailable, HTTPStatus: 503, RetryAfter: time.Minute}
	for _, c := range []struct {
		name  string
		reply provider.Reply
		class perennial.ReplayClass
		left  time.Duration
		own   bool
	}{
		{"an outage", reply(perennial.OutcomeUnavailable), perennial.ReplaySingleUse, time.Hour, true},
		{"a rejected client", reply(perennial.OutcomeMisconfigured), perennial.ReplaySingleUse, time.Hour, true},
		{"a refusal without a reason", reply(perennial.OutcomeRejected), perennial.ReplaySingleUse, time.Hour, true},
		{"the provider's time", asked, perennial.ReplaySingleUse, time.Hour, false},
		{"a 429, even without a time", reply(perennial.OutcomeRateLimited), perennial.ReplaySingleUse, time.Hour, false},
		{"a lost reply", reply(perennial.OutcomeUnknown), perennial.ReplaySingleUse, time.Hour, true},
		{"a lost reply that reuse would make worse", reply(perennial.OutcomeUnknown), perennial.ReplayReuseRevokes, time.Hour, false},
		{"and once the access token has ended", reply(perennial.OutcomeUnknown), perennial.ReplayReuseRevokes, -time.Hour, true},
		{"our own limit", reply(perennial.OutcomeThrottled), perennial.ReplaySingleUse, time.Hour, true},
	} {
		row := perennial.Connection{ExpiresAt: now.Add(c.left)}
		got := decide(row, provider.Entry{ReplayClass: c.class}, c.reply, now, time.Minute)
		require.Positive(t, got.Wait, c.name)
		require.Equal(t, c.own, got.OwnWait, c.name)
	}
	require.NotZero(t, decide(perennial.Connection{}, provider.Entry{}, reply(perennial.OutcomeRevoked), now, time.Minute).ConfirmAfter)
}
