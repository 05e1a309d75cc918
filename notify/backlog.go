package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/internal/db"
)

// Backlog counts the deliveries that need a person. Each number is counted up to the
// limit that was asked for.
type Backlog struct {
	Dead      int64     // given up
	Endpoints []string  // ids of the endpoints with a dead delivery, at most ten
	Late      int64     // pending, and their next try is overdue
	LateSince time.Time // the oldest of those times
	Unplanned int64     // events that no worker has looked at for that long
}

// Backlog counts the deliveries that need a person: the dead ones, and those late by
// more than late.
func (s *Store) Backlog(ctx context.Context, late time.Duration, limit int) (b Backlog, err error) {
	now, err := s.Now(ctx)
	if err != nil {
		return b, err
	}
	q, past := s.db.With(ctx), db.Nullable(now.Add(-late))
	// As literals the states lead to the small indexes of dead and pending deliveries.
	dead := q.Table("webhook_deliveries").Where("state = 'dead'").Order("created_at DESC").Limit(limit)
	pending := q.Table("webhook_deliveries").Select("next_try_at").Where("state = 'pending' AND next_try_at <= ?", past).Limit(limit)
	events := q.Table("outbox").Select("id").Where("delivered_at IS NULL AND created_at <= ?", past).Order("created_at").Limit(limit)
	var oldest []deliveryRow
	for _, err := range []error{
		q.Table("(?) AS dead", dead).Count(&b.Dead).Error,
		q.Table("(?) AS dead", dead).Distinct("endpoint_id").Order("endpoint_id").Limit(10).Pluck("endpoint_id", &b.Endpoints).Error,
		q.Table("(?) AS pending", pending).Count(&b.Late).Error,
		q.Where("state = 'pending' AND next_try_at <= ?", past).Order("next_try_at").Limit(1).Find(&oldest).Error,
		q.Table("(?) AS late", events).Where("NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.event_id = late.id)").Count(&b.Unplanned).Error,
	} {
		if err != nil {
			return b, fmt.Errorf("read the deliveries: %w", err)
		}
	}
	if len(oldest) > 0 {
		b.LateSince = db.Time(oldest[0].NextTryAt)
	}
	return b, nil
}
