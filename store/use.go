package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/schema"
)

// useColumns are the columns needed to hand out an access token; no refresh token is
// among them. They are in the order of the scan in ForTokenRead.
const useColumns = `app, provider, host, account_id, status, reason, health, failing_code, generation, access_token_sealed, token_type,
 expires_at, next_refresh_at, next_attempt_at, confirm_at, last_refreshed_at, last_used_at, updated_at`

// ForTokenRead returns the parts of a tenant's connection that are needed to hand out
// its access token, and the database's clock. Another tenant's connection is an error
// of [perennial.CodeNotFound], like a missing one.
//
// It is called far more often than anything else here: one statement in one round trip,
// without the mapper.
func (s *Store) ForTokenRead(ctx context.Context, tenant, id string) (perennial.Connection, time.Time, error) {
	c := perennial.Connection{ID: id, TenantID: tenant}
	var now time.Time
	var text string
	statement, clock := `SELECT `+useColumns+`, clock_timestamp() FROM connections WHERE id = $1 AND tenant_id = $2`, any(&now)
	if s.db.Dialect == schema.SQLite {
		statement, clock = `SELECT `+useColumns+`, strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM connections WHERE id = ? AND tenant_id = ?`, any(&text)
	}
	var expires, due, attempt, confirm, refreshed, used, updated sql.NullTime
	err := s.db.SQL.QueryRowContext(ctx, statement, id, tenant).Scan(&c.App, &c.Provider, &c.Host, &c.AccountID, &c.Status, &c.Reason, &c.Health, &c.FailingCode,
		&c.Generation, &c.AccessTokenSealed, &c.TokenType, &expires, &due, &attempt, &confirm, &refreshed, &used, &updated, clock)
	if err == nil && s.db.Dialect == schema.SQLite {
		now, err = time.Parse(time.RFC3339Nano, text)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return perennial.Connection{}, time.Time{}, notFound(id)
	case err != nil:
		return perennial.Connection{}, time.Time{}, fmt.Errorf("read connection %s: %w", id, err)
	}
	for _, t := range []struct {
		to   *time.Time
		from sql.NullTime
	}{{&c.ExpiresAt, expires}, {&c.NextRefreshAt, due}, {&c.NextAttemptAt, attempt}, {&c.ConfirmAt, confirm},
		{&c.LastRefreshedAt, refreshed}, {&c.LastUsedAt, used}, {&c.UpdatedAt, updated}} {
		if t.from.Valid {
			*t.to = t.from.Time.UTC()
		}
	}
	return c, now.UTC(), nil
}

// ReconnectSince returns when the connection entered reconnect_required: the time of
// its event, or of the row's last write if the event was deleted.
func (s *Store) ReconnectSince(ctx context.Context, c perennial.Connection) (time.Time, error) {
	var rows []struct {
		CreatedAt *time.Time
	}
	err := s.db.With(ctx).Table("outbox").Select("created_at").
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
func (s *Store) TouchUnauthorized(ctx context.Context, id string) error {
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	err = s.db.With(ctx).Table("connections").
		Where("id = ? AND (last_unauthorized_at IS NULL OR last_unauthorized_at <= ?)", id, db.Nullable(now.Add(-unauthorizedEvery))).
		Updates(map[string]any{"last_unauthorized_at": db.Nullable(now)}).Error
	if err != nil {
		return fmt.Errorf("note the 401 of connection %s: %w", id, err)
	}
	return nil
}
