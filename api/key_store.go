package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/printable"
	"gorm.io/gorm"
)

// KeyStore keeps API keys: the hashes of their secrets, never the secrets. It is safe
// for concurrent use by many processes.
type KeyStore struct{ db *db.DB }

// NewKeyStore returns the store of an open database.
func NewKeyStore(d *db.DB) *KeyStore { return &KeyStore{db: d} }

// keyRow is a row of the table api_keys.
type keyRow struct {
	ID         string     `gorm:"column:id;primaryKey"`
	TenantID   string     `gorm:"column:tenant_id"`
	Name       string     `gorm:"column:name"`
	Scopes     string     `gorm:"column:scopes"`
	SecretHash []byte     `gorm:"column:secret_hash"`
	CreatedAt  *time.Time `gorm:"column:created_at;autoCreateTime:false"`
	LastUsedAt *time.Time `gorm:"column:last_used_at"`
	RevokedAt  *time.Time `gorm:"column:revoked_at"`
}

// TableName implements gorm's Tabler.
func (keyRow) TableName() string { return "api_keys" }

func (r keyRow) key() perennial.APIKey {
	k := perennial.APIKey{ID: r.ID, TenantID: r.TenantID, Name: r.Name, SecretHash: r.SecretHash,
		CreatedAt: db.Time(r.CreatedAt), LastUsedAt: db.Time(r.LastUsedAt), RevokedAt: db.Time(r.RevokedAt)}
	for _, scope := range strings.Fields(r.Scopes) {
		k.Scopes = append(k.Scopes, perennial.Scope(scope))
	}
	return k
}

// Add writes a new API key and returns it as stored. A key without a tenant, a scope
// or a hash, or with invisible characters in its names, is an error of
// [perennial.CodeInvalid].
func (s *KeyStore) Add(ctx context.Context, k perennial.APIKey) (perennial.APIKey, error) {
	if k.ID == "" || k.TenantID == "" || len(k.Scopes) == 0 || len(k.SecretHash) == 0 {
		return k, perennial.Errorf(perennial.CodeInvalid, "an API key needs an id, a tenant, a scope and a secret")
	}
	if !printable.Is(k.TenantID) || !printable.Is(k.Name) {
		return k, perennial.Errorf(perennial.CodeInvalid, "the names of an API key and of its tenant must be text without control or invisible characters")
	}
	err := s.db.Durably(ctx, "write API key "+k.ID, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		r := keyRowOf(k, now)
		if err := tx.Create(&r).Error; err != nil {
			return fmt.Errorf("write API key %s: %w", k.ID, err)
		}
		k = r.key()
		return nil
	})
	return k, err
}

// keyRowOf returns the row of a new key.
func keyRowOf(k perennial.APIKey, now time.Time) keyRow {
	at := now.UTC().Truncate(time.Microsecond)
	var scopes []string
	for _, scope := range k.Scopes {
		scopes = append(scopes, string(scope))
	}
	return keyRow{ID: k.ID, TenantID: k.TenantID, Name: k.Name, Scopes: strings.Join(scopes, " "), SecretHash: k.SecretHash, CreatedAt: &at}
}

// Get returns an API key, even a revoked one.
func (s *KeyStore) Get(ctx context.Context, id string) (perennial.APIKey, error) {
	var rows []keyRow
	if err := s.db.With(ctx).Where("id = ?", id).Limit(1).Find(&rows).Error; err != nil {
		return perennial.APIKey{}, fmt.Errorf("read API key %s: %w", id, err)
	}
	if len(rows) == 0 {
		return perennial.APIKey{}, noKey(id)
	}
	return rows[0].key(), nil
}

func noKey(id string) error {
	return perennial.Errorf(perennial.CodeNotFound, "there is no API key %q: `perennial apikey list` shows those that there are", id)
}

// List lists the API keys of a tenant, or all for an empty tenant: oldest first, with
// the revoked ones.
func (s *KeyStore) List(ctx context.Context, tenant string) ([]perennial.APIKey, error) {
	q := s.db.With(ctx).Order("created_at, id")
	if tenant != "" {
		q = q.Where("tenant_id = ?", tenant)
	}
	var rows []keyRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the API keys: %w", err)
	}
	var out []perennial.APIKey
	for _, r := range rows {
		out = append(out, r.key())
	}
	return out, nil
}

// Revoke ends an API key for good. A key that was revoked before keeps the time of
// that.
func (s *KeyStore) Revoke(ctx context.Context, id string) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	result := s.db.With(ctx).Exec("UPDATE api_keys SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ?", db.Nullable(now), id)
	if result.Error != nil {
		return fmt.Errorf("revoke API key %s: %w", id, result.Error)
	}
	if result.RowsAffected == 0 {
		return noKey(id)
	}
	return nil
}

// keyTouchedEvery bounds how often last_used_at is written.
const keyTouchedEvery = time.Hour

// Touch records the use of a key, at most once an hour. A missing key is not an
// error.
func (s *KeyStore) Touch(ctx context.Context, id string) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	return db.Wrap("note the use of API key "+id, s.db.With(ctx).Exec("UPDATE api_keys SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= ?)",
		db.Nullable(now), id, db.Nullable(now.Add(-keyTouchedEvery))).Error)
}
