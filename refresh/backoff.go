package refresh

import (
	"math/rand/v2"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// backoffRange is the first and the longest wait after an outcome; the wait
// doubles with each failure in a row.
var backoffRange = map[perennial.Outcome]struct{ first, longest time.Duration }{
	perennial.OutcomeUnavailable:   {time.Second, 5 * time.Minute},
	perennial.OutcomeUnknown:       {2 * time.Second, 5 * time.Minute},
	perennial.OutcomeRateLimited:   {30 * time.Second, 15 * time.Minute},
	perennial.OutcomeMisconfigured: {time.Minute, 15 * time.Minute},
	perennial.OutcomeRejected:      {5 * time.Second, time.Hour},
}

// ownFault is the range where this worker's own settings kept it from asking:
// another worker, or this one after a restart, may have the right ones, and the
// provider is not bothered by another try.
var ownFault = struct{ first, longest time.Duration }{5 * time.Second, 5 * time.Minute}

// believed is after how many failures in a row a provider's own word on when to
// come back is doubled with each.
const believed = 3

// backoff is the wait before the next attempt after the failures-th failure in
// a row (1 for the first), which this reply was. Up to a fifth of it is random, so
// that connections which failed together do not come back together.
func backoff(reply provider.Reply, failures int) time.Duration {
	wait := MinBackoff(reply, failures)
	return wait + time.Duration(rand.Int64N(int64(wait)/5+1))
}

// MinBackoff is the part of a backoff that is not random. What the provider
// asked for (RetryAfter) comes first: it knows better than we do, and is a floor,
// spread upwards only.
func MinBackoff(reply provider.Reply, failures int) time.Duration {
	outcome := reply.Outcome
	if reply.Code == provider.CodeMalformed {
		outcome = perennial.OutcomeRejected // it answers, and always the same
	}
	r, ok := backoffRange[outcome]
	if !ok {
		return 0
	}
	if outcome == perennial.OutcomeMisconfigured && reply.HTTPStatus == 0 {
		r = ownFault
	}
	wait := r.longest
	if n := max(failures, 1) - 1; n < 16 { // 2^16 s is past every longest
		wait = min(r.first<<n, r.longest)
	}
	if asked := reply.RetryAfter; asked > 0 {
		wait = max(asked, min(asked<<min(max(failures-believed, 0), 16), r.longest))
	}
	return wait
}
