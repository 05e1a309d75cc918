package store

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/seam"
	"gorm.io/gorm"
)

// Claim takes the fence of one connection for one attempt, in one short transaction. It
// also proves that the store accepts writes before a refresh token is spent. Repeated
// with the same AttemptID while that attempt is open, it returns the same.
func (s *Store) Claim(ctx context.Context, req ClaimRequest) (Claim, error) {
	if req.AttemptID == "" || req.Lease <= 0 {
		return Claim{}, perennial.Errorf(perennial.CodeInvalid, "a claim of connection %s needs an attempt id and a time to hold it", req.ID)
	}
	var claim Claim
	found, err := s.locked(ctx, perennial.WorkerAccess(), req.ID, func(tx *gorm.DB, c perennial.Connection, now time.Time) error {
		d := decideClaim(c, req, now)
		claim = d.claim
		if d.lost != nil {
			if err := appendAttempt(tx, *d.lost); err != nil {
				return err
			}
		}
		if d.claim.Verdict == VerdictClaimed && seam.Off(seam.ClaimBeforeSpend) {
			claim.Connection = c
			claim.Connection.Open = openedBy(req, c, now)
			return nil
		}
		if err := update(tx, c.ID, now, d.set); err != nil {
			return err
		}
		if len(d.set) == 0 {
			claim.Connection = c
			return nil
		}
		var err error
		claim.Connection, err = reread(tx, c.ID)
		return err
	})
	if err != nil {
		return Claim{}, err
	}
	if !found {
		return Claim{Verdict: VerdictNotFound}, nil
	}
	return claim, nil
}

// claimDecision is the result of a claim, the columns to write for it, and the ledger
// line of an attempt that was found lost.
type claimDecision struct {
	claim Claim
	set   columns
	lost  *perennial.Attempt
}

// decideClaim is the fence. It is pure. c was read under the row's lock, and now is the
// database's clock. The fast path claims some of the same rows: claimable.go.
func decideClaim(c perennial.Connection, req ClaimRequest, now time.Time) claimDecision {
	d := claimDecision{claim: Claim{Now: now, RolledBack: c.Behind(req.Generation)}, set: columns{}}
	answer := func(v Verdict, retryAt time.Time) claimDecision {
		d.claim.Verdict, d.claim.RetryAt = v, retryAt
		return d
	}
	switch {
	case c.Open.ID != "" && c.Open.ID == req.AttemptID:
		return answer(VerdictClaimed, time.Time{}) // the caller did not get the first reply
	case c.Generation > req.Generation:
		return answer(VerdictAlreadyFresh, time.Time{})
	case unjudged(c, req, now):
		return answer(VerdictBusy, now)
	}
	// From here on the row may change, whatever the verdict.
	ambiguous := c.Ambiguous()
	doubt := func(since time.Time) {
		if !ambiguous && !seam.Off(seam.AmbiguityMemory) {
			ambiguous = true
			d.set.with(columns{"ambiguous_since": db.Nullable(since), "ambiguous_digest": c.RefreshTokenDigest})
		}
	}
	lost := !c.Open.IsZero() && !c.Open.Alive(now)
	if lost && lostOutcome(c, req.Class) == perennial.OutcomeUnknown && c.Open.Digest == c.RefreshTokenDigest {
		doubt(c.Open.StartedAt)
	}
	if d.claim.RolledBack && c.Status != perennial.StatusDisconnected {
		// The row is older than the generations given out. Mark this in a live attempt
		// too, so that it names a refusal correctly.
		doubt(now)
		if req.Generation > c.GenerationFloor {
			d.set["generation_floor"] = req.Generation
		}
	}
	if lost {
		d.lost = lostAttempt(c, req.Class)
		d.set.noAttempt()
	}
	switch {
	case !refreshable(c.Status, req.Trigger):
		return answer(VerdictRefused, time.Time{})
	case c.Open.ID != "" && !lost && !seam.Off(seam.Fence):
		return answer(VerdictBusy, c.Open.Deadline)
	}
	wait := c.WaitsUntil(now)
	look := setAsideWait(c, req.Class, now)
	if look.IsZero() && req.classNow(c, now) == perennial.ReplayReuseRevokes && ambiguous && c.ExpiresAt.After(wait) {
		// Presenting a spent token again would also revoke the living access token.
		// Write the wait into the row, so that every reader waits as long: up to the
		// longest wait that a row may demand, after which the fence extends it.
		wait = earliest(c.ExpiresAt, now.Add(perennial.MaxWait))
		if wait.After(now) {
			d.set.hardWait(wait)
		}
	}
	if wait.After(now) {
		return answer(VerdictWait, wait)
	}
	if !look.IsZero() {
		d.set.hardWait(look)
		return answer(VerdictSetAside, look)
	}
	if c.HasSetAside() {
		doubt(now) // the set may be lost: a refusal is our loss
	}
	if until := req.Floor.Until(c, now); until.After(now) && !lost && !ambiguous && forced(c, req.Trigger, now) {
		return answer(VerdictTooSoon, until)
	}
	if req.Ungated {
		return answer(VerdictWait, now)
	}
	d.set.with(claimColumns(c, req, now))
	return answer(VerdictClaimed, time.Time{})
}

// classNow returns the replay class of a refresh token in doubt: with a grace window that
// is over, the class after it. Of a row that went backwards nobody knows when its token
// was first sent.
func (req ClaimRequest) classNow(c perennial.Connection, now time.Time) perennial.ReplayClass {
	since := c.Open.StartedAt
	if c.Ambiguous() {
		since = c.AmbiguousSince
	}
	back := c.Behind(req.Generation) || c.Behind(c.GenerationFloor)
	if req.Class == perennial.ReplayGrace && req.GraceWindow > 0 && (back || !now.Before(since.Add(req.GraceWindow))) {
		return req.AfterGrace
	}
	return req.Class
}

// unjudged reports whether the claim is one beside Temporal, and a doubt came up after the
// caller had read the row: a workflow may have the tokens of a lost attempt.
func unjudged(c perennial.Connection, req ClaimRequest, now time.Time) bool {
	lost := !c.Open.IsZero() && !c.Open.Alive(now)
	return req.Trigger == perennial.TriggerFallback && (lost || c.Ambiguous()) && !c.UpdatedAt.Equal(req.Judged)
}

// Claimable reports whether a claim of the row as read would succeed. Ask it before the
// gate: if the gate made a connection its canary and the fence then refused it, the
// circuit would stay open. It is pure. now is the database's clock.
func Claimable(c perennial.Connection, req ClaimRequest, now time.Time) bool {
	return decideClaim(c, req, now).claim.Verdict == VerdictClaimed
}

// refreshable reports whether the status allows a refresh: active does; paused does
// only to keep the refresh token from expiring unused.
func refreshable(s perennial.Status, trigger perennial.Trigger) bool {
	return s == perennial.StatusActive || s == perennial.StatusPaused && trigger == perennial.TriggerKeepAlive
}

// lostOutcome returns the outcome of an attempt that was found open after its deadline.
// If the replay class uses the sending mark and the mark is missing, nothing was sent.
func lostOutcome(c perennial.Connection, class perennial.ReplayClass) perennial.Outcome {
	if class == perennial.ReplayReuseRevokes && !c.Open.Sent {
		return perennial.OutcomeUnavailable
	}
	return perennial.OutcomeUnknown
}

// The error codes of an attempt that was found open after its deadline.
const (
	codeLost       = "attempt_lost"
	codeLostUnsent = "attempt_lost_unsent"
)

// lostAttempt returns the ledger line of such an attempt.
func lostAttempt(c perennial.Connection, class perennial.ReplayClass) *perennial.Attempt {
	code := map[perennial.Outcome]string{perennial.OutcomeUnknown: codeLost, perennial.OutcomeUnavailable: codeLostUnsent}
	outcome := lostOutcome(c, class)
	return &perennial.Attempt{
		ID: c.Open.ID, ConnectionID: c.ID, Generation: c.Generation, Trigger: c.Open.Trigger,
		Outcome: outcome, ErrorCode: code[outcome], Retries: c.FailureCount,
		Duration: c.Open.Deadline.Sub(c.Open.StartedAt), StartedAt: c.Open.StartedAt,
	}
}

// MarkSending writes the `sending` mark, guarded by the attempt and its deadline. If
// either no longer holds, it returns an error of [perennial.CodeConflict], and nothing
// may be sent.
func (s *Store) MarkSending(ctx context.Context, id, attemptID string) error {
	if ok, err := s.fastMarkSending(ctx, id, attemptID); ok || err != nil {
		return err
	}
	found, err := s.locked(ctx, perennial.WorkerAccess(), id, func(tx *gorm.DB, c perennial.Connection, now time.Time) error {
		if c.Open.ID != attemptID || !c.Open.Deadline.After(now) {
			return perennial.Errorf(perennial.CodeConflict, "attempt %s no longer holds connection %s", attemptID, id)
		}
		return update(tx, id, now, columns{"attempt_sent": true})
	})
	if err == nil && !found {
		return notFound(id)
	}
	return err
}
