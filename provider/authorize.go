package provider

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

// AuthorizationURL is where a browser is sent for consent: an authorization
// request (RFC 6749 section 4.1.1) with state and the S256 challenge of verifier
// (RFC 7636). redirectURI is sent as it is.
func (a App) AuthorizationURL(redirectURI, state string, verifier perennial.Secret, scopes []string) (string, error) {
	if a.Provider.AuthURL == "" {
		return "", perennial.Errorf(perennial.CodeInvalid, "app %s: auth_url is needed to ask for consent", a.Name)
	}
	config := oauth2.Config{ClientID: a.ClientID, RedirectURL: redirectURI, Endpoint: oauth2.Endpoint{AuthURL: a.Provider.AuthURL}}
	if len(scopes) > 0 {
		separator := a.Provider.ScopeSeparator
		if separator == "" {
			separator = " "
		}
		config.Scopes = []string{strings.Join(scopes, separator)}
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier.Reveal())}
	for _, name := range sortedKeys(a.Provider.AuthParams) {
		options = append(options, oauth2.SetAuthURLParam(name, a.Provider.AuthParams[name]))
	}
	return config.AuthCodeURL(state, options...), nil
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// AuthorizationCode is what an authorization response brought, with what the
// request that it answers was made with.
type AuthorizationCode struct {
	Code        perennial.Secret
	Verifier    perennial.Secret // code_verifier (RFC 7636)
	RedirectURI string           // as in the authorization request
}

// Exchange presents an authorization code once (RFC 6749 section 4.1.3),
// authenticating with secret. ctx bounds the whole exchange. An outcome of
// [perennial.OutcomeRefreshed] means that tokens came, [perennial.OutcomeRevoked]
// that the code was refused. The reply holds no secret but its tokens.
func (c *Client) Exchange(ctx context.Context, app App, secret perennial.Secret, code AuthorizationCode) Reply {
	began := time.Now()
	trip := &oneShot{transport: c.transport, send: func(context.Context) error { return nil }, entry: app.Provider}
	config, basic := app.client(secret)
	config.RedirectURL = code.RedirectURI
	_, _ = config.Exchange(trip.context(ctx), code.Code.Reveal(), oauth2.VerifierOption(code.Verifier.Reveal())) // the trip has kept the reply
	reply := trip.reply(app.Provider, began, secret, code.Code, code.Verifier, basic)
	if reply.Outcome == perennial.OutcomeRefreshed {
		reply.Account = app.accountIn(trip.body)
	}
	return reply
}

// CheckIssuer refuses an authorization response of another issuer (RFC 9207
// section 2.4), and one without an iss where the provider always sends it. It is
// compared where it is known and sent; each app's own redirect URI is the defence
// elsewhere (RFC 9700 section 4.4.2).
func (e Entry) CheckIssuer(iss string) bool {
	switch {
	case e.Issuer == "":
		return true
	case iss == "":
		return !e.IssuerSent
	default:
		return iss == e.Issuer
	}
}

// MissingScopes are those of required that granted does not have. Nil granted
// means that the reply named none: then they are as they were asked for (RFC 6749
// section 5.1). A provider may write a scope with its resource before it
// (https://graph.microsoft.com/User.Read).
func (e Entry) MissingScopes(required, granted []string) []string {
	if granted == nil {
		return nil
	}
	var missing []string
	for _, want := range required {
		given := slices.ContainsFunc(granted, func(have string) bool {
			return have == want || strings.Contains(have, "://") && strings.HasSuffix(have, "/"+want)
		})
		if !given && !slices.Contains(e.ScopesUnnamed, want) {
			missing = append(missing, want)
		}
	}
	return missing
}
