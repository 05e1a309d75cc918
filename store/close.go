package store

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// CloseAttempt closes an attempt that brought no tokens. closed is false, with no
// error, if its guards no longer match; the row is then returned as it is. The ledger
// line is written either way, because the token was presented. A missing row is an
// error of [perennial.CodeNotFound].
func (s *Store) CloseAttempt(ctx context.Context, req CloseRequest) (c perennial.Connection, closed bool, err error) {
	if req.AttemptID == "" {
		return c, false, perennial.Errorf(perennial.CodeInvalid, "closing an attempt on connection %s needs the attempt's id", req.ID)
	}
	found, err := s.locked(ctx, perennial.WorkerAccess(), req.ID, func(tx *gorm.DB, row perennial.Connection, now time.Time) error {
		if err := appendAttempt(tx, ledgerLine(req.Ledger, req.ID, req.AttemptID)); err != nil {
			return err
		}
		if row.Open.ID != req.AttemptID || row.Generation != req.Generation || row.RefreshTokenDigest != req.Digest {
			c = row
			return nil
		}
		closed = true
		held, err := s.withheld(tx, row, req, now)
		if err != nil {
			return err
		}
		if req.Queued {
			if req.releasedSince, err = releasedSince(tx, row); err != nil {
				return err
			}
		}
		kept, err := keepReply(tx, row, req, now)
		if err != nil {
			return err
		}
		set := closeColumns(row, req, now, held)
		if kept && req.Bar {
			set.with(keptColumns(row, now))
		}
		c, err = change(tx, row, set, now)
		return err
	})
	if err == nil && !found {
		err = notFound(req.ID)
	}
	if err == nil && closed && req.Suspect {
		err = s.raiseRefusalHold(ctx, c.App) // a transaction of its own: see Admit
	}
	return c, closed, err
}

// closeColumns returns what a close writes. It is pure. c was read under the row's
// lock, and now is the database's clock. held is the failing code of a connection whose
// terminal step a hold prevents, else empty.
func closeColumns(c perennial.Connection, req CloseRequest, now time.Time, held string) columns {
	set := columns{"confirm_at": nil}
	set.noAttempt().hardWait(time.Time{})
	wait := req.Wait
	if req.Queued && req.releasedSince { // the failure is from before
		wait = min(wait, lateFailureWait)
	}
	switch {
	case wait <= 0:
	case req.OwnWait:
		set.ownWait(now.Add(wait))
	default:
		set.hardWait(now.Add(wait))
	}
	if req.Failed {
		set["failure_count"] = c.FailureCount + 1
		if req.FailingAfter > 0 && c.FailureCount+1 >= req.FailingAfter {
			set.failing(c, req.FailingCode, now)
		}
	}
	if (req.Failed || req.Suspect) && forced(c, c.Open.Trigger, c.Open.StartedAt) {
		set.with(forcedColumns(c, c.Open.Trigger, c.Open.StartedAt)) // it was presented
	}
	if req.Ambiguous && !c.Ambiguous() {
		set.with(columns{"ambiguous_since": db.Nullable(c.Open.StartedAt), "ambiguous_digest": c.RefreshTokenDigest})
	}
	if req.Suspect {
		if !c.Suspect() {
			set.with(columns{"suspect_since": db.Nullable(now), "suspect_digest": c.RefreshTokenDigest})
		}
		set["confirm_at"] = db.Nullable(now.Add(req.ConfirmAfter))
	}
	if req.Queued {
		set["queued_at"] = db.Nullable(now)
	}
	if held != "" {
		set.ownWait(now.Add(holdWait + spread(c.ID, now, holdWait)))
		return set.failing(c, held, now)
	}
	if req.Terminal != "" && (c.Status == perennial.StatusActive || c.Status == perennial.StatusPaused) {
		set.with(columns{"status": string(perennial.StatusReconnectRequired), "reason": string(req.Terminal)})
	}
	return set
}
