package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/schema"
)

// forUse has the columns needed to hand out an access token; no refresh token is among
// them.
var forUse = connections.only("app", "provider", "host", "account_id", "status", "reason", "health", "failing_code", "generation", "access_token_sealed", "token_type",
	"expires_at", "next_refresh_at", "next_attempt_at", "confirm_at", "last_refreshed_at", "last_used_at", "forced_at", "forced_count", "updated_at")

var (
	forUsePostgres = "SELECT " + forUse.list("connections") + ", clock_timestamp() FROM connections WHERE id = $1 AND tenant_id = $2"
	forUseSQLite   = "SELECT " + forUse.list("connections") + ", strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM connections WHERE id = ? AND tenant_id = ?"
)

// ForTokenRead returns the parts of a connection that are needed to hand out its access
// token, and the database's clock. One that the access does not reach is an error of
// [perennial.CodeNotFound], like a missing one. The access must name one tenant.
//
// It is called far more often than anything else here: one statement in one round trip,
// without the mapper.
func (s *Store) ForTokenRead(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error) {
	tenant, err := access.OneTenant()
	if err != nil {
		return perennial.Connection{}, time.Time{}, err
	}
	statement, at := forUsePostgres, any(new(time.Time))
	if s.db.Dialect == schema.SQLite {
		statement, at = forUseSQLite, any(new(string))
	}
	c, found, err := oneRow(ctx, s.db.SQL, forUse, at, statement, id, tenant)
	if err != nil {
		return perennial.Connection{}, time.Time{}, fmt.Errorf("read connection %s: %w", id, err)
	}
	if !found || !access.ReachesApp(c.App) {
		return perennial.Connection{}, time.Time{}, notFound(id)
	}
	c.ID, c.TenantID = id, tenant
	if text, ok := at.(*string); ok {
		now, err := time.Parse(time.RFC3339Nano, *text)
		return c, now, err
	}
	return c, at.(*time.Time).UTC(), nil
}

// ReconnectSince returns when the connection entered reconnect_required: the time of
// its event, or of the row's last write if the event was deleted.
func (s *Store) ReconnectSince(ctx context.Context, access perennial.Access, c perennial.Connection) (time.Time, error) {
	var rows []struct {
		CreatedAt *time.Time
	}
	err := db.Reach(s.db.With(ctx).Table("outbox"), access).Select("created_at").
		Where("connection_id = ? AND type = ?", c.ID, string(perennial.EventReconnectRequired)).Order("created_at DESC").Limit(1).Scan(&rows).Error
	if err != nil {
		return time.Time{}, fmt.Errorf("read since when connection %s waits for its user: %w", c.ID, err)
	}
	if len(rows) == 0 {
		return c.UpdatedAt, nil
	}
	return db.Time(rows[0].CreatedAt), nil
}

// unauthorizedEvery bounds how often last_unauthorized_at is written: a storm of 401s
// must not become a storm of writes.
const unauthorizedEvery = time.Second

// TouchUnauthorized records that an API refused a token of the connection, at most once
// a second. A missing row is not an error.
func (s *Store) TouchUnauthorized(ctx context.Context, access perennial.Access, id string) error {
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	err = db.Reach(s.db.With(ctx).Table("connections"), access).
		Where("id = ? AND (last_unauthorized_at IS NULL OR last_unauthorized_at <= ?)", id, db.Nullable(now.Add(-unauthorizedEvery))).
		Updates(map[string]any{"last_unauthorized_at": db.Nullable(now)}).Error
	if err != nil {
		return fmt.Errorf("note the 401 of connection %s: %w", id, err)
	}
	return nil
}
