package store

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Connections that have never been refreshed are two cohorts: the imports of a tenant, and
// an app's first refreshes after consent. If the refusals of one are too many, the way in
// which its tokens came may be wrong. Then they are kept back for an operator, apart from
// the app's refusal hold, which knows connections that worked.

// CodeNeverWorked is the failing code of a connection that has never been refreshed, and
// whose confirmed refusal is kept back with those of its cohort.
const CodeNeverWorked = "never_worked"

// cohortHold is a row of the table import_holds.
type cohortHold struct {
	App      string     `gorm:"column:app;primaryKey"`
	TenantID string     `gorm:"column:tenant_id;primaryKey"` // whose imports; consents: the app's first refreshes after consent
	HeldAt   *time.Time `gorm:"column:held_at"`
}

// TableName implements gorm's Tabler.
func (cohortHold) TableName() string { return "import_holds" }

const (
	// consents stands for the tenant in the hold of an app's first refreshes after consent.
	consents = ""
	// minCohort is how many connections of a cohort must be refused to hold all those
	// of it that are refused.
	minCohort = 3
	// consentWindow is the time in which first refreshes after consent are counted.
	consentWindow = time.Hour
	// newRefreshes bounds the refreshes of a connection that may have had its first one
	// within the consentWindow.
	newRefreshes = 60
)

// importHeld reports, by the failing code, whether the refusal of an imported connection
// is kept back: enough imports of its tenant were refused, so the import itself may be
// wrong. One event tells operators, and no connection goes to reconnect_required before
// they confirm.
func (s *Store) importHeld(tx *gorm.DB, c perennial.Connection, now time.Time) (string, error) {
	var refused, imported int64
	of := func(where string, args ...any) *gorm.DB {
		return tx.Table("connections").Where("app = ? AND tenant_id = ? AND status = 'active'", c.App, c.TenantID).Where(where, args...)
	}
	if err := of("suspect_since IS NOT NULL AND unproven_since IS NOT NULL").Count(&refused).Error; err != nil {
		return "", fmt.Errorf("count the refused imports of app %s: %w", c.App, err)
	}
	if refused < minCohort {
		return "", nil
	}
	raised, err := raiseCohortHold(tx, c.App, c.TenantID, now)
	if err != nil || !raised {
		return CodeNeverWorked, err
	}
	if err := of("unproven_since IS NOT NULL OR created_at > ?", db.Nullable(now.Add(-lately))).Count(&imported).Error; err != nil {
		return "", fmt.Errorf("count the imports of app %s: %w", c.App, err)
	}
	return CodeNeverWorked, cohortEvent(tx, c.App, fmt.Sprintf("%d of %d imports of tenant %s were refused", refused, imported, c.TenantID), int(refused), []string{c.TenantID}, now)
}

// consentHeld reports, by the failing code, whether the refusal of a proven connection is
// kept back: its tokens come from a consent and were never refreshed, and more than half
// of the app's first refreshes after consent, and at least minCohort, were refused within
// an hour. They must be of more than one tenant if the app has several: one that
// revokes its own grants keeps nothing back.
//
// Connections that are new are counted: no column says when an older one was
// reconnected. It is kept back with them nevertheless.
func (s *Store) consentHeld(tx *gorm.DB, c perennial.Connection, now time.Time) (string, error) {
	var held int64
	err := tx.Model(&cohortHold{}).Where("app = ? AND tenant_id = ?", c.App, consents).Count(&held).Error
	if err != nil {
		return "", fmt.Errorf("read the holds of app %s: %w", c.App, err)
	}
	if held > 0 {
		refreshed, err := refreshedSinceConsent(tx, c)
		if err != nil || refreshed {
			return "", err
		}
		return CodeNeverWorked, nil
	}
	if c.RefreshCount > 0 {
		return "", nil
	}
	r, err := firstRefreshes(tx, c.App, now)
	if err != nil || !r.tooMany() {
		return "", err
	}
	raised, err := raiseCohortHold(tx, c.App, consents, now)
	if err != nil || !raised {
		return CodeNeverWorked, err
	}
	names := slices.Sorted(maps.Keys(r.tenants))
	return CodeNeverWorked, cohortEvent(tx, c.App, fmt.Sprintf("%d of %d first refreshes after consent were refused", r.refused, r.refused+r.refreshed), r.refused, names[:min(len(names), maxNamed)], now)
}

// refreshedSinceConsent reports whether the connection's token set came from a refresh: the
// ledger has the one that replaced the set before it.
func refreshedSinceConsent(tx *gorm.DB, c perennial.Connection) (bool, error) {
	if c.RefreshCount == 0 {
		return false, nil
	}
	var n int64
	err := tx.Table("attempts").Where("connection_id = ? AND outcome = ? AND generation = ?", c.ID, string(perennial.OutcomeRefreshed), c.Generation-1).Count(&n).Error
	return n > 0, db.Wrap("find the last refresh of connection "+c.ID, err)
}

// consented counts the first refreshes of an app's new connections within the consentWindow.
type consented struct {
	refused, refreshed int
	tenants            map[string]int // of the refused
	others             bool           // the app has other tenants than these
}

// tooMany reports whether the refusals are more than single customers cause. It is pure.
func (r consented) tooMany() bool {
	return r.refused >= minCohort && r.refused > r.refreshed && (len(r.tenants) > 1 || !r.others)
}

// firstRefreshes reads no more than is needed to see that few were refused.
func firstRefreshes(tx *gorm.DB, app string, now time.Time) (r consented, err error) {
	since := db.Nullable(now.Add(-consentWindow))
	var of []string
	err = tx.Table("first_refusals AS r").Joins("JOIN connections AS c ON c.id = r.connection_id").
		Where("r.app = ? AND r.refused_at > ? AND c.refresh_count = 0 AND c.unproven_since IS NULL", app, since).
		Order("r.refused_at DESC").Limit(maxEvidence).Pluck("c.tenant_id", &of).Error
	if err != nil {
		return r, fmt.Errorf("count the first refreshes of app %s: %w", app, err)
	}
	r.refused, r.tenants = len(of), map[string]int{}
	for _, tenant := range of {
		r.tenants[tenant]++
	}
	if r.refused < minCohort {
		return r, nil
	}
	const refreshed = "EXISTS (SELECT 1 FROM attempts AS a WHERE a.connection_id = c.id AND a.outcome = 'refreshed' AND a.started_at "
	var good, other []string
	err = errorsOf(
		tx.Table("connections AS c").Where("c.app = ? AND c.refresh_count BETWEEN 1 AND ? AND c.unproven_since IS NULL", app, newRefreshes).
			Where(refreshed+"> ?) AND NOT "+refreshed+"<= ?)", since, since).Limit(r.refused).Pluck("c.id", &good).Error,
		tx.Table("connections").Where("app = ? AND status = 'active' AND tenant_id <> ?", app, of[0]).Limit(1).Pluck("tenant_id", &other).Error)
	r.refreshed, r.others = len(good), len(other) > 0
	return r, db.Wrap("count the first refreshes of app "+app, err)
}

// raiseCohortHold raises the hold of a cohort. raised is false if it was raised before.
func raiseCohortHold(tx *gorm.DB, app, tenant string, now time.Time) (raised bool, err error) {
	at := now.UTC().Truncate(time.Microsecond)
	made := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&cohortHold{App: app, TenantID: tenant, HeldAt: &at})
	return made.RowsAffected > 0, db.Wrap("hold connections of app "+app+" that never worked", made.Error)
}

// cohortEvent tells operators that the refusals of a cohort are kept back.
func cohortEvent(tx *gorm.DB, app, why string, refused int, tenants []string, now time.Time) error {
	return outbox.Append(tx, perennial.Event{Type: perennial.EventHoldRaised, App: app, Data: perennial.EventData{Code: why, Connections: refused, Tenants: tenants}}, now)
}
