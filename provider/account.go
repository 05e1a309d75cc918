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
)

// AccountsFrom lists the places.
var AccountsFrom = []AccountFrom{AccountFromCallback, AccountFromReply, AccountFromIDToken, AccountFromIntrospection, AccountFromURL, AccountFromHost}

// AccountSource says where to find a new grant's account id. The zero value means that
// this is not known; then the configuration must say it.
type AccountSource struct {
	From AccountFrom `yaml:"from" enum:"callback,reply,id_token,introspection,url,host" doc:"The place: a parameter of the authorization response, a member of the token reply, a claim of its ID token, a member of the introspection reply, a member of the answer of url, or the account's own host."`
	Name string      `yaml:"name,omitempty" doc:"Of the parameter, member or claim; dots lead into objects and lists: 0.tenantId."`
	// URL is the URL for [AccountFromURL]. With [AccountFromCallback] it must answer
	// 2xx, with the parameter's value in place of {account}: the parameter travels
	// through the user's browser and needs this check.
	URL string `yaml:"url,omitempty" doc:"Requested with the access token. With from: callback it must answer 2xx, with the parameter's value in place of {account}."`
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
	case s.From != AccountFromHost && s.Name == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account needs the name of what holds the id", e.Name)
	case s.From == AccountFromHost && !e.HostNeeded():
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account from host needs a {host} in token_url", e.Name)
	case s.From == AccountFromURL && s.URL == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account from url needs a url", e.Name)
	case s.From == AccountFromCallback && s.URL != "" && !strings.Contains(s.URL, accountPlaceholder):
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: the url of account needs an {account}", e.Name)
	case s.From == AccountFromIntrospection && e.IntrospectURL == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: account from introspection needs an introspect_url", e.Name)
	}
	return nil
}

// maxAccount bounds an account id.
const maxAccount = 256

// Account is the provider's account of an access token.
type Account struct {
	ID     string
	Others []string // other accounts that the same grant reaches, if the answer is a list
	Scopes []string // nil: the provider does not say
}

// Account finds the account id of a new grant. hint comes from the authorization
// response or the token reply, host is the account's own, and secret is a client secret
// that the provider accepts. If there is no answer, the error is
// [perennial.CodeUnavailable]; if the answer has no id, [perennial.CodeInvalid].
// Neither error repeats a secret or any part of the answer.
func (c *Client) Account(ctx context.Context, app App, secret, accessToken perennial.Secret, hint, host string) (Account, error) {
	s := app.Provider.Account
	switch s.From {
	case AccountFromHost:
		return Account{ID: host}, nil
	case AccountFromCallback:
		if hint != "" && s.URL != "" {
			target := strings.ReplaceAll(s.URL, accountPlaceholder, url.PathEscape(hint))
			if _, err := c.askYoung(ctx, app, func() (*http.Request, error) { return bearer(ctx, target, accessToken) }); err != nil {
				return Account{}, err
			}
		}
		return account(app, hint)
	case AccountFromReply, AccountFromIDToken:
		return account(app, hint)
	case AccountFromIntrospection, AccountFromURL:
	default:
		return Account{}, perennial.Errorf(perennial.CodeInvalid, "app %s: say in account where its account ids are found", app.Name)
	}
	body, err := c.askYoung(ctx, app, func() (*http.Request, error) {
		if s.From == AccountFromIntrospection {
			return app.introspection(ctx, secret, accessToken)
		}
		return bearer(ctx, s.URL, accessToken)
	})
	if err != nil {
		return Account{}, err
	}
	found, err := account(app, at(body, s.Name))
	found.Others = others(app, body, s.Name)
	if m, ok := body.(map[string]any); ok {
		found.Scopes = scopes(m)
	}
	return found, err
}

// maxOthers bounds the accounts of one grant that are looked at.
const maxOthers = 1000

// others returns the ids that stand beside the one at path, if that leads into a list:
// for "0.tenantId", every tenantId from the second element on.
func others(app App, body any, path string) []string {
	names := strings.Split(path, ".")
	i := slices.Index(names, "0")
	if i < 0 {
		return nil
	}
	list, _ := walk(body, names[:i]).([]any)
	var ids []string
	for _, element := range list[min(1, len(list)):min(1+maxOthers, len(list))] {
		found, err := account(app, text(walk(element, names[i+1:])))
		if err == nil {
			ids = append(ids, found.ID)
		}
	}
	return ids
}

// account checks an id.
func account(app App, id string) (Account, error) {
	if id == "" || len(id) > maxAccount || clean(id, maxAccount) != id || !printable.Is(id) {
		return Account{}, perennial.Errorf(perennial.CodeInvalid, "%s does not say whose the grant is (%s %s)", app.Provider.Name, app.Provider.Account.From, app.Provider.Account.Name)
	}
	return Account{ID: id}, nil
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
		return nil, perennial.Errorf(perennial.CodeInvalid, "the introspect_url is not usable")
	}
	return req, nil
}

// maxAccountBody bounds how much of the answer about an account is read, in bytes: it may
// list many accounts.
const maxAccountBody = 1 << 20

// errNotYet is the error of a 401 about a token that is a moment old.
var errNotYet = errors.New("HTTP status 401")

// askYoung asks about a token that is a moment old. After a 401 it waits and asks a second
// and last time: the API may not know the token yet (LinkedIn).
func (c *Client) askYoung(ctx context.Context, app App, request func() (*http.Request, error)) (any, error) {
	for first := true; ; first = false {
		req, err := request()
		if err != nil {
			return nil, err
		}
		body, err := c.ask(app, req)
		if !errors.Is(err, errNotYet) || !first {
			return body, err
		}
		select {
		case <-time.After(c.youngToken):
		case <-ctx.Done():
			return nil, perennial.Errorf(perennial.CodeUnavailable, "ask %s whose the grant is: %s", app.Provider.Name, transportCode(ctx.Err()))
		}
	}
}

// ask sends a request once, follows no redirect, and reads JSON.
func (c *Client) ask(app App, req *http.Request) (any, error) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "perennial")
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeUnavailable, "ask %s whose the grant is: %s", app.Provider.Name, transportCode(err))
	}
	defer resp.Body.Close()
	switch status := resp.StatusCode; {
	case status >= 500, status == http.StatusTooManyRequests:
		return nil, perennial.Errorf(perennial.CodeUnavailable, "ask %s whose the grant is: HTTP status %d", app.Provider.Name, status)
	case status == http.StatusUnauthorized:
		return nil, perennial.Errorf(perennial.CodeInvalid, "ask %s whose the grant is: %w", app.Provider.Name, errNotYet)
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

// accountIn returns the account id in a token reply, "" for none.
func (a App) accountIn(raw []byte) string {
	body := readDocument(raw, true).root
	switch s := a.Provider.Account; s.From {
	case AccountFromReply:
		return at(body, s.Name)
	case AccountFromIDToken:
		claims, _ := a.claims(at(body, "id_token"))
		return at(claims, s.Name)
	}
	return ""
}

// idTokenProblem says why the ID token of a token reply does not count, "" if it does, or
// if the account is found elsewhere.
func (a App) idTokenProblem(raw []byte) string {
	body, err := decode(raw)
	if err != nil || a.Provider.Account.From != AccountFromIDToken {
		return ""
	}
	_, why := a.claims(at(body, "id_token"))
	return why
}

// claims reads an ID token. It came over TLS from the token endpoint itself, which
// replaces the check of its signature (OpenID Connect Core 3.1.3.7). claims checks that
// it is for this client and, if the issuer is known, from that issuer; if not, why says
// so.
func (a App) claims(idToken string) (claims any, why string) {
	parts := strings.Split(idToken, ".")
	if len(parts) != 3 {
		return nil, ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil, ""
	}
	if claims, err = decode(raw); err != nil {
		return nil, ""
	}
	if !a.isAudience(claims) {
		return nil, "the ID token is for another client: its aud does not name this app's client_id"
	}
	if iss := at(claims, "iss"); a.Provider.Issuer != "" && iss != a.Provider.Issuer {
		e := a.Provider
		e.IssuerSent = true // each ID token names its issuer
		return nil, "the ID token " + e.issuerProblem(iss)
	}
	return claims, ""
}

// isAudience reports whether an ID token is for this client.
func (a App) isAudience(claims any) bool {
	if m, ok := claims.(map[string]any); ok {
		if list, ok := m["aud"].([]any); ok {
			return slices.ContainsFunc(list, func(v any) bool { return text(v) == a.ClientID })
		}
	}
	return at(claims, "aud") == a.ClientID
}

// at returns the text at a path of member names and list indices, "" for none.
func at(v any, path string) string { return text(member(v, path)) }

// member returns what is at a path of member names and list indices, nil for nothing.
func member(v any, path string) any { return walk(v, strings.Split(path, ".")) }

// walk returns what is at the steps of such a path.
func walk(v any, path []string) any {
	for _, name := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}
