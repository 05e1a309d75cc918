package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"gorm.io/gorm"
)

// DeliveryPayload has everything that the delivery of one event to one endpoint needs.
type DeliveryPayload struct {
	Delivery perennial.Delivery
	Event    perennial.Event
	Endpoint perennial.WebhookEndpoint
	Now      time.Time // the database's clock
}

// DeliveryPayload reads one delivery with its event and its endpoint. If one of them is
// gone, it returns an error of [perennial.CodeNotFound].
func (s *Store) DeliveryPayload(ctx context.Context, event, endpoint string) (DeliveryPayload, error) {
	var p DeliveryPayload
	q := s.db.With(ctx)
	found, err := deliveries(q.Where("event_id = ? AND endpoint_id = ?", event, endpoint).Limit(1))
	if err != nil {
		return p, err
	}
	var rows []outbox.Row
	if err := q.Where("id = ?", event).Limit(1).Find(&rows).Error; err != nil {
		return p, fmt.Errorf("read event %s: %w", event, err)
	}
	if len(found) == 0 || len(rows) == 0 {
		return p, noDelivery(event, endpoint)
	}
	p.Delivery = found[0]
	if p.Event, err = rows[0].Event(); err != nil {
		return p, err
	}
	if p.Endpoint, err = s.Endpoint(ctx, perennial.WorkerAccess(), endpoint); err != nil {
		return p, err
	}
	p.Now, err = s.db.Now(ctx)
	return p, err
}

func noDelivery(event, endpoint string) error {
	return perennial.Errorf(perennial.CodeNotFound, "there is no delivery of event %q to endpoint %q: `perennial webhook deliveries` shows those that there are", event, endpoint)
}

// DeliveryResult is the result of one try.
type DeliveryResult struct {
	EventID, EndpointID string
	State               perennial.DeliveryState // pending: there will be another try
	Status              int                     // the HTTP status; 0: no reply
	Error               string                  // in our words; empty if delivered
	Next                time.Duration           // if pending: the time until the next try
	NotSent             bool                    // given up without a try
}

// RecordDelivery records the result of a try. A delivery that is no longer pending
// stays as it is.
func (s *Store) RecordDelivery(ctx context.Context, t DeliveryResult) error {
	return s.db.Durably(ctx, "record the delivery of event "+t.EventID, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		return finish(tx, t.delivery(now), now)
	})
}

// delivery returns the fields that a result adds to its delivery.
func (t DeliveryResult) delivery(now time.Time) perennial.Delivery {
	d := perennial.Delivery{EventID: t.EventID, EndpointID: t.EndpointID, State: t.State, Tries: 1, LastStatus: t.Status, LastError: t.Error}
	if t.NotSent {
		d.Tries = 0
	}
	if t.State == perennial.DeliveryPending {
		d.NextTryAt = now.Add(t.Next)
	}
	return d
}

// finish writes the new state of a pending delivery, and settles its event if no other
// delivery of it is pending. It adds d.Tries.
func finish(tx *gorm.DB, d perennial.Delivery, now time.Time) error {
	set := map[string]any{"state": string(d.State), "tries": gorm.Expr("tries + ?", d.Tries), "next_try_at": db.Nullable(d.NextTryAt), "last_error": d.LastError}
	if d.Tries > 0 {
		set["last_status"] = d.LastStatus
	}
	if d.State == perennial.DeliveryDelivered {
		set["delivered_at"] = db.Nullable(now)
	}
	// Lock the event first: if two of its deliveries end at once, the later one settles
	// it.
	err := tx.Exec("UPDATE outbox SET tries = tries + ?, last_error = ? WHERE id = ?", d.Tries, d.LastError, d.EventID).Error
	if err == nil {
		err = tx.Table("webhook_deliveries").Where("event_id = ? AND endpoint_id = ? AND state = 'pending'", d.EventID, d.EndpointID).Updates(set).Error
	}
	if err == nil && d.State != perennial.DeliveryPending {
		err = tx.Exec("UPDATE outbox SET delivered_at = ? WHERE id = ? AND delivered_at IS NULL AND NOT EXISTS"+
			" (SELECT 1 FROM webhook_deliveries d WHERE d.event_id = outbox.id AND d.state = 'pending')", db.Nullable(now), d.EventID).Error
	}
	return db.Wrap("record the delivery of event "+d.EventID, err)
}

// Redeliver makes a dead or delivered delivery pending again, due now, with a new count
// of tries. It returns an error of [perennial.CodeConflict] if the delivery is pending,
// because it is tried again anyway, or if the endpoint was removed.
func (s *Store) Redeliver(ctx context.Context, access perennial.Access, event, endpoint string) error {
	if _, err := s.Endpoint(ctx, access, endpoint); err != nil {
		return err
	}
	p, err := s.DeliveryPayload(ctx, event, endpoint)
	if err != nil {
		return err
	}
	if !p.Endpoint.DisabledAt.IsZero() {
		return perennial.Errorf(perennial.CodeConflict, "webhook endpoint %s was removed", endpoint)
	}
	result := s.db.With(ctx).Exec("UPDATE webhook_deliveries SET state = 'pending', tries = 0, next_try_at = NULL, delivered_at = NULL WHERE event_id = ? AND endpoint_id = ? AND state <> 'pending'"+
		" AND EXISTS (SELECT 1 FROM webhook_endpoints w WHERE w.id = endpoint_id AND w.disabled_at IS NULL)", event, endpoint)
	if result.Error != nil {
		return fmt.Errorf("redeliver event %s: %w", event, result.Error)
	}
	if result.RowsAffected == 0 {
		return perennial.Errorf(perennial.CodeConflict, "event %s is on its way to endpoint %s already", event, endpoint)
	}
	return nil
}
