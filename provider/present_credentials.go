package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/assertion"
	"golang.org/x/oauth2"
)

// presentCredentials asks for an access token once with a customer's credentials, as
// [Client.Refresh] does with a refresh token. secret is the app's client secret or key,
// which counts unless the customer has given one.
func (c *Client) presentCredentials(ctx context.Context, app App, secret, presented perennial.Secret, send func(context.Context) error) Reply {
	began := time.Now()
	given, ok := openCredentials(presented)
	own, values := app.with(given)
	if v := given[credentialClientSecret]; v != "" {
		secret = perennial.NewSecret(v)
	} else if v := given[credentialKey]; v != "" {
		secret = perennial.NewSecret(v)
	}
	trip := c.trip(own, secret, send)
	if !ok {
		trip.refuse(codeOtherGrant, errors.New("the connection has no credentials: its app had another grant when it was made"))
	}
	if req, err := own.grantRequest(ctx, secret, values, trip); err != nil {
		trip.refuse(codeUnusableKey, err)
	} else if resp, err := trip.RoundTrip(req); err == nil {
		_ = resp.Body.Close() // trip has recorded the reply
	}
	user, password := own.Provider.credentials(own.ClientID, secret)
	basic := perennial.NewSecret(url.QueryEscape(user) + ":" + url.QueryEscape(password))
	secrets := append(given.secrets(), secret, presented, basic)
	reply := trip.reply(own.Provider, began, secrets...)
	reply.Tokens.RefreshToken = perennial.Secret{} // a second way to the same, which would take the credentials' place
	if app.Provider.CustomersClient() {
		reply.ofCustomersClient()
	}
	c.explain(trip, reply, secrets...)
	return reply
}

// grantRequest makes the request for an access token, but for what trip adds to it.
func (a App) grantRequest(ctx context.Context, secret perennial.Secret, values credentials, trip *oneShot) (*http.Request, error) {
	e := a.Provider
	form := url.Values{}
	if kind := cmp.Or(e.GrantType, grantTypes[e.Grant]); kind != "" {
		form.Set("grant_type", kind)
	}
	var header perennial.Secret
	switch e.Grant {
	case GrantClientCredentials:
		if len(a.Scopes) > 0 {
			form.Set("scope", a.joinedScopes(a.Scopes))
		}
	case GrantJWTBearer, GrantInstallation:
		signed, err := a.signGrant(secret, values)
		if err != nil {
			return nil, err
		}
		if trip.signed = signed; e.Grant == GrantInstallation {
			header = signed
		} else {
			form.Set("assertion", signed.Reveal())
		}
	}
	if e.Grant != GrantInstallation {
		a.identify(form, secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the token_url is not usable")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	switch user, password := e.credentials(a.ClientID, secret); {
	case !header.IsZero():
		req.Header.Set("Authorization", "Bearer "+header.Reveal())
	case e.AuthStyle == oauth2.AuthStyleInHeader:
		req.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password))
	}
	return req, nil
}

// identify names the client in a form, with its secret if that belongs there.
func (a App) identify(form url.Values, secret perennial.Secret) {
	user, password := a.Provider.credentials(a.ClientID, secret)
	switch a.Provider.AuthStyle {
	case oauth2.AuthStyleInHeader:
	case oauth2.AuthStyleInParams:
		form.Set("client_id", user)
		form.Set("client_secret", password)
	default:
		if user != "" { // a signed grant may be all that names the client
			form.Set("client_id", user)
		}
	}
}

// signGrant signs the token that is the grant.
func (a App) signGrant(secret perennial.Secret, values credentials) (perennial.Secret, error) {
	how := a.Provider.Assertion
	issuer, _ := values.fill(cmp.Or(how.Issuer, "{"+credentialClientID+"}"))
	subject, named := values.fill(cmp.Or(how.Subject, issuer))
	claims := a.claims(issuer, subject)
	if a.Provider.Grant == GrantInstallation { // GitHub knows iss, iat and exp
		maps.DeleteFunc(claims, func(name string, _ any) bool {
			return name == "nbf" || name == "sub" && how.Subject == "" || name == "aud" && how.Audience == ""
		})
	}
	if !named { // Google: the account itself, and nobody whom it stands for
		delete(claims, "sub")
	}
	for name, v := range values.filled(how.Claims) {
		claims[name] = v
	}
	key, err := assertion.ReadKey(secret)
	if err != nil {
		return perennial.Secret{}, fmt.Errorf("the key that signs the grant %w", err)
	}
	if id := values[credentialKeyID]; id != "" {
		key = key.WithID(id)
	}
	return key.Sign(how.Algorithm, claims)
}

// ofCustomersClient judges anew a reply to a client that is the customer's own: a wrong
// secret or a client without the permission is a refusal of this connection, and says
// nothing about the app.
func (r *Reply) ofCustomersClient() {
	r.CustomersClient = true
	if r.Outcome != perennial.OutcomeMisconfigured || r.HTTPStatus == 0 && !r.ClientRejected() {
		return
	}
	switch {
	case r.ClientRejected(), squeeze(r.Code) == squeeze("unauthorized_client"):
		r.Outcome = perennial.OutcomeRevoked
	case r.Code == "redirected", r.Code == "endpoint_not_found":
		return // of the provider's endpoint
	default:
		r.Outcome = perennial.OutcomeRejected
	}
	r.Fault, r.wrongClient = perennial.FaultGrant, false
}
