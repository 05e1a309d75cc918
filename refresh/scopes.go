package refresh

import (
	"slices"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// missingScopes returns the scopes that the app requires and that the grant of row has
// lost, once a refresh brought a reply that named these scopes; nil: it named none, which
// means that nothing changed (RFC 6749 sections 5.1 and 6).
//
// Only what an earlier reply named can be lost. A scope that the configuration began to
// require later, or that the consent never gave, is not the customer's doing: without this
// rule a longer list in the configuration would ask every customer to reconnect.
func missingScopes(app provider.App, row perennial.Connection, named []string) []string {
	if named == nil {
		named = row.Scopes
	}
	if len(named) == 0 {
		return nil
	}
	never := app.Provider.MissingScopes(app.Scopes, nonNil(row.Scopes))
	return slices.DeleteFunc(app.Provider.MissingScopes(app.Scopes, named), func(scope string) bool {
		return slices.Contains(never, scope) && !slices.Contains(row.MissingScopes, scope)
	})
}

// nonNil returns scopes of which nil means none, as scopes of which nil means all.
func nonNil(scopes []string) []string {
	if scopes == nil {
		return []string{}
	}
	return scopes
}

// judgeScopes returns what a save writes of the missing scopes: nil if nothing changes.
func judgeScopes(app provider.App, row perennial.Connection, named []string) *[]string {
	missing := nonNil(missingScopes(app, row, named))
	if slices.Equal(missing, nonNil(row.MissingScopes)) {
		return nil
	}
	return &missing
}
