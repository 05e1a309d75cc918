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
	lost := slices.DeleteFunc(app.Provider.MissingScopes(app.Scopes, named), func(scope string) bool {
		return slices.Contains(never, scope) && !slices.Contains(row.MissingScopes, scope)
	})
	other := renamedScopes(app, row, lost, named)
	return slices.DeleteFunc(lost, func(scope string) bool { return slices.Contains(other, scope) })
}

// renamedScopes returns those of the lost scopes that only have another name now: for each of
// them the reply names one that nobody has ever asked for or got. A refresh gives no new
// permission (RFC 6749 section 6), so such a name is an old one in other words. Without
// this rule a provider that renames a scope would look as if every customer had taken it
// away. A scope that has been missing before stays missing.
func renamedScopes(app provider.App, row perennial.Connection, lost, named []string) []string {
	newly := slices.DeleteFunc(slices.Clone(lost), func(scope string) bool { return slices.Contains(row.MissingScopes, scope) })
	unknown := app.Provider.MissingScopes(named, slices.Concat(nonNil(row.Scopes), app.Scopes))
	if len(newly) == 0 || len(unknown) < len(newly) {
		return nil
	}
	return newly
}

// nonNil returns scopes of which nil means none, as scopes of which nil means all.
func nonNil(scopes []string) []string {
	if scopes == nil {
		return []string{}
	}
	return scopes
}

// judgeScopes is [judgeScopes] for the claimed row. It logs scopes that were renamed.
func (a *attempt) judgeScopes(named []string) *[]string {
	lost := slices.DeleteFunc(a.app.Provider.MissingScopes(a.app.Scopes, named), func(scope string) bool {
		return len(a.app.Provider.MissingScopes([]string{scope}, nonNil(a.row.Scopes))) > 0
	})
	if other := renamedScopes(a.app, a.row, lost, named); len(other) > 0 && named != nil {
		a.log.Warn("the provider seems to have renamed scopes that the app requires: require the new names, or say in scopes_imply what they are", "scopes", other)
	}
	return judgeScopes(a.app, a.row, named)
}

// judgeScopes returns what a save writes of the missing scopes: nil if nothing changes.
func judgeScopes(app provider.App, row perennial.Connection, named []string) *[]string {
	missing := nonNil(missingScopes(app, row, named))
	if slices.Equal(missing, nonNil(row.MissingScopes)) {
		return nil
	}
	return &missing
}
