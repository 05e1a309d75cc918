package provider

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
)

// AccountFrom is the place in which a provider names the account of a grant.
type AccountFrom string

// The places.
const (
	AccountFromCallback      AccountFrom = "callback"      // a parameter of the authorization response
	AccountFromReply         AccountFrom = "reply"         // a member of the token reply
	AccountFromIDToken       AccountFrom = "id_token"      // a claim of its ID token (OpenID Connect Core)
	AccountFromIntrospection AccountFrom = "introspection" // a member of the introspection reply (RFC 7662)
	AccountFromURL           AccountFrom = "url"           // a member of a URL's answer to the access token
	AccountFromHost          AccountFrom = "host"          // the host, of which each account has its own
	AccountFromCredentials   AccountFrom = "credentials"   // one of the credentials that the customer gave
)

// AccountsFrom lists the places.
var AccountsFrom = []AccountFrom{AccountFromCallback, AccountFromReply, AccountFromIDToken, AccountFromIntrospection, AccountFromURL, AccountFromHost, AccountFromCredentials}

// AccountSource says where to find a new grant's account id. The zero value means that
// this is not known; then the configuration must say it.
type AccountSource struct {
	From AccountFrom `yaml:"from" enum:"callback,reply,id_token,introspection,url,host,credentials" doc:"The place: a parameter of the authorization response, a member of the token reply, a claim of its ID token, a member of the introspection reply, a member of the answer of url, the account's own host, or one of the credentials (a|b: the first of them that is given)."`
	// Name is the name of the parameter, member or claim. A "*" stands for every element of
	// a list, and so does a 0: the grant then may reach several accounts, and somebody
	// chooses.
	Name string `yaml:"name,omitempty" doc:"Of the parameter, member or claim; dots lead into objects and lists: data.gid, *.tenantId. A * stands for every element of a list, of which the customer chooses one."`
	// Title is the name of the member that has the account's title, beside the id in the
	// same element of the list. Empty: none has.
	Title string `yaml:"title,omitempty" doc:"Of the member with the account's title, beside the id in the same element of the list: tenantName."`
	// URL is the URL for [AccountFromURL]. [AccountFromCallback] needs one too, because
	// the parameter travels through the user's browser, where anybody can change it: with
	// its value in place of {account}, the URL must answer 2xx to the new access token.
	URL string `yaml:"url,omitempty" doc:"Requested with the access token. With from: callback it must answer 2xx, with the parameter's value in place of {account}."`
	// SandboxURL is asked if URL refuses the token, at a provider whose sandbox has an API
	// of its own but the same token endpoint.
	SandboxURL string `yaml:"sandbox_url,omitempty" doc:"Requested if url refuses the token, for a sandbox that has an API of its own but the same token endpoint."`
}

// urls returns the URLs to ask about an account, in order.
func (s AccountSource) urls() []string {
	if s.SandboxURL == "" {
		return []string{s.URL}
	}
	return []string{s.URL, s.SandboxURL}
}

// placed reports whether each URL has a place for the account id.
func (s AccountSource) placed() bool {
	return !slices.ContainsFunc(s.urls(), func(u string) bool { return !strings.Contains(u, accountPlaceholder) })
}

// accountPlaceholder stands for the account id in [AccountSource.URL].
const accountPlaceholder = "{account}"

func (e Entry) validateAccount() error {
	s := e.Account
	switch {
	case s == AccountSource{}:
		return nil
	case !slices.Contains(AccountsFrom, s.From):
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account from %q is not one of %v", e.Name, s.From, AccountsFrom)
	case s.From == AccountFromCredentials && !e.Grant.FromCredentials():
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account from credentials needs a grant with credentials", e.Name)
	case s.From != AccountFromHost && s.Name == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account needs the name of what holds the id", e.Name)
	case s.From == AccountFromHost && !e.HostNeeded():
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account from host needs a {host} in token_url", e.Name)
	case s.From == AccountFromURL && s.URL == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account from url needs a url", e.Name)
	case s.From == AccountFromCallback && s.URL == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account from callback needs a url with {account} in it, which answers 2xx only to a token of that account: a callback's parameters can be changed in the browser", e.Name)
	case s.From == AccountFromCallback && !s.placed():
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: the url of account needs an {account}", e.Name)
	case s.From == AccountFromIntrospection && e.IntrospectURL == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account from introspection needs an introspect_url", e.Name)
	}
	return nil
}

// maxAccount bounds an account id.
const maxAccount = 256

// Account finds the account id of a new grant. hint comes from the authorization
// response or the token reply, host is the account's own, and secret is a client secret
// that the provider accepts. If there is no answer, or the provider does not accept the
// token ([ErrTokenNotAccepted]), also after a short wait, the error is
// [perennial.CodeUnavailable]; if the answer has no id, [perennial.CodeInvalid].
// Neither error repeats a secret or any part of the answer.
func (c *Client) Account(ctx context.Context, app App, secret, accessToken perennial.Secret, hint, host string) (Account, error) {
	s := app.Provider.Account
	switch s.From {
	case AccountFromHost:
		return Account{ID: host}, nil
	case AccountFromCallback:
		return c.confirmed(ctx, app, accessToken, hint)
	case AccountFromReply, AccountFromIDToken:
		return account(app, hint)
	case AccountFromIntrospection, AccountFromURL:
	default:
		return Account{}, perennial.Errorf(perennial.CodeInvalid, "app %s: say in account where its account ids are found", app.Name)
	}
	body, err := patiently(ctx, func() (any, error) { return c.describe(ctx, app, secret, accessToken) })
	if err != nil {
		return Account{}, err
	}
	found := accountOf(s.choices(body))
	if len(found.IDs()) == 0 {
		_, err = account(app, "")
	}
	if m, ok := body.(map[string]any); ok {
		found.Scopes = scopes(m)
	}
	return found, err
}

// describe returns what the provider answers about an access token.
func (c *Client) describe(ctx context.Context, app App, secret, accessToken perennial.Secret) (any, error) {
	if app.Provider.Account.From == AccountFromURL {
		return c.lookUp(ctx, app, app.Provider.Account, accessToken)
	}
	req, err := app.introspection(ctx, secret, accessToken)
	if err != nil {
		return nil, err
	}
	transport, err := c.through(app, secret)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "ask %s whose the grant is: %w", app.Provider.Name, err)
	}
	body, err := ask(transport, app, req)
	if errors.Is(err, ErrTokenNotAccepted) { // the Authorization was the client's
		return nil, perennial.Errorf(perennial.CodeInvalid, "ask %s whose the grant is: the introspection refuses the client", app.Provider.Name)
	}
	if active, said := child(body, "active").(bool); said && !active {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "ask %s whose the grant is: not active: %w", app.Provider.Name, ErrTokenNotAccepted)
	}
	return body, err
}

// confirmed returns the account that an authorization response names, once the provider
// has confirmed with the new access token that it is the grant's.
func (c *Client) confirmed(ctx context.Context, app App, accessToken perennial.Secret, hint string) (Account, error) {
	claimed, err := account(app, hint)
	if err != nil {
		return Account{}, err
	}
	s := app.Provider.Account
	if !s.placed() || strings.Trim(hint, ".") == "" { // "..": servers resolve it to another path
		return Account{}, perennial.Errorf(perennial.CodeInvalid, "%s: the account that the callback names cannot be verified", app.Provider.Name)
	}
	s.URL, s.SandboxURL = withAccount(s.URL, hint), withAccount(s.SandboxURL, hint)
	_, err = patiently(ctx, func() (any, error) { return c.lookUp(ctx, app, s, accessToken) })
	return claimed, err
}

// withAccount puts an account id into a URL. Every character is escaped that could end
// its part of a path or a query.
func withAccount(target, id string) string {
	return strings.ReplaceAll(target, accountPlaceholder, strings.ReplaceAll(url.QueryEscape(id), "+", "%20"))
}

// lookUp asks the URLs of an account in order, until one does not refuse the token.
func (c *Client) lookUp(ctx context.Context, app App, s AccountSource, accessToken perennial.Secret) (body any, err error) {
	var errs []error
	for _, target := range s.urls() {
		var req *http.Request
		if req, err = bearer(ctx, target, accessToken); err != nil {
			return nil, err
		}
		if body, err = ask(c.to(app), app, req); !refusesToken(err) {
			return body, err
		}
		errs = append(errs, err)
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return errors.Is(err, ErrTokenNotAccepted) }); i >= 0 {
		return nil, errs[i] // this one may accept it in a moment
	}
	return nil, err
}

// refusesToken reports whether a look-up failed because of its token, and not because the
// provider did not answer.
func refusesToken(err error) bool {
	return perennial.CodeOf(err) == perennial.CodeInvalid || errors.Is(err, ErrTokenNotAccepted)
}

// account checks an id.
func account(app App, id string) (Account, error) {
	if !isAccount(id) {
		return Account{}, perennial.Errorf(perennial.CodeInvalid, "%s does not say whose the grant is (%s %s)", app.Provider.Name, app.Provider.Account.From, app.Provider.Account.Name)
	}
	return Account{ID: id}, nil
}

// isAccount reports whether id can be an account's id.
func isAccount(id string) bool {
	return id != "" && len(id) <= maxAccount && clean(id, maxAccount) == id && printable.Is(id)
}

func bearer(ctx context.Context, target string, token perennial.Secret) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "the url of account is not usable")
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	return req, nil
}

// introspection makes a request of RFC 7662 section 2.1.
func (a App) introspection(ctx context.Context, secret, token perennial.Secret) (*http.Request, error) {
	form := url.Values{"token": {token.Reveal()}, "token_type_hint": {"access_token"}}
	req, err := a.clientRequest(ctx, a.Provider.IntrospectURL, secret, form)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "introspect_url: %w", err)
	}
	return req, nil
}

// ErrTokenNotAccepted is part of the error of a look-up if the provider does not accept
// the access token: a 401 (RFC 6750 section 3.1), or an introspection that calls it not
// active. Many providers' APIs know a new token only a moment later.
var ErrTokenNotAccepted = errors.New("the provider does not accept the access token")

// tokenDelay is how long a look-up waits before it tries a token once more that was not
// accepted.
const tokenDelay = time.Second

// patiently looks an account up, and once more after a short wait if the token was not
// accepted.
func patiently(ctx context.Context, look func() (any, error)) (any, error) {
	body, err := look()
	if !errors.Is(err, ErrTokenNotAccepted) {
		return body, err
	}
	timer := time.NewTimer(tokenDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return look()
	case <-ctx.Done():
		return nil, err
	}
}

// maxAccountBody bounds how much of the answer about an account is read, in bytes: it may
// list many accounts.
const maxAccountBody = 1 << 20

// ask sends a request once, follows no redirect, and reads JSON.
func ask(transport http.RoundTripper, app App, req *http.Request) (any, error) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "perennial")
	app.setHeaders(req.Header)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "ask %s whose the grant is: %s", app.Provider.Name, transportCode(err))
	}
	defer resp.Body.Close()
	switch status := resp.StatusCode; {
	case status >= 500, status == http.StatusTooManyRequests:
		return nil, perennial.Errorf(perennial.CodeUnavailable, "ask %s whose the grant is: HTTP status %d", app.Provider.Name, status)
	case status == http.StatusUnauthorized:
		return nil, perennial.Errorf(perennial.CodeUnavailable, "ask %s whose the grant is: HTTP status %d: %w", app.Provider.Name, status, ErrTokenNotAccepted)
	case status < 200 || status >= 300:
		return nil, perennial.Errorf(perennial.CodeInvalid, "ask %s whose the grant is: HTTP status %d", app.Provider.Name, status)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAccountBody))
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "ask %s whose the grant is: %s", app.Provider.Name, transportCode(err))
	}
	body, err := decode(raw)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "ask %s whose the grant is: the answer is not JSON", app.Provider.Name)
	}
	return body, nil
}

func decode(raw []byte) (any, error) {
	var body any
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	if err := decoder.Decode(&body); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	return body, nil
}

// accountsIn returns the accounts in a token reply. If it names a problem, they are from
// an ID token that is not for this app, and nothing may be stored for them.
func (a App) accountsIn(raw []byte) (accounts []Choice, problem string) {
	body := readDocument(raw, true).root
	switch s := a.Provider.Account; s.From {
	case AccountFromReply:
		return s.choices(body), ""
	case AccountFromIDToken:
		claims := idTokenClaims(at(body, "id_token"))
		if claims == nil {
			return nil, ""
		}
		return s.choices(claims), a.claimsProblem(claims)
	}
	return nil, ""
}

// idTokenClaims reads an ID token, nil if it cannot be read. It came over TLS from the
// token endpoint itself, which replaces the check of its signature (OpenID Connect Core
// 3.1.3.7).
func idTokenClaims(idToken string) any {
	parts := strings.Split(idToken, ".")
	if len(parts) != 3 {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil
	}
	claims, err := decode(raw)
	if err != nil {
		return nil
	}
	return claims
}

// claimsProblem says why an ID token's claims are not for this app, "" if they are: for
// its client and, if the issuer is known, from that issuer.
func (a App) claimsProblem(claims any) string {
	ours := at(claims, "aud") == a.ClientID
	if m, ok := claims.(map[string]any); ok {
		if list, ok := m["aud"].([]any); ok {
			ours = slices.ContainsFunc(list, func(v any) bool { return text(v) == a.ClientID })
		}
	}
	if iss := at(claims, "iss"); a.Provider.Issuer != "" && iss != a.Provider.Issuer {
		return a.Provider.IssuerProblem(iss)
	}
	if !ours {
		return "it is for another client than the client_id of the configuration"
	}
	return ""
}

// at returns the text at a path of member names and list indices, "" for none.
func at(v any, path string) string { return text(member(v, path)) }

// member returns what is at a path of member names and list indices, nil for nothing.
// The empty path is the value itself.
func member(v any, path string) any {
	if path != "" {
		for name := range strings.SplitSeq(path, ".") {
			v = child(v, name)
		}
	}
	return v
}

// child returns a member of an object or an element of a list, nil for none.
func child(v any, name string) any {
	switch in := v.(type) {
	case map[string]any:
		return in[name]
	case []any:
		if i, err := strconv.Atoi(name); err == nil && 0 <= i && i < len(in) {
			return in[i]
		}
	}
	return nil
}
