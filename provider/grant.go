package provider

import (
	"cmp"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// Grant says what an access token is asked for with.
type Grant string

// The grants. All but the first need no refresh token: a connection is made from its
// customer's credentials, which are presented again for each access token.
const (
	GrantAuthorizationCode Grant = ""                   // a consent, then refresh tokens (RFC 6749 section 4.1)
	GrantClientCredentials Grant = "client_credentials" // RFC 6749 section 4.4
	GrantJWTBearer         Grant = "jwt_bearer"         // a signed token is the grant (RFC 7523 section 2.1)
	GrantInstallation      Grant = "installation"       // a signed token in Authorization: GitHub Apps
)

// FromCredentials reports whether connections are made from credentials instead of a
// consent.
func (g Grant) FromCredentials() bool { return g != GrantAuthorizationCode }

// grantTypes are the values of grant_type.
var grantTypes = map[Grant]string{
	GrantClientCredentials: "client_credentials",
	GrantJWTBearer:         "urn:ietf:params:oauth:grant-type:jwt-bearer",
}

// The credentials that have a meaning of their own. Any other stands only where the
// description puts it: {account_id}.
const (
	credentialClientID     = "client_id"      // in place of the app's
	credentialClientSecret = "client_secret"  // in place of the app's
	credentialKey          = "private_key"    // signs in place of the app's key
	credentialKeyID        = "private_key_id" // kid of private_key
)

// CustomersClient reports whether the client itself is the customer's: a refusal of it
// then concerns one connection alone.
func (e Entry) CustomersClient() bool {
	return slices.ContainsFunc(slices.Concat(e.Credentials, e.CredentialsOptional), func(name string) bool {
		return name == credentialClientID || name == credentialClientSecret || name == credentialKey
	})
}

// credentialName is the form of a credential's name.
var credentialName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// placeholders matches the places of credentials in a value.
var placeholders = regexp.MustCompile(`\{([a-z][a-z0-9_]*)\}`)

// placed returns the names that stand in a value, without {host} and {account}.
func placed(value string) []string {
	var names []string
	for _, m := range placeholders.FindAllStringSubmatch(value, -1) {
		if m[0] != hostPlaceholder && m[0] != accountPlaceholder {
			names = append(names, m[1])
		}
	}
	return names
}

// validateGrant returns an error if an entry's grant is incomplete.
func (e Entry) validateGrant() error {
	invalid := func(says string) error {
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: %s", e.Name, says)
	}
	names := slices.Concat(e.Credentials, e.CredentialsOptional)
	if !e.Grant.FromCredentials() {
		if len(names) > 0 || e.GrantType != "" || len(placed(e.TokenURL)) > 0 {
			return invalid("credentials, grant_type and places for credentials in token_url need a grant: client_credentials, jwt_bearer or installation")
		}
		return nil
	}
	known := append(slices.Clone(names), credentialClientID, "scopes")
	for _, value := range slices.Concat([]string{e.TokenURL, e.Assertion.Issuer, e.Assertion.Subject}, slices.Collect(maps.Values(e.RefreshParams)), slices.Collect(maps.Values(e.Assertion.Claims))) {
		for _, name := range placed(value) {
			if !slices.Contains(known, name) {
				return invalid("{" + name + "} is not among its credentials")
			}
		}
	}
	address, err := url.Parse(strings.ReplaceAll(e.TokenURL, hostPlaceholder, "host.invalid"))
	switch {
	case len(e.Credentials) == 0:
		return invalid("say in credentials what the customer gives: each connection needs at least an id of its own")
	case err != nil || strings.ContainsAny(address.Host, "{}"):
		return invalid("no credential may stand in the host of token_url; see hosts")
	case e.ReplayClass != perennial.ReplayReusable:
		return invalid("replay_class must be reusable, or left out: credentials may be presented again")
	case e.RevokeURL != "" || e.IntrospectURL != "" || e.AuthURL != "":
		return invalid("auth_url, introspect_url and revoke_url are for consents: leave them out with this grant")
	case e.Account.From != "" && e.Account.From != AccountFromCredentials:
		return invalid("account must be from credentials with this grant, or left out: then it is the caller's word")
	case e.signsGrants() && e.AuthStyle != AuthStyleNone && !slices.Contains(e.Credentials, credentialKey):
		return invalid("auth_style must be none with this grant: the signed token that is the grant proves the client")
	case slices.Contains(names, credentialKeyID) && !e.signsGrants():
		return invalid("private_key_id is for the grants jwt_bearer and installation")
	case e.AuthStyle == AuthStyleTLS && (slices.Contains(names, credentialClientSecret) || slices.Contains(names, credentialKey)):
		return invalid("auth_style tls_client_auth takes the app's certificate, and no secret of a customer's")
	case e.GrantType != "" && e.Grant != GrantClientCredentials:
		return invalid("grant_type is for the grant client_credentials")
	}
	return nil
}

// grantOfCredentials reads the grant of a description.
func (o overlay) grantOfCredentials() {
	if g := o.d.Grant; g != "" {
		o.oneOf("grant", g, enumOf[Description]("Grant"))
		o.e.Grant = Grant(strings.TrimPrefix(g, "authorization_code"))
	}
	if o.d.GrantType != "" {
		o.e.GrantType = o.d.GrantType
	}
	setList(&o.e.Credentials, o.d.Credentials)
	setList(&o.e.CredentialsOptional, o.d.CredentialsOptional)
	for key, names := range map[string][]string{"credentials": o.d.Credentials, "credentials_optional": o.d.CredentialsOptional} {
		for _, name := range names {
			if !credentialName.MatchString(name) {
				o.report(key, "must be names of lower-case letters, digits and _, at most 40, with a letter first")
				break
			}
		}
	}
	if o.d.Grant != "" && o.e.Grant.FromCredentials() && o.d.ReplayClass == "" {
		o.e.ReplayClass = perennial.ReplayReusable
		o.e.ReplaySource = cmp.Or(o.d.ReplaySource, "credentials may be presented again")
	}
}
