package provider

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

// AuthorizationURL returns the URL to which a browser goes for consent: an
// authorization request (RFC 6749 section 4.1.1) with state and the S256 challenge of
// verifier (RFC 7636). It sends redirectURI unchanged.
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

// AuthorizationCode is the code of an authorization response, with the values of its
// request.
type AuthorizationCode struct {
	Code        perennial.Secret
	Verifier    perennial.Secret // code_verifier (RFC 7636)
	RedirectURI string           // as in the authorization request
}

// Exchange presents an authorization code once (RFC 6749 section 4.1.3) and
// authenticates with secret. ctx bounds the whole exchange. The outcome
// [perennial.OutcomeRefreshed] means that tokens came, [perennial.OutcomeRevoked] that
// the code was refused. The reply holds no secret but its tokens.
func (c *Client) Exchange(ctx context.Context, app App, secret perennial.Secret, code AuthorizationCode) Reply {
	began := time.Now()
	trip := &oneShot{transport: c.transport, send: func(context.Context) error { return nil }, entry: app.Provider}
	config, basic := app.client(secret)
	config.RedirectURL = code.RedirectURI
	_, _ = config.Exchange(trip.context(ctx), code.Code.Reveal(), oauth2.VerifierOption(code.Verifier.Reveal())) // trip has recorded the reply
	reply := trip.reply(app.Provider, began, secret, code.Code, code.Verifier, basic)
	if reply.Outcome == perennial.OutcomeRefreshed {
		reply.Account = app.accountIn(trip.body)
		if IsBound(reply.Tokens) {
			reply.Description = boundText(app.Name, reply.Tokens)
			reply.Outcome, reply.Code, reply.Tokens = perennial.OutcomeMisconfigured, CodeBoundToken, perennial.TokenSet{}
		}
	}
	return reply
}

// CheckIssuer reports whether an authorization response may be from this provider (RFC
// 9207 section 2.4). It refuses another issuer, and a missing iss if the provider
// always sends one. It compares the issuer if that is known and sent; otherwise each
// app's own redirect URI is the defence (RFC 9700 section 4.4.2).
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

// MissingScopes returns the required scopes that were not granted. A nil granted means
// that the reply named none: the grant then has the requested scopes (RFC 6749 section
// 5.1). A provider may write a scope with its resource in front
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
