package provider

import (
	"cmp"
	"context"
	"maps"
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
	if a.Provider.Grant.FromCredentials() {
		return "", perennial.Errorf(perennial.CodeInvalid, "app %s: its connections are made from the customer's credentials, not by a consent: POST /v1/connections, or perennial connect --credentials -", a.Name)
	}
	if a.Provider.AuthURL == "" {
		return "", perennial.Errorf(perennial.CodeInvalid, "app %s: auth_url is needed to ask for consent", a.Name)
	}
	config := oauth2.Config{ClientID: a.ClientID, RedirectURL: redirectURI, Endpoint: oauth2.Endpoint{AuthURL: a.Provider.AuthURL}}
	if len(scopes) > 0 {
		config.Scopes = []string{a.joinedScopes(scopes)}
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier.Reveal())}
	for _, name := range sortedKeys(a.Provider.AuthParams) {
		options = append(options, oauth2.SetAuthURLParam(name, a.Provider.AuthParams[name]))
	}
	return config.AuthCodeURL(state, options...), nil
}

// joinedScopes returns scopes as one text.
func (a App) joinedScopes(scopes []string) string {
	return strings.Join(scopes, cmp.Or(a.Provider.ScopeSeparator, " "))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// AuthorizationCode is the code of an authorization response, with the values of its
// request.
type AuthorizationCode struct {
	Code        perennial.Secret
	Verifier    perennial.Secret // code_verifier (RFC 7636); none for a consent that was asked for without
	RedirectURI string           // as in the authorization request
}

// Exchange presents an authorization code once (RFC 6749 section 4.1.3) and
// authenticates with secret. ctx bounds the whole exchange. The outcome
// [perennial.OutcomeRefreshed] means that tokens came, [perennial.OutcomeRevoked] that
// the code was refused. With tokens, a description says why an ID token does not count.
// The reply holds no secret but its tokens.
func (c *Client) Exchange(ctx context.Context, app App, secret perennial.Secret, code AuthorizationCode) Reply {
	began := time.Now()
	trip := c.trip(app, secret, func(context.Context) error { return nil })
	config, basic := app.client(secret)
	config.RedirectURL = code.RedirectURI
	var options []oauth2.AuthCodeOption
	if !code.Verifier.IsZero() {
		options = append(options, oauth2.VerifierOption(code.Verifier.Reveal()))
	}
	_, _ = config.Exchange(trip.context(ctx), code.Code.Reveal(), options...) // trip has recorded the reply
	reply := trip.reply(app.Provider, began, secret, code.Code, code.Verifier, basic)
	if reply.Outcome == perennial.OutcomeRefreshed {
		reply.Accounts, reply.AccountProblem = app.accountsIn(trip.body)
		if holdsSecret(reply.AccountProblem, []perennial.Secret{secret, code.Code, code.Verifier, reply.Tokens.AccessToken, reply.Tokens.RefreshToken}) {
			reply.AccountProblem = "it names an issuer that is not repeated here, because one of the exchange's secrets stands in it"
		}
		c.explain(trip, reply, secret, code.Code, code.Verifier, basic)
		if IsBound(reply.Tokens) {
			reply.Description = boundText(app.Name, reply.Tokens)
			reply.Outcome, reply.Code, reply.Tokens = perennial.OutcomeMisconfigured, CodeBoundToken, perennial.TokenSet{}
		}
		reply.Tokens = app.Provider.consented(reply.Tokens)
		return reply
	}
	c.explain(trip, reply, secret, code.Code, code.Verifier, basic)
	return reply
}
