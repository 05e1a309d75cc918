package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"gorm.io/gorm"
)

// Turn is a place in the order in which waiting connections are let go.
type ReleaseCursor struct {
	At time.Time `json:"at,omitzero"`
	ID string    `json:"id,omitempty"`
}

// ReleasingApps names the apps whose circuit has closed and whose waiting connections
// are being let go, in their order.
func (s *Store) ReleasingApps(ctx context.Context) (apps []string, err error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	err = s.db.WithContext(ctx).Model(&appRow{}).Where("release_until > ?", nullable(now)).Order("app").Pluck("app", &apps).Error
	if err != nil {
		return nil, fmt.Errorf("find the apps whose connections are being released: %w", err)
	}
	return apps, nil
}

// ReleaseBatchRequest asks for the waiting connections of an app whose turn has come.
type ReleaseBatchRequest struct {
	App    string
	Pooled bool // those that pacers take are left to them
	After  ReleaseCursor
	Limit  int
}

// LetGo returns the waiting connections of an app whose turn has come since After,
// at most Limit, in the order of their turns, and whether the release goes on: then
// more may come. At the first look, with After zero, who was held while the circuit
// closed, and would wait for longer than the release lasts, is called in: once, for
// who is held again has another cause.
func (s *Store) ReleaseBatch(ctx context.Context, req ReleaseBatchRequest) (cs []perennial.Connection, more bool, err error) {
	db := s.db.WithContext(ctx)
	fail := func(err error) ([]perennial.Connection, bool, error) {
		return nil, false, fmt.Errorf("release the connections of app %s: %w", req.App, err)
	}
	now, err := s.Now(ctx)
	if err != nil {
		return fail(err)
	}
	var until []time.Time
	if err := db.Model(&appRow{}).Where("app = ? AND release_until > ?", req.App, nullable(now)).Pluck("release_until", &until).Error; err != nil {
		return fail(err)
	}
	first := req.After.At.IsZero()
	if len(until) > 0 && first {
		err := db.Table("connections").Where("status = 'active' AND app = ? AND queued_at IS NOT NULL AND attempt_id = '' AND (failure_count = 0 OR failing_code = ?) AND next_attempt_at > ?", req.App, CodeCircuitOpen, nullable(until[0])).
			Where("NOT EXISTS (SELECT 1 FROM circuits WHERE circuits.app = connections.app AND circuits.host = connections.host AND circuits.reason <> '')").
			Updates(map[string]any{"next_attempt_at": nullable(now)}).Error
		if err != nil {
			return fail(err)
		}
	}
	q := s.waitOver(ctx, req, now)
	if !first {
		q = q.Where("(c.next_attempt_at, c.id) > (?, ?)", nullable(req.After.At), req.After.ID)
	}
	cs, err = s.swept(q.Order("c.next_attempt_at, c.id"), req.Limit)
	return cs, len(until) > 0 || len(cs) == req.Limit, err
}

// Called counts those up to After who wait though their turn has come: LetGo returned
// them, and they have not gone yet.
func (s *Store) SignalledNotRefreshed(ctx context.Context, req ReleaseBatchRequest) (int, error) {
	if req.After.At.IsZero() {
		return 0, nil
	}
	var n int64
	now, err := s.Now(ctx)
	if err == nil {
		err = s.waitOver(ctx, req, now).Where("(c.next_attempt_at, c.id) <= (?, ?)", nullable(req.After.At), req.After.ID).Count(&n).Error
	}
	if err != nil {
		return 0, fmt.Errorf("count the signalled connections of app %s: %w", req.App, err)
	}
	return int(n), nil
}

// waitOver finds the connections of an app that wait though their turn has come.
func (s *Store) waitOver(ctx context.Context, req ReleaseBatchRequest, now time.Time) *gorm.DB {
	q := s.db.WithContext(ctx).Table("connections AS c").Where("c.status = 'active' AND c.app = ? AND c.queued_at IS NOT NULL AND c.next_attempt_at <= ?", req.App, nullable(now))
	if req.Pooled {
		q = q.Where("NOT (" + innocent + ")")
	}
	return q
}
