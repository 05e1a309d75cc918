package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
)

// Turn is a place in the order in which waiting connections are let go.
type Turn struct {
	At time.Time `json:"at,omitzero"`
	ID string    `json:"id,omitempty"`
}

// LettingGo names the apps whose circuit has closed and whose waiting connections
// are being let go, in their order.
func (s *Store) LettingGo(ctx context.Context) (apps []string, err error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	err = s.db.WithContext(ctx).Model(&appRow{}).Where("release_until > ?", nullable(now)).Order("app").Pluck("app", &apps).Error
	if err != nil {
		return nil, fmt.Errorf("find the apps whose connections are let go: %w", err)
	}
	return apps, nil
}

// LetGo returns the waiting connections of an app whose turn has come since after,
// at most limit, in the order of their turns, and whether the release goes on: then
// more may come. At the first look, with after zero, who was held while the circuit
// closed, and would wait for longer than the release lasts, is called in: once, for
// who is held again has another cause.
func (s *Store) LetGo(ctx context.Context, app string, after Turn, limit int) (cs []perennial.Connection, more bool, err error) {
	db := s.db.WithContext(ctx)
	fail := func(err error) ([]perennial.Connection, bool, error) {
		return nil, false, fmt.Errorf("let the connections of app %s go: %w", app, err)
	}
	now, err := s.Now(ctx)
	if err != nil {
		return fail(err)
	}
	var until []time.Time
	if err := db.Model(&appRow{}).Where("app = ? AND release_until > ?", app, nullable(now)).Pluck("release_until", &until).Error; err != nil {
		return fail(err)
	}
	if len(until) > 0 && after.At.IsZero() {
		err := db.Table("connections").Where("status = 'active' AND app = ? AND queued_at IS NOT NULL AND attempt_id = '' AND (failure_count = 0 OR failing_code = ?) AND next_attempt_at > ?", app, CodeCircuitOpen, nullable(until[0])).
			Where("NOT EXISTS (SELECT 1 FROM circuits WHERE circuits.app = connections.app AND circuits.host = connections.host AND circuits.reason <> '')").
			Updates(map[string]any{"next_attempt_at": nullable(now)}).Error
		if err != nil {
			return fail(err)
		}
	}
	q := db.Where("status = 'active' AND app = ? AND queued_at IS NOT NULL AND next_attempt_at <= ?", app, nullable(now))
	if !after.At.IsZero() {
		q = q.Where("(next_attempt_at, id) > (?, ?)", nullable(after.At), after.ID)
	}
	cs, err = s.swept(q.Order("next_attempt_at, id"), limit)
	return cs, len(until) > 0 || len(cs) == limit, err
}
