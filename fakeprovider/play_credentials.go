package fakeprovider

import (
	"crypto"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/perennial-oauth/perennial/provider"
)

// Customer is what the provider knows of a customer who gave credentials in place of a
// consent.
type Customer struct {
	// Credentials have the values that the customer's requests must have, by their names
	// in the description. A private key is none of them.
	Credentials map[string]string
	// Key verifies what the customer's own private key signs; nil: the client signs.
	Key crypto.PublicKey
}

// customer is one of a client's.
type customer struct {
	Customer
	client string
}

// AddCustomer lets a customer of a client ask for access tokens, in a play of a provider
// whose connections are made from credentials. Accounts are unique among all clients.
// keys verify what the client signs.
func (s *Server) AddCustomer(client, account string, c Customer, keys ...crypto.PublicKey) error {
	if _, err := s.Grant(client, account); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.customers == nil {
		s.customers, s.keys = map[string]*customer{}, map[string][]crypto.PublicKey{}
	}
	s.customers[account], s.keys[client] = &customer{c, client}, keys
	key := grantKey(client, account)
	s.refresh[key] = &refreshToken{Grant: key, Consent: s.grants[key].Consent}
	return nil
}

// SetKeys replaces the keys that verify what a client signs.
func (s *Server) SetKeys(client string, keys ...crypto.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[client] = keys
}

// takesCredentials reports whether the play's connections are made from credentials.
func (p *Play) takesCredentials() bool { return p != nil && p.Entry.Grant.FromCredentials() }

// place matches the names of credentials in an address.
var place = regexp.MustCompile(`\\\{([a-z][a-z0-9_]*)\\\}`)

// placed returns the credentials that stand in an address of the token endpoint.
func (p *Play) placed(address string) (url.Values, bool) {
	pattern := place.ReplaceAllString(regexp.QuoteMeta(p.Entry.TokenURL), `(?P<$1>[^/?]+)`)
	form, err := regexp.Compile("^" + pattern + "$")
	if err != nil {
		return nil, false
	}
	found := form.FindStringSubmatch(address)
	values := url.Values{}
	for i, name := range form.SubexpNames() {
		if found != nil && name != "" && name != "host" {
			values.Set(name, found[i])
		}
	}
	return values, found != nil
}

// signed returns the token that the request's client or customer has signed.
func (p *Play) signed(r *http.Request) string {
	switch {
	case p.Entry.Grant == provider.GrantInstallation:
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		return token
	case p.Entry.Grant == provider.GrantJWTBearer:
		return r.PostForm.Get("assertion")
	}
	return r.PostForm.Get("client_assertion")
}

// standsAt returns where a request has the values of credentials: name and value.
func (p *Play) standsAt(r *http.Request, claims map[string]any) map[string]string {
	e, seen := p.Entry, map[string]string{}
	note := func(text, value string) {
		if name := strings.Trim(text, "{}"); "{"+name+"}" == text && value != "" {
			seen[name] = value
		}
	}
	for name := range r.URL.Query() {
		seen[name] = r.URL.Query().Get(name)
	}
	for member, text := range e.RefreshParams {
		note(text, r.PostForm.Get(member))
	}
	if e.Grant == provider.GrantJWTBearer {
		note(e.Assertion.Issuer, fmt.Sprint(claims["iss"]))
		if sub, ok := claims["sub"].(string); ok {
			note(e.Assertion.Subject, sub)
		}
	}
	if user, password, ok := r.BasicAuth(); ok {
		seen["client_id"], _ = url.QueryUnescape(user)
		seen["client_secret"], _ = url.QueryUnescape(password)
	}
	return seen
}

// credentialToken serves a request for an access token that a customer's credentials make.
func (s *Server) credentialToken(w http.ResponseWriter, r *http.Request) {
	p := s.play
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != p.grantType() {
		s.refuse(w, r, Knobs{}, refusal{"unsupported_grant_type", "The grant type is another one."})
		return
	}
	raw, claims := p.signed(r), map[string]any{}
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err == nil {
		err = token.UnsafeClaimsWithoutVerification(&claims)
	}
	signs := p.Entry.Grant != provider.GrantClientCredentials || provider.Describe(p.Entry).AuthStyle == "private_key_jwt"
	seen := p.standsAt(r, claims)
	s.mu.Lock()
	account, c := s.customerOf(seen)
	var keys []crypto.PublicKey
	if c != nil {
		keys = s.keys[c.client]
		if c.Key != nil {
			keys = []crypto.PublicKey{c.Key}
		}
		s.requests = append(s.requests, request{s.now(), c.client})
	}
	s.mu.Unlock()
	switch {
	case c == nil:
		s.refuse(w, r, Knobs{}, badGrant)
	case signs && (err != nil || !s.verified(token, c.client, keys)):
		no := badClient
		if c.Key != nil {
			no = badGrant
		}
		s.refuse(w, r, Knobs{}, no)
	default:
		r.PostForm = url.Values{"refresh_token": {grantKey(c.client, account)}}
		s.refreshGrant(w, r, c.client)
	}
}

func (p *Play) grantType() string {
	switch e := p.Entry; {
	case e.GrantType != "":
		return e.GrantType
	case e.Grant == provider.GrantClientCredentials:
		return "client_credentials"
	case e.Grant == provider.GrantJWTBearer:
		return "urn:ietf:params:oauth:grant-type:jwt-bearer"
	}
	return ""
}

// customerOf returns the customer whose credentials a request has, all of them. The caller
// holds the lock.
func (s *Server) customerOf(seen map[string]string) (account string, c *customer) {
	for account, c := range s.customers {
		same := len(c.Credentials) > 0
		for name, value := range c.Credentials {
			same = same && seen[name] == value
		}
		if same {
			return account, c
		}
	}
	return "", nil
}

// maxAssertionLife is the longest life of a signed token.
const maxAssertionLife = 5 * time.Minute

// verified verifies a signed token: by one of the keys, within its short life, for this
// endpoint or what the description names, and for the first time.
func (s *Server) verified(token *jwt.JSONWebToken, client string, keys []crypto.PublicKey) bool {
	var c jwt.Claims
	if !slices.ContainsFunc(keys, func(key crypto.PublicKey) bool { return token.Claims(key, &c) == nil }) {
		return false
	}
	e := s.play.Entry
	if c.ValidateWithLeeway(jwt.Expected{Time: s.now()}, 0) != nil || c.Expiry == nil || c.IssuedAt == nil || c.Expiry.Time().Sub(c.IssuedAt.Time()) > maxAssertionLife {
		return false
	}
	endpoint := slices.ContainsFunc(c.Audience, func(audience string) bool {
		_, own := s.play.placed(audience)
		return own && e.Assertion.Audience == "" || audience != "" && audience == e.Assertion.Audience
	})
	switch {
	case e.Grant == provider.GrantInstallation:
		return c.Issuer == client
	case !endpoint, e.Grant == provider.GrantClientCredentials && (c.Issuer != client || c.Subject != client):
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.ID == "" || s.jtis[c.ID] {
		return false
	}
	if s.jtis == nil {
		s.jtis = map[string]bool{}
	}
	s.jtis[c.ID] = true
	return true
}
