package provider_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/knownwrong"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// The cases of this file come from public reports by people who refresh tokens at the
// named providers. Some are not mended yet: they state what the code does today.

// reported is one answer of an endpoint in a report.
type reported struct {
	status  int
	headers map[string]string
	body    string
}

func (r reported) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for name, value := range r.headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, r.body) // a client that left reads nothing
}

// catalogued returns a catalogue entry that can be used with any endpoint.
func catalogued(t *testing.T, name string) provider.Entry {
	t.Helper()
	e, ok := provider.Lookup(name)
	require.True(t, ok)
	e.AuthStyle, e.HostSuffixes = max(e.AuthStyle, oauth2.AuthStyleInParams), nil
	return e
}

// refreshAt presents a refresh token of the entry's provider to an endpoint.
func refreshAt(t *testing.T, e provider.Entry, endpoint http.Handler) provider.Reply {
	t.Helper()
	server := httptest.NewServer(endpoint)
	defer server.Close()
	e.TokenURL = server.URL
	return provider.NewClient(provider.ClientConfig{}).Refresh(t.Context(), provider.App{Name: "app", ClientID: "id", Provider: e},
		perennial.NewSecret("client-secret-0001"), perennial.NewSecret("refresh-token-0001"), func(context.Context) error { return nil })
}

// TestReportedOutcomes: what a reply to a refresh means.
func TestReportedOutcomes(t *testing.T) {
	t.Parallel()
	const unknown = perennial.OutcomeUnknown
	for name, c := range map[string]struct {
		provider string
		reply    reported
		want     perennial.Outcome
		today    []perennial.Outcome
	}{
		"the grant is dead, in plain text":      {"generic", reported{400, map[string]string{"Content-Type": "text/plain"}, "invalid_grant"}, perennial.OutcomeRevoked, nil},
		"the grant is dead, with a space":       {"generic", reported{400, nil, `{"error":"invalid grant"}`}, perennial.OutcomeRevoked, nil},
		"the grant is dead, as invalid_request": {"generic", reported{400, nil, `{"error":"invalid_request","error_description":"Invalid refresh_token"}`}, perennial.OutcomeRevoked, nil},
		"Entra: the user must enrol": {"microsoft", reported{400, nil, `{"error":"interaction_required","error_description":"AADSTS50079: Because of a change by your administrator you must enrol in multi-factor authentication.\r\nTrace ID: 00000000","error_codes":[50079],"suberror":"basic_action"}`},
			perennial.OutcomeRevoked, nil},
		"Exact: refreshed too early": {"generic", reported{400, nil, `{"error":"access_denied","error_description":"Rate limit exceeded: access_token not expired"}`},
			perennial.OutcomeTooEarly, nil},
		"Entra: too many requests": {"microsoft", reported{400, nil, `{"error":"invalid_grant","error_description":"AADSTS50196: The server terminated an operation because it encountered a client request loop.","error_codes":[50196]}`},
			perennial.OutcomeRateLimited, nil},
		"Entra: one customer's directory removed the app": {"microsoft", reported{400, nil, `{"error":"unauthorized_client","error_description":"AADSTS700016: Application with identifier '00000000-0000-0000-0000-000000000000' was not found in the directory 'Contoso'.","error_codes":[700016]}`},
			perennial.OutcomeRevoked, nil},
		"the user must consent again":              {"generic", reported{400, nil, `{"error":"consent_required"}`}, perennial.OutcomeRevoked, nil},
		"temporarily_unavailable with a 400":       {"generic", reported{400, nil, `{"error":"temporarily_unavailable"}`}, perennial.OutcomeUnavailable, nil},
		"tokens after a guard prefix":              {"generic", reported{200, nil, ")]}',\n" + `{"access_token":"a-2","refresh_token":"r-2","expires_in":3600}`}, perennial.OutcomeRefreshed, nil},
		"a form that is cut after a member's name": {"generic", reported{200, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, "access_token=a-2&re"}, perennial.OutcomeRefreshed, nil},
		"tokens after a byte order mark": {"generic", reported{200, map[string]string{"Content-Type": "application/json"}, "\xef\xbb\xbf" + `{"access_token":"a-2","refresh_token":"r-2","expires_in":3600}`},
			perennial.OutcomeRefreshed, nil},
		"tokens under data":         {"generic", reported{200, nil, `{"code":0,"message":"OK","data":{"access_token":"a-2","refresh_token":"r-2","expires_in":86400}}`}, perennial.OutcomeRefreshed, nil},
		"JSON that says it is text": {"generic", reported{400, map[string]string{"Content-Type": "text/plain; charset=utf-8"}, `{"error":"invalid_grant"}`}, perennial.OutcomeRevoked, nil},
		"a hint beside the error":   {"generic", reported{400, nil, `{"error":"invalid_grant","message":"The refresh token is invalid.","hint":"Token has been revoked"}`}, perennial.OutcomeRevoked, nil},
		"a page of a 500":           {"generic", reported{500, map[string]string{"Content-Type": "text/html"}, `<html>Internal Server Error</html>`}, unknown, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			knownwrong.Equal(t, refreshAt(t, catalogued(t, c.provider), c.reply).Outcome, c.want, c.today...)
		})
	}
}

// TestReportedTokens: what is read from a reply with tokens.
func TestReportedTokens(t *testing.T) {
	t.Parallel()
	shopify := catalogued(t, "shopify")
	got := refreshAt(t, shopify, reported{200, nil, `{"access_token":"a-2","refresh_token":"r-2","refresh_token_expires_in":7776000,"scope":"write_products"}`})
	assert.Equal(t, perennial.OutcomeRefreshed, got.Outcome)
	assert.Positive(t, shopify.DefaultLifetime, "Shopify names no life")

	got = refreshAt(t, catalogued(t, "google"), reported{200, nil, `{"access_token":"a-2","refresh_token":"","expires_in":3599}`})
	assert.Equal(t, perennial.OutcomeRefreshed, got.Outcome)
	assert.True(t, got.Tokens.RefreshToken.IsZero(), "an empty one is none: the old one stays")

	got = refreshAt(t, catalogued(t, "generic"), reported{200, nil, `{"access_token":"a-2","refresh_token":"r-2","expires_in":300,"refresh_expires_in":0,"token_type":"Bearer","not-before-policy":0}`})
	assert.Zero(t, got.Tokens.RefreshTokenExpiresIn, "Keycloak's 0 is no end")

	got = refreshAt(t, catalogued(t, "github"), reported{200, nil, `{"access_token":"a-2","scope":"read:user,repo"}`})
	assert.Equal(t, []string{"read:user", "repo"}, got.Tokens.Scopes)

	got = refreshAt(t, catalogued(t, "generic"), reported{200, nil, fmt.Sprintf(`{"access_token":"a-2","expires_in":%d}`, time.Now().Add(time.Hour).Unix())})
	assert.InDelta(t, time.Hour.Seconds(), got.Tokens.ExpiresIn.Seconds(), 60, "an instant")

	got = refreshAt(t, catalogued(t, "generic"), reported{429, map[string]string{"Retry-After": fmt.Sprint(time.Now().Add(45 * time.Second).Unix())}, `{}`})
	assert.Less(t, got.RetryAfter, time.Minute, "an instant")
}

// TestReportedRedirects: a token endpoint that needs a slash at its end.
func TestReportedRedirects(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		var requests atomic.Int32
		got := refreshAt(t, catalogued(t, "generic"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			http.Redirect(w, r, "/o/token/", status)
		}))
		assert.Equal(t, int32(1), requests.Load(), status)
		assert.Equal(t, perennial.OutcomeMisconfigured, got.Outcome, status)
	}
}

// TestReportedProxies: a forward proxy refuses the tunnel, or answers with a page.
// Nothing reached the provider.
func TestReportedProxies(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"407":      "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
		"503":      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
		"a page":   "HTTP/1.1 200 OK\r\n\r\n<html>Access blocked</html>",
		"cut off":  "HTTP/1.1 200 Connection established\r\n\r\n",
		"no reply": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { _ = listener.Close() }) // the test is over
			go func() {
				for {
					c, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = c.Read(make([]byte, 4096)) // the request for a tunnel
					_, _ = io.WriteString(c, answer)
					_ = c.Close()
				}
			}()
			transport := http.DefaultTransport.(*http.Transport).Clone()
			transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: listener.Addr().String()})
			e := catalogued(t, "generic")
			e.TokenURL = "https://token.example.invalid/token"
			got := provider.NewClient(provider.ClientConfig{Transport: transport}).Refresh(t.Context(), provider.App{Name: "app", ClientID: "id", Provider: e},
				perennial.NewSecret("client-secret-0001"), perennial.NewSecret("refresh-token-0001"), func(context.Context) error { return nil })
			assert.Equal(t, perennial.OutcomeUnavailable, got.Outcome, got.Code)
			assert.False(t, got.Sent)
		})
	}
}

// TestReportedScopes: scopes that are granted under other names than the requested
// ones.
func TestReportedScopes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provider          string
		required, granted []string
	}{
		"Shopify: write implies read":      {"shopify", []string{"read_inventory", "write_inventory", "read_orders"}, []string{"write_inventory", "read_orders"}},
		"Microsoft: another case":          {"microsoft", []string{"user.read", "mail.read"}, []string{"User.Read", "Mail.Read"}},
		"Microsoft: with the resource":     {"microsoft", []string{"User.Read"}, []string{"https://graph.microsoft.com/User.Read"}},
		"Google: the long name of a scope": {"google", []string{"openid", "email", "https://www.googleapis.com/auth/drive"}, []string{"openid", "https://www.googleapis.com/auth/userinfo.email", "https://www.googleapis.com/auth/drive"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Empty(t, catalogued(t, c.provider).MissingScopes(c.required, c.granted))
		})
	}
}

// TestReportedHosts: Zoho's data centres.
func TestReportedHosts(t *testing.T) {
	t.Parallel()
	entry, ok := provider.Lookup("zoho")
	require.True(t, ok)
	for _, host := range []string{"accounts.zoho.com", "accounts.zoho.eu", "accounts.zohocloud.ca", "accounts.zoho.sa", "accounts.zoho.uk", "accounts.zoho.com.cn"} {
		_, err := provider.App{Name: "zoho", Provider: entry}.At(host)
		assert.NoError(t, err, host)
	}
}

// TestReportedAccounts: which account a grant belongs to.
func TestReportedAccounts(t *testing.T) {
	t.Parallel()
	ask := func(name string, answer reported) (provider.Account, error) {
		server := httptest.NewServer(answer)
		defer server.Close()
		e := catalogued(t, name)
		e.Account.URL = server.URL
		return provider.NewClient(provider.ClientConfig{}).Account(t.Context(), provider.App{Name: name, ClientID: "id", Provider: e},
			perennial.NewSecret("client-secret-0001"), perennial.NewSecret("access-token-0001"), "", "")
	}
	_, err := ask("linkedin", reported{401, nil, `{"status":401,"serviceErrorCode":65601,"code":"REVOKED_ACCESS_TOKEN","message":"The token used in the request has been revoked by the user"}`})
	assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err), "LinkedIn's API accepts a new token only a moment later")

	got, err := ask("xero", reported{200, nil, `[{"id":"c1","authEventId":"e0","tenantId":"org-old","tenantType":"ORGANISATION"},{"id":"c2","authEventId":"e1","tenantId":"org-just-chosen","tenantType":"ORGANISATION"}]`})
	require.NoError(t, err)
	assert.Empty(t, got.ID, "not the first of the list: the customer chooses")
	assert.Equal(t, []string{"org-old", "org-just-chosen"}, got.IDs())
}
