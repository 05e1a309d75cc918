package timing

import (
	"math/rand/v2"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// backoffRange has the first and the longest wait after an outcome. The wait doubles
// with each failure in a row.
var backoffRange = map[perennial.Outcome]struct{ first, longest time.Duration }{
	perennial.OutcomeUnavailable:   {time.Second, 5 * time.Minute},
	perennial.OutcomeUnknown:       {2 * time.Second, 5 * time.Minute},
	perennial.OutcomeRateLimited:   {30 * time.Second, 15 * time.Minute},
	perennial.OutcomeTooEarly:      {5 * time.Second, 10 * time.Minute}, // once the access token has ended
	perennial.OutcomeMisconfigured: {time.Minute, 15 * time.Minute},
	perennial.OutcomeRejected:      {5 * time.Second, 10 * time.Minute},
}

// ownFault is the range if this worker's own settings prevented the request. Another
// worker, or this one after a restart, may have the right settings, and another try
// costs the provider nothing.
var ownFault = struct{ first, longest time.Duration }{5 * time.Second, 5 * time.Minute}

// believed is the number of failures in a row up to which a provider's own time counts
// as it is. From then on it doubles with each failure.
const believed = 3

// Backoff returns the wait before the next attempt after this reply, the failures-th
// failure in a row (1 for the first). Up to a fifth of it is random, so that
// connections that failed together do not return together.
func Backoff(reply provider.Reply, failures int) time.Duration {
	wait := MinBackoff(reply, failures)
	return wait + time.Duration(rand.Int64N(int64(wait)/5+1))
}

// LongFailing returns the least wait of a connection that has been failing for so long,
// for every kind of failure: none on its first day, an hour until its thirtieth, then a
// day. So a connection that nobody mends costs the others ever less.
func LongFailing(failingFor time.Duration) time.Duration {
	const day = 24 * time.Hour
	switch {
	case failingFor < perennial.LongFailing:
		return 0
	case failingFor < 30*day:
		return time.Hour
	}
	return day
}

// MinBackoff returns the part of a backoff that is not random. The provider's own time
// (RetryAfter) comes first, because it knows better than we do. It is a minimum: the
// random part only lengthens it.
func MinBackoff(reply provider.Reply, failures int) time.Duration {
	outcome := reply.Outcome
	if reply.Code == provider.CodeMalformed {
		outcome = perennial.OutcomeRejected // the provider answers, and always the same
	}
	r, ok := backoffRange[outcome]
	if !ok {
		return 0
	}
	if outcome == perennial.OutcomeMisconfigured && reply.HTTPStatus == 0 && !reply.ClientRejected() {
		r = ownFault
	}
	wait := r.longest
	if n := max(failures, 1) - 1; n < 16 { // 2^16 s exceeds every longest wait
		wait = min(r.first<<n, r.longest)
	}
	if asked := reply.RetryAfter; asked > 0 {
		wait = max(asked, min(asked<<min(max(failures-believed, 0), 16), r.longest))
	}
	return wait
}
