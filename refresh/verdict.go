package refresh

import (
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
)

// verdictOutcome maps every verdict but VerdictClaimed.
var verdictOutcome = map[store.Verdict]perennial.Outcome{
	store.VerdictAlreadyFresh: perennial.OutcomeAlreadyFresh,
	store.VerdictBusy:         perennial.OutcomeBusy,
	store.VerdictWait:         perennial.OutcomeThrottled,
	store.VerdictSetAside:     perennial.OutcomeThrottled,
	store.VerdictTooSoon:      perennial.OutcomeThrottled,
	store.VerdictRefused:      perennial.OutcomeRefused,
	store.VerdictNotFound:     perennial.OutcomeNotFound,
}

// notClaimed returns the result for a connection that may not be presented now. Metrics
// count those that came too soon: a loop of a caller's would else show nowhere.
func (e *Engine) notClaimed(claim store.Claim, outcome perennial.Outcome) Result {
	res := Result{Outcome: outcome, Connection: claim.Connection, Now: claim.Now, RetryAt: claim.RetryAt, Code: string(claim.Verdict)}
	if claim.Verdict == store.VerdictTooSoon {
		e.observe(Observation{App: claim.Connection.App, Result: res})
	}
	return res
}
