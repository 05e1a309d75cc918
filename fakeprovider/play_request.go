package fakeprovider

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial/provider"
	"golang.org/x/oauth2"
)

// readForm reads a token request's members into its form: from JSON if the provider
// takes JSON, and from a form otherwise. Each takes only its own.
func (p *Play) readForm(r *http.Request) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("read the content type: %w", err)
	}
	if !p.Entry.JSONBody {
		if kind != "application/x-www-form-urlencoded" {
			return errors.New("the request must be a form")
		}
		return r.ParseForm()
	}
	if kind != "application/json" {
		return errors.New("the request must be JSON")
	}
	var members map[string]string
	if err := json.NewDecoder(r.Body).Decode(&members); err != nil {
		return fmt.Errorf("read the members: %w", err)
	}
	r.PostForm = url.Values{}
	for name, value := range members {
		r.PostForm.Set(name, value)
	}
	r.Form = r.PostForm
	return nil
}

// misplaced reports whether a refresh, or a code, came to the endpoint of the other.
func (p *Play) misplaced(r *http.Request) bool {
	refresh := r.PostForm.Get("grant_type") == "refresh_token"
	return (r.URL.Path == "/refresh") != (refresh && p.Entry.RefreshURL != "")
}

// lacks names a member of the request that the provider asks for, "" if it has all.
func lacks(form url.Values, wanted map[string]string) string {
	for name, value := range wanted {
		if form.Get(name) != value {
			return name
		}
	}
	return ""
}

// programs are the paths that programs call, and not browsers or tests.
var programs = []string{"/token", "/refresh", "/exchange", "/first-exchange", "/introspect", "/revoke", "/account"}

// lacksHeader reports whether a program's request has not the headers that the provider
// wants. Of one that has the client's id any value will do.
func (p *Play) lacksHeader(r *http.Request) bool {
	if !slices.Contains(programs, r.URL.Path) {
		return false
	}
	for name, value := range p.Entry.RequestHeaders {
		if got := r.Header.Get(name); got == "" || got != value && !strings.Contains(value, "{") {
			return true
		}
	}
	return false
}

// credentials returns the client id and secret of a request, if it authenticates in the
// provider's way and in no other (RFC 6749 section 2.3: a client must not use more than
// one). Where the secret stands for the user, id is empty.
func (p *Play) credentials(r *http.Request) (id, secret string, ok bool) {
	user, password, basic := r.BasicAuth()
	id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if p.Entry.AuthStyle != oauth2.AuthStyleInHeader {
		return id, secret, id != "" && r.Header.Get("Authorization") == "" && (secret == "") == p.public()
	}
	if !basic || secret != "" {
		return "", "", false
	}
	id, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	if p.Entry.SecretAsUser {
		return "", id, secret == "" && err1 == nil
	}
	return id, secret, err1 == nil && err2 == nil
}

// public reports whether the clients have no secrets.
func (p *Play) public() bool { return provider.Describe(p.Entry).AuthStyle == "none" }

// ownerOf returns the client with a secret. The caller holds the lock.
func (s *Server) ownerOf(secret string) string {
	for id, c := range s.clients {
		if slices.Contains(c.Secrets, secret) {
			return id
		}
	}
	return ""
}

// scopesOf splits the scopes of an authorization request.
func (s *Server) scopesOf(q url.Values) []string {
	scope := q.Get("scope")
	if s.play != nil && s.play.Entry.ScopeSeparator != "" {
		return strings.FieldsFunc(scope, func(r rune) bool { return strings.ContainsRune(s.play.Entry.ScopeSeparator, r) })
	}
	return strings.Fields(scope)
}

// wantsFrom returns the members that the provider asks for in an authorization request.
func (s *Server) wantsFrom() map[string]string {
	if s.play == nil {
		return nil
	}
	return s.play.Entry.AuthParams
}

// callbackName returns the parameter in which the authorization response names the
// account.
func (s *Server) callbackName() string {
	switch {
	case s.play == nil:
		return "account"
	case s.play.Entry.Account.From == provider.AccountFromCallback:
		return s.play.Entry.Account.Name
	}
	return ""
}

// hostName returns the parameter in which the authorization response names the account's
// host.
func (s *Server) hostName() string {
	if s.play == nil {
		return ""
	}
	return s.play.Entry.HostFrom
}

// issuerOf returns what an authorization response names as iss (RFC 9207), and an ID
// token.
func (s *Server) issuerOf() string {
	if s.play != nil {
		return s.play.Entry.Issuer
	}
	return s.issuer
}

// whose answers about the account of an access token, at the address that the
// description names.
func (s *Server) whose(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[token]
	if s.play == nil || t == nil || t.Dead || s.grants[t.Grant].Revoked || !s.now().Before(t.Expires) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		return
	}
	reply(w, http.StatusOK, named(s.play.Entry.Account, s.grants[t.Grant].Account))
}

// named returns an answer that names an account as the description says.
func named(from provider.AccountSource, account string) any {
	path := split(from.Name)
	body := set(nil, path, account)
	if i := slices.Index(path, "*"); i >= 0 && from.Title != "" {
		body = set(body, append(slices.Clone(path[:i+1]), split(from.Title)...), "The title of "+account)
	}
	return body
}
