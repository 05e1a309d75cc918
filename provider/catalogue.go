package provider

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

const day = 24 * time.Hour

// catalogue lists the known providers in alphabetical order.
var catalogue = slices.Concat(entriesAToL, entriesMToZ)

// Lookup finds an entry by name.
func Lookup(name string) (Entry, bool) {
	for _, e := range catalogue {
		if e.Name == name {
			e.Spellings = slices.Clone(e.Spellings)
			e.MetadataFields, e.HostSuffixes = slices.Clone(e.MetadataFields), slices.Clone(e.HostSuffixes)
			e.RefreshParams, e.AuthParams, e.ScopesUnnamed = maps.Clone(e.RefreshParams), maps.Clone(e.AuthParams), slices.Clone(e.ScopesUnnamed)
			e.MembersAt = maps.Clone(e.MembersAt)
			return e, true
		}
	}
	return Entry{}, false
}

// Names lists the catalogue in alphabetical order.
func Names() []string {
	var names []string
	for _, e := range catalogue {
		names = append(names, e.Name)
	}
	return names
}

// Validate returns an error if an entry, with the configuration's settings, is
// incomplete.
func (e Entry) Validate() error {
	switch {
	case e.TokenURL == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: token_url is needed", e.Name)
	case e.AuthStyle != oauth2.AuthStyleInHeader && e.AuthStyle != oauth2.AuthStyleInParams:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: auth_style must be header or params: probing for it would show a refresh token twice", e.Name)
	case e.SecretAsUser && e.AuthStyle != oauth2.AuthStyleInHeader:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: auth_style must be header: its client secret stands in for the user name", e.Name)
	case e.HostNeeded() && len(e.HostSuffixes) == 0:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: token_url has a {host}: say in hosts which there may be", e.Name)
	case !slices.Contains(perennial.ReplayClasses, e.ReplayClass):
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: replay_class %q is not one of %v", e.Name, e.ReplayClass, perennial.ReplayClasses)
	case e.ReplaySource == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: say where its replay class is documented", e.Name)
	case e.ReplayClass == perennial.ReplayGrace && e.GraceWindow <= 0:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: replay_class grace needs a grace_window", e.Name)
	case e.IssuerSent && e.Issuer == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: issuer_sent needs an issuer", e.Name)
	}
	return e.validateAccount()
}

// String names the entry.
func (e Entry) String() string { return fmt.Sprintf("%s (%s)", e.Name, e.TokenURL) }
