package api

import (
	"context"
	"encoding/json"
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
	Every      bool       `gorm:"column:every_tenant"`
	Name       string     `gorm:"column:name"`
	Scopes     string     `gorm:"column:scopes"`
	Apps       string     `gorm:"column:apps"`
	SecretHash []byte     `gorm:"column:secret_hash"` // empty: the hash is in Digest
	Digest     []byte     `gorm:"column:digest"`
	CreatedAt  *time.Time `gorm:"column:created_at;autoCreateTime:false"`
	LastUsedAt *time.Time `gorm:"column:last_used_at"`
	RevokedAt  *time.Time `gorm:"column:revoked_at"`
	ExpiresAt  *time.Time `gorm:"column:expires_at"`
}

// noTenant is the tenant_id of a key of every tenant: the column must not be empty.
const noTenant = "*"

// TableName implements gorm's Tabler.
func (keyRow) TableName() string { return "api_keys" }

func (r keyRow) key() perennial.APIKey {
	k := perennial.APIKey{ID: r.ID, TenantID: r.TenantID, EveryTenant: r.Every, Name: r.Name, SecretHash: r.SecretHash,
		CreatedAt: db.Time(r.CreatedAt), LastUsedAt: db.Time(r.LastUsedAt), RevokedAt: db.Time(r.RevokedAt), ExpiresAt: db.Time(r.ExpiresAt)}
	if k.EveryTenant {
		k.TenantID = ""
	}
	if len(r.Digest) > 0 {
		k.SecretHash = r.Digest
	}
	if r.Apps != "" {
		k.Apps = appsOf(r.Apps)
	}
	for _, scope := range strings.Fields(r.Scopes) {
		k.Scopes = append(k.Scopes, perennial.Scope(scope))
	}
	return k
}

// appsOf reads the column apps. One that cannot be read allows no app.
func appsOf(column string) []string {
	var apps []string
	if err := json.Unmarshal([]byte(column), &apps); err != nil || len(apps) == 0 {
		return []string{""} // no app has this name
	}
	return apps
}

// Add writes a new API key and returns it as stored. A key without a tenant, a scope
// or a hash, or with invisible characters in its names, is an error of
// [perennial.CodeInvalid], as is a key that reaches more than the access.
func (s *KeyStore) Add(ctx context.Context, access perennial.Access, k perennial.APIKey) (perennial.APIKey, error) {
	if err := checkKey(access, k); err != nil {
		return k, err
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

// checkKey refuses a key that cannot be stored, or that reaches more than the access of
// the one who makes it.
func checkKey(access perennial.Access, k perennial.APIKey) error {
	whole, err := k.Access()
	switch {
	case err != nil || k.ID == "" || len(k.Scopes) == 0 || len(k.SecretHash) == 0:
		return perennial.Errorf(perennial.CodeInvalid, "an API key needs an id, a tenant, a scope and a secret")
	case k.EveryTenant && perennial.CheckTenant(k.TenantID) == nil:
		return perennial.Errorf(perennial.CodeInvalid, "an API key is of one tenant or of every tenant, not both")
	case !access.Covers(whole):
		return perennial.Errorf(perennial.CodeInvalid, "an API key cannot reach more than whoever makes it")
	}
	for _, name := range append([]string{k.TenantID, k.Name}, k.Apps...) {
		if !printable.Is(name) {
			return perennial.Errorf(perennial.CodeInvalid, "the names of an API key, of its tenant and of its apps must be text without control or invisible characters")
		}
	}
	return nil
}

// keyRowOf returns the row of a new key.
func keyRowOf(k perennial.APIKey, now time.Time) keyRow {
	at := now.UTC().Truncate(time.Microsecond)
	var scopes []string
	for _, scope := range k.Scopes {
		scopes = append(scopes, string(scope))
	}
	r := keyRow{ID: k.ID, TenantID: k.TenantID, Every: k.EveryTenant, Name: k.Name, Scopes: strings.Join(scopes, " "), SecretHash: k.SecretHash, CreatedAt: &at}
	if k.EveryTenant {
		r.TenantID = noTenant
	}
	if len(k.Apps) > 0 {
		apps, _ := json.Marshal(k.Apps) // a list of strings always marshals
		r.Apps = string(apps)
	}
	if !k.ExpiresAt.IsZero() {
		ends := k.ExpiresAt.UTC().Truncate(time.Microsecond)
		r.ExpiresAt = &ends
	}
	if r.Every || r.Apps != "" || r.ExpiresAt != nil { // an older program must not take it for a key without limits
		r.SecretHash, r.Digest = []byte{}, k.SecretHash
	}
	return r
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

// reachKeys narrows a query of keys to those that an access reaches. One that is limited
// to some apps reaches none.
func reachKeys(q *gorm.DB, access perennial.Access) *gorm.DB {
	if _, limited := access.Apps(); limited {
		return q.Where("1 = 0")
	}
	if !access.EveryTenant() {
		q = q.Where("NOT every_tenant")
	}
	return db.ReachTenants(q, access)
}

// List lists the API keys that the access reaches: oldest first, with the revoked ones.
func (s *KeyStore) List(ctx context.Context, access perennial.Access) ([]perennial.APIKey, error) {
	q := reachKeys(s.db.With(ctx), access).Order("created_at, id")
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
func (s *KeyStore) Revoke(ctx context.Context, access perennial.Access, id string) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	result := reachKeys(s.db.With(ctx).Table("api_keys"), access).Where("id = ?", id).Update("revoked_at", gorm.Expr("COALESCE(revoked_at, ?)", db.Nullable(now)))
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
