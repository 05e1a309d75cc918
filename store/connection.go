package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// Get returns a connection and the database's clock. A missing one, and one that the
// access does not reach, is an error of [perennial.CodeNotFound].
func (s *Store) Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error) {
	q := s.db.With(ctx)
	rows, err := readConnections(db.Reach(q.Where("id = ?", id), access).Limit(1))
	if err != nil {
		return perennial.Connection{}, time.Time{}, fmt.Errorf("read connection %s: %w", id, err)
	}
	if len(rows) == 0 {
		return perennial.Connection{}, time.Time{}, notFound(id)
	}
	now, err := s.db.Clock(q)
	return rows[0], now, err
}

// FindByAccount returns the live connection of an account; if there is none, the one
// that was disconnected last, which a connect revives; if there is none either, an
// error of [perennial.CodeNotFound]. The access names the tenant.
func (s *Store) FindByAccount(ctx context.Context, access perennial.Access, app, account string) (perennial.Connection, error) {
	if _, err := access.OneTenant(); err != nil {
		return perennial.Connection{}, err
	}
	// Each condition has its own index, which the planner finds by the literal status.
	for _, which := range []string{"status <> 'disconnected'", "status = 'disconnected'"} {
		rows, err := readConnections(db.Reach(s.db.With(ctx), access).Where("app = ? AND account_id = ?", app, account).Where(which).
			Order("updated_at DESC").Limit(1))
		if err != nil {
			return perennial.Connection{}, fmt.Errorf("find account %s of app %s: %w", account, app, err)
		}
		if len(rows) > 0 {
			return rows[0], nil
		}
	}
	return perennial.Connection{}, perennial.Errorf(perennial.CodeNotFound, "account %q is not connected through app %q", account, app)
}

// Insert stores a new connection. If the account is connected already, it returns an
// error of [perennial.CodeConflict].
func (s *Store) Insert(ctx context.Context, access perennial.Access, c perennial.Connection, w TokenWrite) (perennial.Connection, error) {
	if err := perennial.CheckGeneration(c.ID, 0, w.Generation); err != nil {
		return perennial.Connection{}, err
	}
	if !access.Reaches(c.TenantID, c.App) {
		return perennial.Connection{}, perennial.Errorf(perennial.CodeNotFound, "there is no app %q", c.App)
	}
	var out perennial.Connection
	err := s.db.Durably(ctx, "store connection "+c.ID, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		row, err := connections.apply(perennial.Connection{ID: c.ID, TenantID: c.TenantID, App: c.App, Provider: c.Provider, Host: c.Host, AccountID: c.AccountID,
			Cadence: cmp.Or(c.Cadence, perennial.CadenceAlways), CreatedAt: now, UpdatedAt: now}, tokenColumns(w, now))
		if err != nil {
			return err
		}
		if err := connections.insert(tx, row, ""); err != nil {
			if db.IsDuplicate(err) {
				return perennial.Errorf(perennial.CodeConflict, "account %q is already connected through app %q", c.AccountID, c.App)
			}
			return fmt.Errorf("store connection %s: %w", c.ID, err)
		}
		if out, err = reread(tx, c.ID); err != nil {
			return err
		}
		if err := own(tx, out, w, now); err != nil {
			return err
		}
		return emitChange(tx, perennial.Connection{}, out, now)
	})
	return out, err
}

// SetCadence changes how often a connection is refreshed. Signal its workflow
// afterwards.
func (s *Store) SetCadence(ctx context.Context, access perennial.Access, id string, cadence perennial.Cadence) (perennial.Connection, error) {
	if cadence != perennial.CadenceAlways && cadence != perennial.CadenceOnUse {
		return perennial.Connection{}, perennial.Errorf(perennial.CodeInvalid, "there is no cadence %q: it is always or on_use", cadence)
	}
	var out perennial.Connection
	found, err := s.locked(ctx, access, id, func(tx *gorm.DB, c perennial.Connection, now time.Time) error {
		if err := update(tx, id, now, columns{"cadence": string(cadence)}); err != nil {
			return err
		}
		var err error
		out, err = reread(tx, id)
		return err
	})
	if err == nil && !found {
		err = notFound(id)
	}
	return out, err
}

// ReplaceTokens stores a new grant of an existing connection. Its guards are the
// generation and, unless empty, the status from; and the new generation must not be one
// that was given out before the database went backwards. It clears every time and doubt
// of the old grant.
func (s *Store) ReplaceTokens(ctx context.Context, access perennial.Access, id string, from perennial.Status, generation int64, w TokenWrite) (perennial.Connection, error) {
	if err := (perennial.Connection{ID: id, Generation: generation}).CheckNext(w.Generation); err != nil {
		return perennial.Connection{}, err
	}
	return s.guarded(ctx, access, id, generation, &w, func(c perennial.Connection, now time.Time) (columns, bool) {
		return tokenColumns(w, now), (from == "" || c.Status == from) && checkNext(c, w.Generation) == nil
	})
}

// SetStatus changes the status. Its guards are the generation and the statuses in from.
// StatusDisconnected wipes the tokens.
func (s *Store) SetStatus(ctx context.Context, access perennial.Access, id string, from []perennial.Status, generation int64, to perennial.Status, reason perennial.Reason) (perennial.Connection, error) {
	return s.guarded(ctx, access, id, generation, nil, func(c perennial.Connection, _ time.Time) (columns, bool) {
		set := columns{"status": string(to), "reason": string(reason)}
		if to == perennial.StatusDisconnected {
			set.noAttempt().noDoubt().with(columns{"access_token_sealed": nil, "refresh_token_sealed": nil, "refresh_token_digest": "", "next_refresh_at": nil})
		}
		return set, slices.Contains(from, c.Status)
	})
}

// guarded writes the columns that decide returns, if the generation is still the given
// one. w is the token set that they store, or nil.
func (s *Store) guarded(ctx context.Context, access perennial.Access, id string, generation int64, w *TokenWrite, decide func(perennial.Connection, time.Time) (columns, bool)) (perennial.Connection, error) {
	var out perennial.Connection
	found, err := s.locked(ctx, access, id, func(tx *gorm.DB, c perennial.Connection, now time.Time) error {
		set, ok := decide(c, now)
		if !ok || c.Generation != generation {
			return perennial.Errorf(perennial.CodeConflict, "connection %s has moved on: it is %s at generation %d", id, c.Status, c.Generation)
		}
		if err := update(tx, id, now, set); err != nil {
			if db.IsDuplicate(err) {
				return perennial.Errorf(perennial.CodeConflict, "account %q is already connected through app %q", c.AccountID, c.App)
			}
			return err
		}
		var err error
		if out, err = reread(tx, id); err != nil {
			return err
		}
		if w != nil {
			if err := own(tx, out, *w, now); err != nil {
				return err
			}
		}
		return errorsOf(noteEnd(tx, c, out, now), emitChange(tx, c, out, now))
	})
	if err == nil && !found {
		err = notFound(id)
	}
	return out, err
}

// tokenColumns returns the columns of a new grant. They clear every time and doubt of
// an old one, but for the forced refreshes before a caller's own tokens.
func tokenColumns(w TokenWrite, now time.Time) columns {
	set := sealedColumns(w.SealedTokens, w.Generation, now).with(columns{
		"client_id_digest":         w.ClientIDDigest,
		"token_type":               w.TokenType,
		"scopes":                   scopesText(w.Scopes),
		"missing_scopes":           "",
		"metadata":                 metadataText(w.Metadata),
		"refresh_token_expires_at": db.Nullable(w.RefreshTokenExpiresAt),
		"grant_expires_at":         db.Nullable(w.GrantExpiresAt),
		"status":                   string(w.Status),
		"reason":                   string(w.Reason),
		"unproven_since":           nil,
	})
	if w.Host != "" {
		set["host"] = w.Host
	}
	if w.Unproven {
		set["unproven_since"] = db.Nullable(now)
	}
	set.with(warnedColumns("idle", time.Time{}, w.RefreshTokenExpiresAt, now)).with(warnedColumns("grant", time.Time{}, w.GrantExpiresAt, now))
	set.with(columns{"set_aside_generation": int64(0), "set_aside_until": nil})
	if !w.Unproven { // a caller's own tokens make no room for a loop of forced refreshes
		set.with(neverForced)
	}
	return set.noAttempt().noDoubt().failing(perennial.Connection{}, w.FailingCode, now)
}

// List returns the connections that the access reaches, in the order of their ids.
func (s *Store) List(ctx context.Context, access perennial.Access, f Filter) ([]perennial.Connection, error) {
	q, order := f.narrow(s.db.With(ctx), access)
	q = q.Order(order)
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	rows, err := readConnections(q.Limit(min(limit, 1000)))
	return rows, db.Wrap("list connections", err)
}

// Count returns how many connections that the access reaches match f, regardless of its limit. It reads all of
// them.
func (s *Store) Count(ctx context.Context, access perennial.Access, f Filter) (int64, error) {
	q, _ := f.narrow(s.db.With(ctx).Table("connections"), access)
	var n int64
	if err := q.Count(&n).Error; err != nil {
		return 0, fmt.Errorf("count connections: %w", err)
	}
	return n, nil
}

// narrow adds the access's and the filter's conditions except the limit. It returns the
// order, by id, in the form that fits the same index.
func (f Filter) narrow(q *gorm.DB, access perennial.Access) (narrowed *gorm.DB, order string) {
	if f.Health != "" { // health means nothing for another status
		q = q.Where("status = 'active'")
	}
	order = "id"
	few := true // as literals, these lead to the small indexes of rare values
	switch {
	case f.Status != "" && f.Status != perennial.StatusActive:
		q = q.Where("status <> 'active'")
	case f.Health == perennial.HealthFailing:
		q = q.Where("health = 'failing'")
	default:
		few = false
	}
	if tenant, one := access.Tenant(); one && !few {
		// As a range, and in this order, only the tenant's index fits. With an equals
		// sign a plan may walk the whole table in the order of the ids, which is fast
		// for a tenant with many connections and slow for one with few.
		q = q.Where("(tenant_id, id) > (?, ?) AND tenant_id <= ?", tenant, f.After, tenant)
		order = "tenant_id, id"
	} else {
		q = db.ReachTenants(q, access).Where("id > ?", f.After)
	}
	for _, w := range []struct{ where, value string }{
		{"status = ?", string(f.Status)}, {"health = ?", string(f.Health)}, {"provider = ?", f.Provider}, {"app = ?", f.App},
		{"account_id = ?", f.AccountID},
	} {
		if w.value != "" {
			q = q.Where(w.where, w.value)
		}
	}
	return db.ReachApps(q, access), order
}

// Hosts returns the hosts of the connections that the access reaches of an app.
func (s *Store) Hosts(ctx context.Context, access perennial.Access, app string) ([]string, error) {
	var hosts []string
	err := db.Reach(s.db.With(ctx).Table("connections"), access).Where("app = ?", app).Distinct().Order("host").Pluck("host", &hosts).Error
	return hosts, db.Wrap("read the hosts of app "+app, err)
}

// Counts returns the number of connections in each status. It has an entry for every
// status.
func (s *Store) Counts(ctx context.Context) (map[perennial.Status]int64, error) {
	return counts(s.db.With(ctx).Table("connections"))
}

func counts(q *gorm.DB) (map[perennial.Status]int64, error) {
	var rows []struct {
		Status string
		N      int64
	}
	if err := q.Select("status, count(*) AS n").Group("status").Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("count connections: %w", err)
	}
	out := make(map[perennial.Status]int64, len(perennial.Statuses))
	for _, status := range perennial.Statuses {
		out[status] = 0
	}
	for _, r := range rows {
		out[perennial.Status(r.Status)] = r.N
	}
	return out, nil
}

// touchEvery bounds how often last_used_at is written. Readers of it need hours and
// days, and a write for each token read would cost more than the read.
const touchEvery = time.Hour

// TouchUsed records that somebody used a token of the connection, at most once an hour.
// A caller that knows the row may skip the call. A missing row is not an error.
func (s *Store) TouchUsed(ctx context.Context, access perennial.Access, id string) error {
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	err = db.Reach(s.db.With(ctx).Table("connections"), access).
		Where("id = ? AND (last_used_at IS NULL OR last_used_at <= ?)", id, db.Nullable(now.Add(-touchEvery))).
		Updates(map[string]any{"last_used_at": db.Nullable(now)}).Error
	if err != nil {
		return fmt.Errorf("note the use of connection %s: %w", id, err)
	}
	return nil
}

// AccountInUse reports whether any tenant has a working connection of the account.
// Revoking a grant of such an account at its provider could end that connection too.
func (s *Store) AccountInUse(ctx context.Context, app, account string) (bool, error) {
	var n int64
	err := s.db.With(ctx).Table("connections").Where("app = ? AND account_id = ? AND status IN ('active', 'paused')", app, account).Count(&n).Error
	if err != nil {
		return false, fmt.Errorf("find account of app %s: %w", app, err)
	}
	return n > 0, nil
}
