package provider

import (
	"context"
	"net/http"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/plainurl"
)

// TokenWorks reports whether an access token works: whether a GET of address, an address
// of the provider's API, does not refuse it (RFC 6750 section 3.1). Without an address it
// asks the introspection endpoint (RFC 7662), with the app's first secret. An answer that
// says neither is an error.
func (c *Client) TokenWorks(ctx context.Context, app App, address string, accessToken perennial.Secret) (bool, error) {
	if address == "" {
		return c.introspected(ctx, app, accessToken)
	}
	if why := plainurl.Bad(address); why != "" {
		return false, perennial.Errorf(perennial.CodeInvalid, "the address of the API %s", why)
	}
	req, err := bearer(ctx, address, accessToken)
	if err != nil {
		return false, err
	}
	req.Header.Set("User-Agent", "perennial")
	resp, err := c.to(app).RoundTrip(req)
	if err != nil {
		return false, perennial.Errorf(perennial.CodeUnavailable, "ask the API: %s", transportCode(err))
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return false, nil
	case resp.StatusCode/100 == 2:
		return true, nil
	}
	return false, perennial.Errorf(perennial.CodeInvalid, "the API answers with HTTP status %d, which does not say whether it accepts the token: name an address that answers 2xx to a good token and 401 to any other", resp.StatusCode)
}

func (c *Client) introspected(ctx context.Context, app App, accessToken perennial.Secret) (bool, error) {
	secret := app.Secrets()[0]
	if app.Provider.IntrospectURL == "" {
		return false, perennial.Errorf(perennial.CodeInvalid, "provider %s has no introspect_url: name an address of its API", app.Provider.Name)
	}
	req, err := app.introspection(ctx, secret, accessToken)
	if err != nil {
		return false, err
	}
	transport, err := c.through(app, secret)
	if err != nil {
		return false, err
	}
	body, err := ask(transport, app, req)
	if err != nil {
		return false, err
	}
	active, said := child(body, "active").(bool)
	if !said {
		return false, perennial.Errorf(perennial.CodeInvalid, "the introspection does not say whether the token is active: it has no member active")
	}
	return active, nil
}
