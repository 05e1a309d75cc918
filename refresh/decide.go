package refresh

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
)

// failingAfter is the count of failures in a row from which a connection's
// health is failing. A misconfigured client is failing at once: waiting does
// not mend it.
const failingAfter = 3

// decide turns a reply without tokens into what is written to the row. It is
// pure: row is the claimed row, now the database's clock at the claim.
func decide(row perennial.Connection, class perennial.ReplayClass, reply provider.Reply, now time.Time, confirmDelay time.Duration) store.CloseRequest {
	req := store.CloseRequest{
		Failed:       true,
		FailingAfter: failingAfter,
		FailingCode:  reply.Code,
		Wait:         backoff(reply.Outcome, row.FailureCount+1, reply.RetryAfter),
	}
	if !row.ExpiresAt.IsZero() && !row.ExpiresAt.After(now) {
		req.FailingAfter = 1 // its product is already without a token
	}
	switch reply.Outcome {
	case perennial.OutcomeMisconfigured:
		req.FailingAfter = 1
	case perennial.OutcomeRevoked:
		req.Wait = 0
		if !row.Suspect() {
			// Not believed yet: a race or a provider's hiccup also says
			// invalid_grant. Shown once more after the delay.
			req.Failed, req.Suspect, req.ConfirmAfter = false, true, confirmDelay
			break
		}
		req.Terminal = refusalReason(row, now)
	case perennial.OutcomeUnknown:
		req.Ambiguous = true
		if class == perennial.ReplayReuseRevokes && row.ExpiresAt.After(now) {
			// Shown again, a spent token would end the living access token too.
			req.Wait = max(req.Wait, row.ExpiresAt.Sub(now))
		}
	}
	return req
}

// refusalReason names why a refresh token was refused for good.
func refusalReason(row perennial.Connection, now time.Time) perennial.Reason {
	past := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	switch {
	case row.Ambiguous():
		return perennial.ReasonRotationLost
	case past(row.GrantExpiresAt):
		return perennial.ReasonGrantEnded
	case past(row.RefreshTokenExpiresAt):
		return perennial.ReasonIdleExpired
	default:
		return perennial.ReasonInvalidGrant
	}
}
