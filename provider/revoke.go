package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

// Revoke revokes a token at the provider (RFC 7009). It does nothing if the provider
// has no revocation endpoint. If the provider rejects the client, it tries the next
// client secret.
func (c *Client) Revoke(ctx context.Context, app App, token perennial.Secret) error {
	if app.Provider.RevokeURL == "" {
		return nil
	}
	if _, ok := openCredentials(token); ok {
		return fmt.Errorf("revoke at %s: credentials are not revoked", app.Provider.Name)
	}
	hint := "refresh_token"
	if held, _, ok := openHeld(token); ok {
		token, hint = held, "access_token"
	}
	var reply Reply
	for _, secret := range app.Secrets() {
		req, err := app.revocation(ctx, secret, token, hint)
		if err != nil {
			return err
		}
		if reply, err = c.revoke(app, req, secret, token); err != nil {
			return err
		}
		if reply.Outcome != perennial.OutcomeMisconfigured || !reply.ClientRejected() {
			break
		}
	}
	if reply.HTTPStatus/100 != 2 || reply.Outcome == perennial.OutcomeMisconfigured {
		return fmt.Errorf("revoke at %s: HTTP status %d (%s)", app.Provider.Name, reply.HTTPStatus, reply.Code)
	}
	return nil
}

// revocation makes a request of RFC 7009 section 2.1.
func (a App) revocation(ctx context.Context, secret, token perennial.Secret, hint string) (*http.Request, error) {
	form := url.Values{"token": {token.Reveal()}, "token_type_hint": {hint}}
	req, err := a.clientRequest(ctx, a.Provider.RevokeURL, secret, form)
	if err != nil {
		return nil, fmt.Errorf("revoke at %s: %w", a.Provider.Name, err)
	}
	return req, nil
}

// clientRequest makes a form request that the client authenticates (RFC 6749 section
// 2.3).
func (a App) clientRequest(ctx context.Context, endpoint string, secret perennial.Secret, form url.Values) (*http.Request, error) {
	user, password := a.Provider.credentials(a.ClientID, secret)
	switch a.Provider.AuthStyle {
	case oauth2.AuthStyleInHeader:
	case oauth2.AuthStyleInParams:
		form.Set("client_id", user)
		if password != "" { // a public client has none
			form.Set("client_secret", password)
		}
	default:
		members, _, err := a.proven(secret)
		if err != nil {
			return nil, err
		}
		form.Set("client_id", user)
		maps.Copy(form, members)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("its address is not usable")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if a.Provider.AuthStyle == oauth2.AuthStyleInHeader {
		req.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password))
	}
	return req, nil
}

// revoke sends the request once. It reads the reply for a refusal (RFC 7009 section
// 2.2.1); a body that breaks off contains none.
func (c *Client) revoke(app App, req *http.Request, secret, token perennial.Secret) (Reply, error) {
	transport, err := c.through(app, secret)
	if err != nil {
		return Reply{}, fmt.Errorf("revoke at %s: %w", app.Provider.Name, err)
	}
	app.setHeaders(req.Header)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Reply{}, fmt.Errorf("revoke at %s: %s", app.Provider.Name, transportCode(err))
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	read := readReply(body, app.Provider, time.Time{})
	reply := Reply{HTTPStatus: resp.StatusCode}
	reply.judge(classify(app.Provider, read.evidence(resp.StatusCode, resp.Header, secret, token)))
	return reply, nil
}
