package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// A connection that has been failing for a day is presented once an hour, later once a
// day. If one of them is refreshed again, the trouble may be over for the others too: for
// those of the same app and host that have failed with the same code for as long. So their
// waits end in turn, unless those are not ours. It costs the connections that are well
// little: it happens seldom, and slowly.
const (
	// recoveriesApart is how often a recovery lets others through at most.
	recoveriesApart = 10 * time.Minute
	// longFailingShare: they get one in so many of the requests that a release would make.
	longFailingShare = 10
)

// recovers reports whether the reply ends a long time of failures, at a closed circuit,
// and no other has let connections through a moment ago.
func (r circuitRow) recovers(req NoteRequest, now time.Time) bool {
	return r.Reason == "" && req.Outcome == perennial.OutcomeRefreshed && req.Connection.FailingForLong(now) &&
		!db.Time(r.RecoveredAt).After(now.Add(-recoveriesApart))
}

// letThrough shortens the waits of long-failing connections of the kind of req's, as many
// as their share allows until the next recovery may do the same. Those whose last attempt is
// the longest ago come first, so that connections which fail again do not keep their places.
func (s *Store) letThrough(ctx context.Context, req NoteRequest) error {
	c := req.Connection
	rate := ReleaseRate(req.Rate, 0) / longFailingShare
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	var ids []string
	// health as a literal leads to the small index of the failing ones.
	err = s.db.With(ctx).Table("connections").
		Where("health = 'failing' AND status = 'active' AND app = ? AND host = ? AND failing_code = ? AND failure_count > 0", c.App, c.Host, c.FailingCode).
		Where("failing_since <= ? AND next_attempt_at > ? AND (queued_at IS NOT NULL OR backoff_until = next_attempt_at)", db.Nullable(now.Add(-perennial.LongFailing)), db.Nullable(now)).
		Order("updated_at, id").Limit(max(int(rate*recoveriesApart.Seconds()), 1)).Pluck("id", &ids).Error
	if err != nil {
		return fmt.Errorf("find the connections of app %s that failed like %s: %w", c.App, c.ID, err)
	}
	err = s.retryInTurn(ctx, ids, rate, func(tx *gorm.DB, until, now time.Time) error {
		return tx.Where("health = 'failing' AND next_attempt_at > ?", db.Nullable(until)).Updates(map[string]any(s.shortened(until, now))).Error
	})
	return db.Wrap("let connections of app "+c.App+" through", err)
}
