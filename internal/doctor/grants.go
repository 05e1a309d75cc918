package doctor

import (
	"context"
	"fmt"

	"github.com/perennial-oauth/perennial/connect"
)

// unfinishedGrants looks at the consents to bound links that were not finished, and whose
// grant the provider has not said to have revoked.
func unfinishedGrants(ctx context.Context, p *parts) ([]Finding, error) {
	if _, err := p.rows(ctx); err != nil { // the schema may be out of range
		return nil, err
	}
	d, err := p.database.get(ctx)
	if err != nil {
		return nil, err
	}
	all, err := connect.NewSessionStore(d).Unrevoked(ctx, counted)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return one(well("no grant that nobody finished may live on at its provider"))
	}
	var ids []string
	for _, c := range all {
		ids = append(ids, fmt.Sprintf("%s (%s, account %q, tenant %q)", c.ID, c.App, c.AccountID, c.TenantID))
	}
	return one(warning("remove the app's access in those accounts at the provider if they have no connection (docs/connect.md); an entry leaves by itself 30 days after its link expired",
		"nobody finished these consents, and their grants may live on at the provider: %s", some(ids)))
}
