package perennial

import "time"

// Outcome of an attempt, or of asking for one.
type Outcome string

// The outcomes. Which reply gives which is decided in one function,
// provider.Classify.
const (
	OutcomeRefreshed     Outcome = "refreshed"
	OutcomeAlreadyFresh  Outcome = "already_fresh" // the generation moved on
	OutcomeBusy          Outcome = "busy"          // another attempt is open; not a failure
	OutcomeRevoked       Outcome = "revoked"       // a definite refusal of the grant
	OutcomeMisconfigured Outcome = "misconfigured" // the app's fault: no connection changes status
	OutcomeRateLimited   Outcome = "rate_limited"
	OutcomeUnavailable   Outcome = "unavailable" // proven unsent, or refused by a catalogued status
	OutcomeUnknown       Outcome = "unknown"     // sent, no definite answer
	OutcomeThrottled     Outcome = "held"        // no request is allowed yet
	OutcomeRejected      Outcome = "rejected"    // any other 4xx
	OutcomeRefused       Outcome = "refused"     // the connection's status does not allow an attempt
	OutcomeNotFound      Outcome = "not_found"   // the row is gone
)

// Outcomes lists every outcome.
var Outcomes = []Outcome{OutcomeRefreshed, OutcomeAlreadyFresh, OutcomeBusy, OutcomeRevoked,
	OutcomeMisconfigured, OutcomeRateLimited, OutcomeUnavailable, OutcomeUnknown, OutcomeThrottled,
	OutcomeRejected, OutcomeRefused, OutcomeNotFound}

// Trigger says why an attempt was made.
type Trigger string

// The triggers.
const (
	TriggerTimer     Trigger = "timer"      // next_refresh_at came
	TriggerRetry     Trigger = "retry"      // an earlier attempt failed
	TriggerConfirm   Trigger = "confirm"    // a refusal is being confirmed
	TriggerKeepAlive Trigger = "keep_alive" // a paused connection's idle clock
	TriggerRequest   Trigger = "request"    // refresh_now
	TriggerFallback  Trigger = "beside"     // a process that refreshes while Temporal is away
)

// ReplayClass says what a provider does when an old refresh token is shown
// again.
type ReplayClass string

// The five classes.
const (
	ReplayReusable     ReplayClass = "reusable"      // the old refresh token stays good
	ReplayGrace        ReplayClass = "grace"         // good for a window from the first sending
	ReplaySingleUse    ReplayClass = "single_use"    // dead once used
	ReplayReuseRevokes ReplayClass = "reuse_revokes" // showing a used one kills the whole grant
	ReplayUnknown      ReplayClass = "unknown"       // not documented; handled as single_use
)

// ReplayClasses lists every class.
var ReplayClasses = []ReplayClass{ReplayReusable, ReplayGrace, ReplaySingleUse, ReplayReuseRevokes, ReplayUnknown}

// Attempt is one line of the append-only ledger, written when an attempt
// closes. It holds no token and no provider body.
type Attempt struct {
	ID           string        `json:"id"`
	ConnectionID string        `json:"connection_id"`
	Generation   int64         `json:"generation"` // the one it set out to replace
	Trigger      Trigger       `json:"trigger"`
	Outcome      Outcome       `json:"outcome"`
	ErrorCode    string        `json:"error_code,omitempty"`
	HTTPStatus   int           `json:"http_status,omitempty"`
	RetryAfter   time.Duration `json:"retry_after,omitempty"`
	Duration     time.Duration `json:"duration"`
	LifeLeft     time.Duration `json:"life_left"` // of the access token at start; negative: expired
	Lateness     time.Duration `json:"lateness"`  // start against the due time
	Retries      int           `json:"retries"`   // failed attempts before this one
	RunID        string        `json:"run_id,omitempty"`
	TraceID      string        `json:"trace_id,omitempty"`
	RequestID    string        `json:"request_id,omitempty"` // the provider's own, e.g. intuit_tid
	StartedAt    time.Time     `json:"started_at"`
}
