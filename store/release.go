package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// ReleaseCursor is a position in the order in which a release wakes connections.
type ReleaseCursor struct {
	At time.Time `json:"at,omitzero"`
	ID string    `json:"id,omitempty"`
}

// ReleasingApps returns the names, in order, of the apps whose circuit has closed and
// whose waiting connections are being released.
func (s *Store) ReleasingApps(ctx context.Context) (apps []string, err error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	err = s.db.With(ctx).Model(&appRow{}).Where("release_until > ?", db.Nullable(now)).Order("app").Pluck("app", &apps).Error
	if err != nil {
		return nil, fmt.Errorf("find the apps whose connections are being released: %w", err)
	}
	return apps, nil
}

// ReleaseBatchRequest asks for the connections of an app whose wait is over.
type ReleaseBatchRequest struct {
	App    string
	Pooled bool // the app has pacers: leave out the connections that they refresh
	After  ReleaseCursor
	Limit  int
}

// ReleaseBatch returns connections of an app whose wait is over, after the cursor
// After, in the order of their waits, at most Limit. more says that the release goes on
// and further connections may follow.
//
// The first call, with After zero, also pulls forward connections parked while the
// circuit was closing whose wait outlasts the release. This happens once: a later park
// has another cause.
func (s *Store) ReleaseBatch(ctx context.Context, req ReleaseBatchRequest) (cs []perennial.Connection, more bool, err error) {
	q := s.db.With(ctx)
	fail := func(err error) ([]perennial.Connection, bool, error) {
		return nil, false, fmt.Errorf("release the connections of app %s: %w", req.App, err)
	}
	now, err := s.Now(ctx)
	if err != nil {
		return fail(err)
	}
	var until []time.Time
	if err := q.Model(&appRow{}).Where("app = ? AND release_until > ?", req.App, db.Nullable(now)).Pluck("release_until", &until).Error; err != nil {
		return fail(err)
	}
	first := req.After.At.IsZero()
	if len(until) > 0 && first {
		err := q.Table("connections").Where("status = 'active' AND app = ? AND queued_at IS NOT NULL AND attempt_id = '' AND (failure_count = 0 OR failing_code = ?) AND next_attempt_at > ?", req.App, CodeCircuitOpen, db.Nullable(until[0])).
			Where("NOT EXISTS (SELECT 1 FROM circuits WHERE circuits.app = connections.app AND circuits.host = connections.host AND circuits.reason <> '')").
			Updates(map[string]any{"next_attempt_at": db.Nullable(now)}).Error
		if err != nil {
			return fail(err)
		}
	}
	over := s.waitOver(ctx, req, now)
	if !first {
		over = over.Where("(c.next_attempt_at, c.id) > (?, ?)", db.Nullable(req.After.At), req.After.ID)
	}
	cs, err = s.swept(over.Order("c.next_attempt_at, c.id"), req.Limit)
	return cs, len(until) > 0 || len(cs) == req.Limit, err
}

// SignalledNotRefreshed counts the connections up to After that still wait though their
// wait is over: ReleaseBatch returned them, and they have not refreshed yet.
func (s *Store) SignalledNotRefreshed(ctx context.Context, req ReleaseBatchRequest) (int, error) {
	if req.After.At.IsZero() {
		return 0, nil
	}
	var n int64
	now, err := s.Now(ctx)
	if err == nil {
		err = s.waitOver(ctx, req, now).Where("(c.next_attempt_at, c.id) <= (?, ?)", db.Nullable(req.After.At), req.After.ID).Count(&n).Error
	}
	if err != nil {
		return 0, fmt.Errorf("count the signalled connections of app %s: %w", req.App, err)
	}
	return int(n), nil
}

// waitOver selects the connections of an app that are parked and whose wait is over.
func (s *Store) waitOver(ctx context.Context, req ReleaseBatchRequest, now time.Time) *gorm.DB {
	q := s.db.With(ctx).Table("connections AS c").Where("c.status = 'active' AND c.app = ? AND c.queued_at IS NOT NULL AND c.next_attempt_at <= ?", req.App, db.Nullable(now))
	if req.Pooled {
		q = q.Where("NOT (" + innocent + ")")
	}
	return q
}
