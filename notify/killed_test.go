package notify_test

import (
	"context"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/stretchr/testify/require"
)

// TestKilledBetweenStatements: a process that dies between two statements leaves no
// event marked as delivered beside a pending delivery of it, and no delivery without its
// event.
func TestKilledBetweenStatements(t *testing.T) {
	t.Parallel()
	planned := func(t *testing.T, b *rows) {
		b.endpoint(t, "a", "")
		b.endpoint(t, "b", "")
		b.change(t)
		b.plan(t)
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, b *rows)
		do      func(ctx context.Context, d *db.DB, s *notify.Store) error
	}{
		"planned": {func(t *testing.T, b *rows) {
			b.endpoint(t, "a", "acme")
			b.endpoint(t, "b", "acme", perennial.EventConnected)
			b.endpoint(t, "c", "another")
			b.change(t)
		}, func(ctx context.Context, _ *db.DB, s *notify.Store) error {
			_, err := s.PlanDeliveries(ctx, 10)
			return err
		}},
		"delivered to the last": {func(t *testing.T, b *rows) {
			planned(t, b)
			require.NoError(t, b.RecordDelivery(t.Context(), notify.DeliveryResult{EventID: b.event(t).ID, EndpointID: "a", State: perennial.DeliveryDelivered, Status: 200}))
		}, func(ctx context.Context, d *db.DB, s *notify.Store) error {
			events, err := outbox.Last(d.With(ctx), "", 1)
			if err != nil {
				return err
			}
			return s.RecordDelivery(ctx, notify.DeliveryResult{EventID: events[0].ID, EndpointID: "b", State: perennial.DeliveryDelivered, Status: 200})
		}},
		"endpoint removed": {func(t *testing.T, b *rows) {
			planned(t, b)
			b.change(t)
			b.plan(t)
		}, func(ctx context.Context, _ *db.DB, s *notify.Store) error {
			return s.RemoveEndpoint(ctx, perennial.WorkerAccess(), "a")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Killed(t, dbtest.Change{State: []string{
				"SELECT id, disabled_at IS NULL, secret_sealed IS NULL FROM webhook_endpoints ORDER BY id",
				"SELECT endpoint_id, state, tries, last_error FROM webhook_deliveries ORDER BY endpoint_id",
				"SELECT type, tries, last_error, delivered_at IS NULL FROM outbox ORDER BY created_at",
			},
				Prepare: func(t *testing.T, d *dbtest.Database) { c.prepare(t, &rows{d, notify.NewStore(d.DB)}) },
				Do:      func(ctx context.Context, d *db.DB) error { return c.do(ctx, d, notify.NewStore(d)) }})
		})
	}
}
