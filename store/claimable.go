package store

import (
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
)

// May a connection be claimed? Two rules answer.
//
// The fence, [decideClaim], answers for every row, after the gate, [decideAdmission].
// It reads the row under its lock and may write more than the claim: a doubt, a lost
// attempt, a longer wait.
//
// The rule of the fast path stands in this file, once in Go and once in SQL. It is
// narrower. It matches the rows without any failure that the gate would admit and that
// the fence would claim with [claimColumns] and nothing else. It leaves every other row
// to the gate and the fence.
//
//	Go               SQL           used by
//	nothingFailed    innocent      [Store.Release]
//	claimableAtOnce  unharmed      claimable
//	gateOpen         undisturbed   claimable; [Store.wideOpen] asks the same of a row that was read
//	                 claimable     oneClaimable, [Store.ClaimDue], [Store.Due]
//	                 oneClaimable  [Store.FastClaim], [Store.FastAdmit]
//	claimColumns     opensAttempt  [Store.FastClaim], [Store.ClaimDue]
//
// The bulk claim and FastAdmit take only proven connections of these. FastClaim and
// FastAdmit take, for a caller, only those that are unforced too (forced.go).
//
// [Memory] and the fence use the Go column. Change both columns together; TestClaimable
// compares them, the gate and the fence on rows of every kind.

// claimable: c may be claimed at t.now.
const claimable = unharmed + ` AND ` + undisturbed

// oneClaimable: c has an id, a generation and an app, and may be claimed at t.now.
const oneClaimable = `c.id = ? AND c.generation = ? AND ` + ofApp + ` AND ` + claimable

// unharmed matches a row c that a claim may take at t.now without a closer look:
// nothing is wrong with the connection itself, though its token may have expired while
// it waited at the gate. In Go it is [claimableAtOnce].
const unharmed = innocent + ` AND c.attempt_id = '' AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= t.now)`

// innocent matches a row c without a failure or a doubt. In Go it is [nothingFailed].
const innocent = `c.status = 'active' AND (c.health = 'healthy' OR c.failing_code IN ('` + CodeCircuitOpen + `', '` + CodeSlowDown + `', '` + CodeRateLimit + `', '` + CodeStopped + `'))
	AND c.failure_count = 0 AND c.ambiguous_since IS NULL AND c.suspect_since IS NULL AND c.confirm_at IS NULL AND c.set_aside_generation <= c.generation`

// undisturbed: no open circuit, no slow-down and no operator's stop concerns c; a circuit that is releasing
// has given c its turn. It does not ask for recorded failures, because one failing connection must not keep the others from the
// fast path; a failure that could open the circuit looks for successes itself. In Go it
// is [gateOpen].
const undisturbed = `NOT EXISTS (SELECT 1 FROM circuits WHERE circuits.app = c.app AND circuits.host = c.host
		AND (circuits.slow_until > t.now OR circuits.reason <> '' AND (NOT circuits.unproven_only OR c.unproven_since IS NOT NULL) AND NOT (` + releasing + ` AND EXISTS (
			SELECT 1 FROM waiting WHERE waiting.connection_id = c.id AND waiting.app = c.app AND waiting.host = c.host AND waiting.turn_at IS NOT NULL))))
	AND NOT EXISTS (SELECT 1 FROM apps WHERE apps.app = c.app AND (apps.slow_until > t.now OR apps.stopped_at IS NOT NULL))`

// ofApp: c, found by its id, belongs to an app. No index supports this form of the
// comparison, on purpose. With an equals sign, and before the table's first statistics,
// the plan read the app's part of another index instead of the row.
const ofApp = `c.app IS NOT DISTINCT FROM ?`

// opensAttempt has the columns that a claim writes besides attempt_id. Its parameters
// are the lease in microseconds and the trigger. In Go it is [claimColumns].
const opensAttempt = `attempt_digest = c.refresh_token_digest, attempt_started_at = t.now,
	attempt_deadline = t.now + ?::bigint * interval '1 microsecond', attempt_sent = false, attempt_trigger = ?, queued_at = NULL, updated_at = t.now`

// nothingFailed is innocent in Go.
func nothingFailed(c perennial.Connection) bool {
	atGate := slices.Contains([]string{CodeCircuitOpen, CodeSlowDown, CodeRateLimit, CodeStopped}, c.FailingCode)
	return (c.Health == perennial.HealthHealthy || atGate) && well(c)
}

// well: c is active, its last attempt succeeded, and nothing about its tokens is in
// doubt. Its health may be failing all the same: for a wait, or for a fault of tokens
// that work.
func well(c perennial.Connection) bool {
	return c.Status == perennial.StatusActive && c.FailureCount == 0 && c.AmbiguousSince.IsZero() && c.SuspectSince.IsZero() && c.ConfirmAt.IsZero() && !c.HasSetAside()
}

// claimableAtOnce is unharmed in Go. now is the database's clock.
func claimableAtOnce(c perennial.Connection, now time.Time) bool {
	return nothingFailed(c) && c.Open.IsZero() && !c.NextAttemptAt.After(now)
}

// gateOpen is undisturbed in Go, for the connection's circuit and app. released says
// that the release of its circuit has given the connection its turn. If the app has a
// limit of requests a second, the caller needs a rate slot too.
func gateOpen(c perennial.Connection, circuit circuitRow, app appRow, released bool, now time.Time) bool {
	return app.StoppedAt == nil && (!circuit.bars(c) || circuit.releasing() && released) && !latest(db.Time(circuit.SlowUntil), db.Time(app.SlowUntil)).After(now)
}

// claimColumns returns what a claim writes: opensAttempt in Go.
func claimColumns(c perennial.Connection, req ClaimRequest, now time.Time) columns {
	open := openedBy(req, c, now)
	return columns{
		"attempt_id":         open.ID,
		"attempt_digest":     open.Digest,
		"attempt_started_at": db.Nullable(open.StartedAt),
		"attempt_deadline":   db.Nullable(open.Deadline),
		"attempt_sent":       open.Sent,
		"attempt_trigger":    string(open.Trigger),
		"queued_at":          nil,
	}
}

// openedBy returns the attempt that a claim of c opens.
func openedBy(req ClaimRequest, c perennial.Connection, now time.Time) perennial.OpenAttempt {
	return perennial.OpenAttempt{ID: req.AttemptID, Digest: c.RefreshTokenDigest, StartedAt: now, Deadline: now.Add(req.Lease), Trigger: req.Trigger}
}
