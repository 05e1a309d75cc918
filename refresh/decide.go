package refresh

import (
	"cmp"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
)

// failingAfter is how many failures in a row make a connection's health failing. A
// misconfigured client fails at once: waiting does not mend it.
const failingAfter = 3

// decide turns a reply without tokens into what is written to the row. It is pure. row
// is the claimed row, now the database's clock at the claim.
func decide(row perennial.Connection, entry provider.Entry, reply provider.Reply, now time.Time, confirmDelay time.Duration) store.CloseRequest {
	req := store.CloseRequest{
		Failed:       true,
		FailingAfter: failingAfter,
		FailingCode:  failingCode(row, reply, now),
		Wait:         whileItLives(reply, row, now, ownBackoff(row, reply, now)),
		Queued:       countable(reply) && reply.RetryAfter == 0,
		OwnWait:      reply.RetryAfter == 0 && reply.Outcome != perennial.OutcomeRateLimited,
	}
	if !row.ExpiresAt.IsZero() && !row.ExpiresAt.After(now) && !row.Dormant(now) {
		req.FailingAfter = 1 // the product is already without a token
	}
	switch reply.Outcome {
	case perennial.OutcomeMisconfigured:
		req.FailingAfter = 1
	case perennial.OutcomeRevoked:
		req.Wait = 0
		beside := row.Open.Trigger == perennial.TriggerFallback
		if (!row.Suspect() || beside) && !seam.Off(seam.Confirm) {
			// Do not believe it yet: a race or a provider's hiccup also gives
			// invalid_grant. Present the token once more after the delay, but not beside
			// Temporal: the workflow may hold newer tokens.
			req.Failed, req.Suspect, req.ConfirmAfter = false, true, confirmDelay
			break
		}
		req.Terminal = refusalReason(row, entry, reply, now)
	case perennial.OutcomeUnknown:
		req.Ambiguous = !seam.Off(seam.AmbiguityMemory)
		switch entry := entry.At(firstSent(row), now); {
		case entry.ServesToEnd() && row.ExpiresAt.After(now):
			// Presenting a spent token again would also revoke the living access token.
			req.Wait, req.Queued, req.OwnWait = max(req.Wait, row.ExpiresAt.Sub(now)), false, false
		case entry.ReplayClass == perennial.ReplayGrace:
			req.Wait = withinGrace(row, entry, now, req.Wait)
		}
	case perennial.OutcomeTooEarly:
		req.Failed, req.Queued, req.OwnWait = false, false, false
		req.Wait = max(untilNearlyOver(row, entry, now), reply.RetryAfter)
		if req.Wait == 0 { // the product is without a token, and the provider still says that it has one
			req.Failed, req.Wait = true, timing.Backoff(reply, row.FailureCount+1)
		}
	case perennial.OutcomeBusy:
		// The provider has not ended another request with the same token. That says
		// nothing about the grant, however often it comes.
		req.Failed, req.Queued, req.OwnWait = !row.ExpiresAt.After(now), false, false
		req.Wait = max(confirmDelay, reply.RetryAfter)
	case perennial.OutcomeThrottled:
		req.Failed, req.Wait = false, time.Second
	}
	return req
}

const (
	// nearlyOver is the rest of an access token's life in which a provider that refuses
	// to refresh too early is asked again, if its description does not say when it
	// refreshes: Exact Online does so in the last 30 s.
	nearlyOver = 25 * time.Second
	// afterEnd is when it is asked if that was too early as well.
	afterEnd = time.Second
)

// untilNearlyOver returns the wait until the access token is nearly over, or has ended
// if it is nearly over now. It is 0 if the token has ended or its end is not known.
func untilNearlyOver(row perennial.Connection, entry provider.Entry, now time.Time) time.Duration {
	left, opens := row.ExpiresAt.Sub(now), cmp.Or(entry.OpensBefore(), nearlyOver)
	switch {
	case left > opens+minBeforeEnd:
		return left - opens
	case left > 0:
		return left + afterEnd
	}
	return 0
}

// unclearAfter is how long a connection without an access token must have been refused in
// the same unclear way before that is named.
const unclearAfter = time.Hour

// failingCode returns the code that the row shows after this reply. If refusals go on
// and their words are unknown, the code says so: the grant may be dead, and to wait for
// ever would not help.
func failingCode(row perennial.Connection, reply provider.Reply, now time.Time) string {
	code := reply.FailingCode()
	same := row.FailingCode == code || row.FailingCode == store.CodeRefusedUnclear
	if reply.Unclear && same && row.Health == perennial.HealthFailing && !row.ExpiresAt.After(now) &&
		!row.FailingSince.IsZero() && !now.Before(row.FailingSince.Add(unclearAfter)) {
		return store.CodeRefusedUnclear
	}
	return code
}

// ownBackoff returns the backoff after this row's failure. Malformed replies rarely
// change, so the wait for them grows; but the first one after another kind of failure
// counts as a first failure. A connection that has failed for days waits longer.
func ownBackoff(row perennial.Connection, reply provider.Reply, now time.Time) time.Duration {
	wait := timing.Backoff(reply, row.FailureCount+1)
	if reply.Code == provider.CodeMalformed && row.FailingCode != provider.CodeMalformed && reply.RetryAfter == 0 {
		wait = min(wait, firstMalformed)
	}
	if row.FailingSince.IsZero() || wait == 0 {
		return wait
	}
	return max(wait, timing.LongFailing(now.Sub(row.FailingSince)))
}

const firstMalformed = time.Minute

// whileItLives shortens a wait that we chose to half of the access token's remaining
// life, so that a mend within it comes before the product notices. A wait that the
// provider asked for stands. A 429 counts as such, even without a time.
func whileItLives(reply provider.Reply, row perennial.Connection, now time.Time, wait time.Duration) time.Duration {
	left := row.ExpiresAt.Sub(now)
	if left <= 0 || reply.RetryAfter > 0 || reply.Outcome == perennial.OutcomeRateLimited {
		return wait
	}
	return min(wait, max(left/2, minBeforeEnd))
}

// leastBeforeEnd is the shortest wait that [whileItLives] makes.
const minBeforeEnd = 5 * time.Second

// withinGrace shortens a wait so that the token is presented again while the provider
// still repeats its reply: at half of what is left of the window.
func withinGrace(row perennial.Connection, entry provider.Entry, now time.Time, wait time.Duration) time.Duration {
	left := entry.GraceEnds(firstSent(row)).Sub(now)
	if left <= 0 || wait < left/2 {
		return wait
	}
	return max(left/2, time.Second)
}

// firstSent returns when the row's refresh token was first sent, if it may have been spent.
func firstSent(row perennial.Connection) time.Time {
	if row.Ambiguous() {
		return row.AmbiguousSince
	}
	return row.Open.StartedAt
}

// afterCut handles a reply whose refresh token was lost on its way. It returns since
// when the stored refresh token may have been spent, and when to present it again:
// within a grace window; or after the new access token's end, if reuse would revoke
// that token; or else halfway to its end, so that a lost grant shows while the product
// still works.
func afterCut(row perennial.Connection, entry provider.Entry, expires, now time.Time) (since, next time.Time) {
	since = firstSent(row)
	life := unknownLife
	if !expires.IsZero() {
		life = max(expires.Sub(now), 0)
	}
	switch entry := entry.At(since, now); {
	case entry.ServesToEnd():
		return since, now.Add(life)
	case entry.ReplayClass == perennial.ReplayGrace:
		return since, now.Add(withinGrace(row, entry, now, life/2))
	default:
		return since, now.Add(life / 2)
	}
}

// unknownLife stands in for an unknown access token lifetime.
const unknownLife = 30 * time.Minute

// refusalReason returns why a refresh token was refused for good. The loss is ours if
// the token may have been spent without us, and if that matters: a reusable token, or
// one within its grace window, would not be refused for it.
func refusalReason(row perennial.Connection, entry provider.Entry, reply provider.Reply, now time.Time) perennial.Reason {
	past := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	switch {
	case entry.Grant.FromCredentials():
		return perennial.ReasonCredentials
	case reply.SignInRequired(): // it knows the token: nothing was lost
		return perennial.ReasonSignInRequired
	case row.Behind(row.GenerationFloor) && entry.ReplayClass != perennial.ReplayReusable:
		return perennial.ReasonRotationLost // the database went back past a rotation
	case row.Ambiguous() && !harmlessReplay(entry.At(row.AmbiguousSince, now).ReplayClass):
		return perennial.ReasonRotationLost
	case past(row.GrantExpiresAt):
		return perennial.ReasonGrantEnded
	case past(row.RefreshTokenExpiresAt):
		return perennial.ReasonIdleExpired
	default:
		return perennial.ReasonInvalidGrant
	}
}

// harmlessReplay reports whether a refresh token of the class may be presented again.
func harmlessReplay(class perennial.ReplayClass) bool {
	return class == perennial.ReplayReusable || class == perennial.ReplayGrace
}
