package perennial

import (
	"slices"
	"time"
)

// Outcome is the outcome of an attempt, or of a request for one.
type Outcome string

// The outcomes. One function, provider.Classify, decides which reply has which outcome.
const (
	OutcomeRefreshed     Outcome = "refreshed"
	OutcomeAlreadyFresh  Outcome = "already_fresh" // the row has a newer generation
	OutcomeBusy          Outcome = "busy"          // another attempt is open, here or at the provider; not a failure
	OutcomeRevoked       Outcome = "revoked"       // a definite refusal of the grant
	OutcomeMisconfigured Outcome = "misconfigured" // the app's fault: no connection changes status
	OutcomeRateLimited   Outcome = "rate_limited"
	OutcomeTooEarly      Outcome = "too_early"   // the provider refreshes only shortly before the access token's end
	OutcomeUnavailable   Outcome = "unavailable" // proven unsent, or refused by a catalogued status
	OutcomeUnknown       Outcome = "unknown"     // sent, no definite answer
	OutcomeThrottled     Outcome = "held"        // the gate or a wait allows no request yet
	OutcomeRejected      Outcome = "rejected"    // any other 4xx
	OutcomeRefused       Outcome = "refused"     // the connection's status does not allow an attempt
	OutcomeNotFound      Outcome = "not_found"   // the row is gone
)

// Outcomes lists every outcome.
var Outcomes = []Outcome{OutcomeRefreshed, OutcomeAlreadyFresh, OutcomeBusy, OutcomeRevoked,
	OutcomeMisconfigured, OutcomeRateLimited, OutcomeTooEarly, OutcomeUnavailable, OutcomeUnknown, OutcomeThrottled,
	OutcomeRejected, OutcomeRefused, OutcomeNotFound}

// Trigger says why an attempt was made.
type Trigger string

// The reasons for an attempt.
const (
	TriggerTimer     Trigger = "timer"      // next_refresh_at has passed
	TriggerRetry     Trigger = "retry"      // an earlier attempt failed
	TriggerConfirm   Trigger = "confirm"    // a refusal is being confirmed
	TriggerKeepAlive Trigger = "keep_alive" // a paused connection, whose refresh token must not expire unused
	TriggerRequest   Trigger = "request"    // a caller wants a fresh token (refresh_now)
	TriggerFallback  Trigger = "beside"     // a process that refreshes while Temporal is away
	TriggerRecover   Trigger = "recover"    // an operator had a kept reply read again; nothing was presented

	// A product reported that the provider does not accept the token any more.
	TriggerTokenRefused Trigger = Trigger(RefusalTokenRefused)
	TriggerRevoked      Trigger = Trigger(RefusalRevoked)
)

// ByCaller reports whether a caller asked for the refresh: no due time did.
func (t Trigger) ByCaller() bool {
	return t == TriggerRequest || t == TriggerFallback || t.Reported()
}

// TriggerOf returns the trigger of a refresh that a caller wants. why may be empty; one
// that this program does not know is a mere request.
func TriggerOf(why RefusalCause) Trigger {
	if slices.Contains(RefusalCauses, why) {
		return Trigger(why)
	}
	return TriggerRequest
}

// Reported reports whether a product's report caused the attempt: see [RefusalCause].
func (t Trigger) Reported() bool { return t == TriggerTokenRefused || t == TriggerRevoked }

// ReplayClass says what a provider does when it sees an old refresh token again.
type ReplayClass string

// The five classes.
const (
	ReplayReusable     ReplayClass = "reusable"      // the old refresh token stays valid
	ReplayGrace        ReplayClass = "grace"         // valid for a window that starts when it is first sent
	ReplaySingleUse    ReplayClass = "single_use"    // invalid once used
	ReplayReuseRevokes ReplayClass = "reuse_revokes" // presenting a used one revokes the whole grant
	ReplayUnknown      ReplayClass = "unknown"       // not documented; handled as single_use
)

// ReplayClasses lists every class.
var ReplayClasses = []ReplayClass{ReplayReusable, ReplayGrace, ReplaySingleUse, ReplayReuseRevokes, ReplayUnknown}

// Attempt is one line of the append-only ledger, written when an attempt closes. It
// holds no token and no part of a provider's body.
type Attempt struct {
	ID           string        `json:"id"`
	ConnectionID string        `json:"connection_id"`
	Generation   int64         `json:"generation"` // the generation to replace
	Trigger      Trigger       `json:"trigger"`
	Outcome      Outcome       `json:"outcome"`
	ErrorCode    string        `json:"error_code,omitempty"`
	HTTPStatus   int           `json:"http_status,omitempty"`
	RetryAfter   time.Duration `json:"retry_after,omitempty"`
	Duration     time.Duration `json:"duration"`
	LifeLeft     time.Duration `json:"life_left"` // remaining life of the access token at the start; negative: expired
	Lateness     time.Duration `json:"lateness"`  // time between the due time and the start
	Retries      int           `json:"retries"`   // failed attempts before this one
	RunID        string        `json:"run_id,omitempty"`
	TraceID      string        `json:"trace_id,omitempty"`
	RequestID    string        `json:"request_id,omitempty"` // the provider's request id, e.g. intuit_tid
	StartedAt    time.Time     `json:"started_at"`
}
