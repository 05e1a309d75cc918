package doctor

import (
	"context"
	"strings"

	"github.com/perennial-oauth/perennial/internal/db"
	"go.temporal.io/sdk/client"
)

// Binding describes how the database and Temporal know each other.
type Binding struct {
	State    string   // as `perennial binding` names it
	Presents bool     // refresh tokens are presented in this state
	Reason   string   // the fault, a colon, and the remedy; empty: no fault
	Database string   // the database's id
	Places   []string // every Temporal of the database, for people
}

// ReadBinding asks both sides and changes nothing.
type ReadBinding func(context.Context, *db.DB, client.Client) (Binding, error)

// bindingHolds looks whether the database and Temporal belong together.
func bindingHolds(ctx context.Context, p *parts) ([]Finding, error) {
	if _, err := p.rows(ctx); err != nil {
		return nil, err
	}
	c, err := p.temporal.get(ctx)
	if err != nil {
		return nil, err
	}
	b, err := p.binding(ctx, p.database.value, c)
	if err != nil {
		return nil, err
	}
	return one(aboutBinding(b))
}

func aboutBinding(b Binding) Finding {
	seen, do, _ := strings.Cut(b.Reason, ": ")
	switch {
	case !b.Presents:
		return wrong(do, "%s, so nothing is presented: %s", b.State, seen)
	case b.Reason != "":
		return warning(do, "%s, so a copy or a restore is not noticed: %s", b.State, seen)
	case len(b.Places) > 1:
		return well("%d Temporals refresh database %s: %s", len(b.Places), b.Database, strings.Join(b.Places, "; "))
	}
	return well("database %s belongs to %s", b.Database, strings.Join(b.Places, ""))
}
