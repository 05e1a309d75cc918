package db

import (
	"github.com/perennial-oauth/perennial"
	"gorm.io/gorm"
)

// Reach narrows a query of a table with the columns tenant_id and app to what an access
// reaches.
func Reach(q *gorm.DB, a perennial.Access) *gorm.DB {
	return ReachApps(ReachTenants(q, a), a)
}

// ReachApps is Reach for a query that is narrowed to the access's tenants already.
func ReachApps(q *gorm.DB, a perennial.Access) *gorm.DB {
	if apps, limited := a.Apps(); limited {
		q = q.Where("app IN ?", apps)
	}
	return q
}

// ReachTenants is Reach for a table without the column app.
func ReachTenants(q *gorm.DB, a perennial.Access) *gorm.DB {
	if a.EveryTenant() {
		return q
	}
	tenant, ok := a.Tenant()
	if !ok {
		return q.Where("1 = 0")
	}
	return q.Where("tenant_id = ?", tenant)
}
