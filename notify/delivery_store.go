package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// deliveryRow is the delivery of one event to one endpoint.
type deliveryRow struct {
	EventID     string     `gorm:"column:event_id;primaryKey"`
	EndpointID  string     `gorm:"column:endpoint_id;primaryKey"`
	State       string     `gorm:"column:state"`
	Tries       int        `gorm:"column:tries"`
	LastStatus  int        `gorm:"column:last_status"`
	LastError   string     `gorm:"column:last_error"`
	NextTryAt   *time.Time `gorm:"column:next_try_at"`
	DeliveredAt *time.Time `gorm:"column:delivered_at"`
	CreatedAt   *time.Time `gorm:"column:created_at;autoCreateTime:false"`
}

// TableName implements gorm's Tabler.
func (deliveryRow) TableName() string { return "webhook_deliveries" }

func newDelivery(event outbox.Row, to perennial.WebhookEndpoint, at time.Time) deliveryRow {
	return deliveryRow{EventID: event.ID, EndpointID: to.ID, State: string(perennial.DeliveryPending), CreatedAt: &at}
}

func (r deliveryRow) delivery() perennial.Delivery {
	return perennial.Delivery{EventID: r.EventID, EndpointID: r.EndpointID, State: perennial.DeliveryState(r.State), Tries: r.Tries, LastStatus: r.LastStatus,
		LastError: r.LastError, NextTryAt: db.Time(r.NextTryAt), DeliveredAt: db.Time(r.DeliveredAt), CreatedAt: db.Time(r.CreatedAt)}
}

// unplanned matches the events without deliveries yet.
const unplanned = "delivered_at IS NULL AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.event_id = outbox.id)"

// PlanDeliveries takes at most limit new events, oldest first, and writes a pending
// delivery for each endpoint that subscribes to them. An event without subscribers
// counts as delivered. It returns how many events it took. Many processes may call it
// at once; no delivery is made twice.
func (s *Store) PlanDeliveries(ctx context.Context, limit int) (int, error) {
	var some []outbox.Row
	if err := s.db.With(ctx).Where(unplanned).Limit(1).Find(&some).Error; err != nil || len(some) == 0 {
		return 0, db.Wrap("look for new events", err) // mostly there is nothing; then lock nothing
	}
	planned := 0
	err := s.db.Durably(ctx, "plan deliveries", func(tx *gorm.DB) error {
		q := tx.Where(unplanned).Order("created_at, id").Limit(limit)
		if s.db.Dialect == schema.Postgres {
			q = q.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}) // another process plans those
		}
		var rows []outbox.Row
		if err := q.Find(&rows).Error; err != nil {
			return fmt.Errorf("read the new events: %w", err)
		}
		planned = len(rows)
		all, err := endpoints(tx, perennial.WorkerAccess())
		if err != nil {
			return err
		}
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		at := now.UTC().Truncate(time.Microsecond)
		var deliveries []deliveryRow
		var unwanted []string
		for _, r := range rows {
			before := len(deliveries)
			for _, w := range all {
				if w.Wants(r.Head()) {
					deliveries = append(deliveries, newDelivery(r, w, at))
				}
			}
			if len(deliveries) == before {
				unwanted = append(unwanted, r.ID)
			}
		}
		if len(deliveries) > 0 {
			if err := tx.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(&deliveries, 500).Error; err != nil {
				return fmt.Errorf("write deliveries: %w", err)
			}
		}
		if len(unwanted) > 0 {
			if err := tx.Exec("UPDATE outbox SET delivered_at = ? WHERE delivered_at IS NULL AND id IN ?", db.Nullable(now), unwanted).Error; err != nil {
				return fmt.Errorf("settle events that nobody wants: %w", err)
			}
		}
		return nil
	})
	return planned, err
}

// DueDeliveries returns pending deliveries that were never started, and those whose
// next try is more than grace ago, so that their workflow must be gone. At most limit.
func (s *Store) DueDeliveries(ctx context.Context, grace time.Duration, limit int) ([]perennial.Delivery, error) {
	now, err := s.db.Now(ctx)
	if err != nil {
		return nil, err
	}
	return deliveries(s.db.With(ctx).Where("state = 'pending' AND (next_try_at IS NULL OR next_try_at <= ?)", db.Nullable(now.Add(-grace))).
		Order("created_at, event_id").Limit(limit))
}

// DeliveryStarted records that a delivery's workflow was started now.
func (s *Store) DeliveryStarted(ctx context.Context, d perennial.Delivery) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	q := s.db.With(ctx).Table("webhook_deliveries").Where("event_id = ? AND endpoint_id = ? AND state = 'pending'", d.EventID, d.EndpointID)
	if d.NextTryAt.IsZero() {
		q = q.Where("next_try_at IS NULL") // its workflow may have written a later time already
	} else {
		q = q.Where("next_try_at <= ?", db.Nullable(now))
	}
	return db.Wrap("note the delivery of event "+d.EventID, q.Update("next_try_at", db.Nullable(now)).Error)
}

// reachDeliveries narrows a query of deliveries to those of the endpoints that an access
// reaches.
func (s *Store) reachDeliveries(ctx context.Context, access perennial.Access) *gorm.DB {
	q := s.db.With(ctx)
	if access.Everything() {
		return q
	}
	return q.Where("endpoint_id IN (?)", reach(s.db.With(ctx).Table("webhook_endpoints").Select("id"), access))
}

// Deliveries returns the last deliveries that the access reaches, newest first, at most limit: of one state, or
// all for an empty state.
func (s *Store) Deliveries(ctx context.Context, access perennial.Access, state perennial.DeliveryState, limit int) ([]perennial.Delivery, error) {
	q := s.reachDeliveries(ctx, access).Order("created_at DESC, event_id DESC, endpoint_id").Limit(limit)
	if state != "" {
		q = q.Where("state = ?", string(state))
	}
	return deliveries(q)
}

// DeliveryFilter narrows a list of deliveries. Zero fields match
// everything.
type DeliveryFilter struct {
	EndpointID string
	State      perennial.DeliveryState
	// After is the delivery before the page: its EventID, EndpointID and CreatedAt.
	After perennial.Delivery
	Limit int // 0: 100; at most 1,000
}

// DeliveriesOf returns the deliveries that the access reaches, newest first, including
// those to removed endpoints.
func (s *Store) DeliveriesOf(ctx context.Context, access perennial.Access, f DeliveryFilter) ([]perennial.Delivery, error) {
	q := s.reachDeliveries(ctx, access).
		Order("created_at DESC, event_id DESC, endpoint_id")
	if f.EndpointID != "" {
		q = q.Where("endpoint_id = ?", f.EndpointID)
	}
	if f.State != "" {
		q = q.Where("state = ?", string(f.State))
	}
	if a := f.After; a.EventID != "" {
		q = q.Where("created_at < ? OR created_at = ? AND (event_id < ? OR event_id = ? AND endpoint_id > ?)",
			db.Nullable(a.CreatedAt), db.Nullable(a.CreatedAt), a.EventID, a.EventID, a.EndpointID)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	return deliveries(q.Limit(min(limit, 1000)))
}

func deliveries(q *gorm.DB) ([]perennial.Delivery, error) {
	var rows []deliveryRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the deliveries: %w", err)
	}
	var out []perennial.Delivery
	for _, r := range rows {
		out = append(out, r.delivery())
	}
	return out, nil
}
