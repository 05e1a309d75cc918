package provider

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/retryafter"
	"github.com/perennial-oauth/perennial/internal/seam"
	"golang.org/x/oauth2"
)

// presentHeld renews, once, an access token that stands in the refresh token's place, or
// looks whether it is still good if the provider renews none.
func (c *Client) presentHeld(ctx context.Context, app App, secret, presented perennial.Secret, send func(context.Context) error) Reply {
	began := time.Now()
	trip := c.trip(app, secret, send)
	token, first, ok := openHeld(presented)
	if !ok {
		trip.refuse(codeOtherGrant, errors.New("the connection has no access token in the refresh token's place: its app had another renewal when it was made"))
	}
	if app.Provider.Renewal == RenewalNone {
		return c.look(ctx, app, trip, token, began)
	}
	req, err := app.exchangeRequest(ctx, app.Provider.exchangeOf(first), secret, token)
	if err != nil {
		trip.refuse(codeUnusableExchange, err)
	} else if resp, err := trip.RoundTrip(req); err == nil {
		_ = resp.Body.Close() // trip has recorded the reply
	}
	user, password := app.Provider.credentials(app.ClientID, secret)
	basic := perennial.NewSecret(url.QueryEscape(user) + ":" + url.QueryEscape(password))
	reply := trip.reply(app.Provider, began, secret, presented, token, basic)
	if reply.Outcome == perennial.OutcomeRefreshed {
		reply.Tokens, reply.Cut = app.Provider.held(reply.Tokens, false), false
	}
	return reply
}

// codeUnusableExchange is the code if a request cannot be made from the description.
const codeUnusableExchange = "exchange_unusable"

// exchangeRequest makes the request that exchanges an access token, but for what trip
// adds to it.
func (a App) exchangeRequest(ctx context.Context, x TokenExchange, secret, token perennial.Secret) (*http.Request, error) {
	unusable := errors.New("the url of exchange is not usable")
	form := url.Values{x.Parameter: {token.Reveal()}}
	if x.GrantType != "" {
		form.Set("grant_type", x.GrantType)
	}
	user, password := a.Provider.credentials(a.ClientID, secret)
	for name, value := range map[string]string{credentialClientID: a.ClientID, credentialClientSecret: password} {
		if slices.Contains(x.Client, name) && a.Provider.AuthStyle != oauth2.AuthStyleInHeader && value != "" {
			form.Set(name, value)
		}
	}
	target, method, body := x.URL, http.MethodPost, form.Encode()
	if x.Method == http.MethodGet {
		u, err := url.Parse(x.URL)
		if err != nil {
			return nil, unusable
		}
		query := u.Query()
		for name, value := range a.Provider.RefreshParams {
			query.Set(name, value)
		}
		for name := range form {
			query.Set(name, form.Get(name))
		}
		u.RawQuery = query.Encode()
		target, method, body = u.String(), http.MethodGet, ""
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, unusable // an error with more detail would hold the token
	}
	// With a body that it cannot read again, net/http sends no request a second time, not
	// even a GET.
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if len(x.Client) > 0 && a.Provider.AuthStyle == oauth2.AuthStyleInHeader {
		req.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password))
	}
	return req, nil
}

// look asks whether an access token is still good. If it is, the reply has the same one.
func (c *Client) look(ctx context.Context, app App, trip *oneShot, token perennial.Secret, began time.Time) Reply {
	req, err := bearer(ctx, app.Provider.checkURL(), token)
	if err != nil {
		trip.refuse(codeUnusableExchange, errors.New("the check_url is not usable"))
	} else if resp, err := trip.RoundTrip(req); err == nil {
		_ = resp.Body.Close()
	}
	r := Reply{Sent: trip.sent.Load(), HTTPStatus: trip.status, Duration: time.Since(began)}
	if trip.unusable != nil {
		r.Description = trip.unusable.Error()
		r.judge(verdict{outcome: perennial.OutcomeMisconfigured, code: trip.code, fault: perennial.FaultClient})
		return r
	}
	v := trip.looked(app.Provider)
	if v.fault == "" {
		v.fault = faultOf(v.outcome, v.code)
	}
	r.judge(v)
	r.RequestID = app.Provider.requestID(trip.header, token)
	if r.Outcome == perennial.OutcomeRefreshed {
		r.Tokens = perennial.TokenSet{AccessToken: token, RefreshToken: hold(token, false)}
	} else {
		r.RetryAfter = retryafter.Read(trip.header, seam.Now())
	}
	return r
}
