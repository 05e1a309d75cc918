package notify

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// endpointRow is a webhook endpoint.
type endpointRow struct {
	ID              string     `gorm:"column:id;primaryKey"`
	TenantID        string     `gorm:"column:tenant_id"`
	URL             string     `gorm:"column:url"`
	Types           string     `gorm:"column:types"`
	SecretSealed    []byte     `gorm:"column:secret_sealed"`
	SecretVersion   int64      `gorm:"column:secret_version"`
	OldSecretSealed []byte     `gorm:"column:old_secret_sealed"`
	OldSecretUntil  *time.Time `gorm:"column:old_secret_until"`
	DisabledAt      *time.Time `gorm:"column:disabled_at"`
	CreatedAt       *time.Time `gorm:"column:created_at;autoCreateTime:false"`
}

// TableName implements gorm's Tabler.
func (endpointRow) TableName() string { return "webhook_endpoints" }

func (r endpointRow) endpoint() perennial.WebhookEndpoint {
	w := perennial.WebhookEndpoint{ID: r.ID, TenantID: r.TenantID, URL: r.URL, SecretSealed: r.SecretSealed, SecretVersion: r.SecretVersion,
		OldSecretSealed: r.OldSecretSealed, OldSecretUntil: db.Time(r.OldSecretUntil), DisabledAt: db.Time(r.DisabledAt), CreatedAt: db.Time(r.CreatedAt)}
	for _, t := range strings.Fields(r.Types) {
		w.Types = append(w.Types, perennial.EventType(t))
	}
	return w
}

// reach narrows a query of endpoints to those that an access reaches. One that is limited
// to some apps reaches none: an endpoint receives the events of all.
func reach(q *gorm.DB, access perennial.Access) *gorm.DB {
	if _, limited := access.Apps(); limited {
		return q.Where("1 = 0")
	}
	return db.ReachTenants(q, access)
}

// AddEndpoint writes a new endpoint, whose secret has version 1, and returns it as
// stored. Without a tenant it is one of all tenants, which takes an access to all.
func (s *Store) AddEndpoint(ctx context.Context, access perennial.Access, w perennial.WebhookEndpoint) (perennial.WebhookEndpoint, error) {
	if _, limited := access.Apps(); limited || !access.Reaches(w.TenantID, "") {
		return w, perennial.Errorf(perennial.CodeInvalid, "an endpoint receives the events of all apps of its tenant, and this access does not reach all of those")
	}
	err := s.db.Durably(ctx, "write webhook endpoint "+w.ID, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		r := newEndpoint(w, now.UTC().Truncate(time.Microsecond))
		if err := tx.Create(&r).Error; err != nil {
			return fmt.Errorf("write webhook endpoint %s: %w", w.ID, err)
		}
		w = r.endpoint()
		return nil
	})
	return w, err
}

// newEndpoint returns the row of an endpoint with its first secret.
func newEndpoint(w perennial.WebhookEndpoint, at time.Time) endpointRow {
	var types []string
	for _, t := range w.Types {
		types = append(types, string(t))
	}
	return endpointRow{ID: w.ID, TenantID: w.TenantID, URL: w.URL, Types: strings.Join(types, " "), SecretSealed: w.SecretSealed, SecretVersion: 1, CreatedAt: &at}
}

// Endpoints returns the endpoints in use that the access reaches, oldest first.
func (s *Store) Endpoints(ctx context.Context, access perennial.Access) ([]perennial.WebhookEndpoint, error) {
	return endpoints(s.db.With(ctx), access)
}

func endpoints(q *gorm.DB, access perennial.Access) ([]perennial.WebhookEndpoint, error) {
	q = reach(q.Where("disabled_at IS NULL"), access).Order("created_at, id")
	var rows []endpointRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the webhook endpoints: %w", err)
	}
	var out []perennial.WebhookEndpoint
	for _, r := range rows {
		out = append(out, r.endpoint())
	}
	return out, nil
}

// Endpoint returns an endpoint, even a removed one. One that the access does not reach is
// not found.
func (s *Store) Endpoint(ctx context.Context, access perennial.Access, id string) (perennial.WebhookEndpoint, error) {
	var rows []endpointRow
	if err := reach(s.db.With(ctx).Where("id = ?", id), access).Limit(1).Find(&rows).Error; err != nil {
		return perennial.WebhookEndpoint{}, fmt.Errorf("read webhook endpoint %s: %w", id, err)
	}
	if len(rows) == 0 {
		return perennial.WebhookEndpoint{}, noEndpoint(id)
	}
	return rows[0].endpoint(), nil
}

func noEndpoint(id string) error {
	return perennial.Errorf(perennial.CodeNotFound, "there is no webhook endpoint %q: `perennial webhook list` shows those that there are", id)
}

// RotateSecret replaces the endpoint's secret by sealed. Its guard is the version of
// the old secret, which stays valid for keep. A secret that was already being replaced
// ends now.
func (s *Store) RotateSecret(ctx context.Context, access perennial.Access, id string, version int64, sealed []byte, keep time.Duration) error {
	return s.db.Durably(ctx, "rotate the secret of webhook endpoint "+id, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		result := reach(tx.Table("webhook_endpoints"), access).Where("id = ? AND secret_version = ? AND disabled_at IS NULL", id, version).
			Updates(map[string]any{"old_secret_sealed": gorm.Expr("secret_sealed"), "old_secret_until": db.Nullable(now.Add(keep)),
				"secret_sealed": sealed, "secret_version": gorm.Expr("secret_version + 1")})
		if result.Error != nil {
			return fmt.Errorf("rotate the secret of webhook endpoint %s: %w", id, result.Error)
		}
		if result.RowsAffected == 0 {
			return perennial.Errorf(perennial.CodeConflict, "webhook endpoint %s was removed, or its secret rotated by somebody else just now", id)
		}
		return nil
	})
}

// RemoveEndpoint ends an endpoint: it wipes the secrets and marks its pending
// deliveries dead.
func (s *Store) RemoveEndpoint(ctx context.Context, access perennial.Access, id string) error {
	return s.db.Durably(ctx, "remove webhook endpoint "+id, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		result := reach(tx.Table("webhook_endpoints"), access).Where("id = ? AND disabled_at IS NULL", id).
			Updates(map[string]any{"disabled_at": db.Nullable(now), "secret_sealed": nil, "old_secret_sealed": nil, "old_secret_until": nil})
		if result.Error != nil {
			return fmt.Errorf("remove webhook endpoint %s: %w", id, result.Error)
		}
		if result.RowsAffected == 0 {
			return noEndpoint(id)
		}
		var events []string
		if err := tx.Raw("SELECT event_id FROM webhook_deliveries WHERE endpoint_id = ? AND state = 'pending' ORDER BY event_id", id).Scan(&events).Error; err != nil {
			return fmt.Errorf("remove webhook endpoint %s: %w", id, err)
		}
		for _, event := range events {
			err := finish(tx, perennial.Delivery{EventID: event, EndpointID: id, State: perennial.DeliveryDead, LastError: "the endpoint was removed"}, now)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
