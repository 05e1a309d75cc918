package fakeprovider

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"
)

// Config configures a [Server].
type Config struct {
	// Clients maps client ids to clients. The server refuses every other client.
	Clients map[string]Client
	// StateFile, if set, preserves the grants over a restart. The server rewrites the
	// whole file after each change.
	StateFile string
	// Issuer, if set, is sent as iss in each authorization response (RFC 9207).
	Issuer string
	// Play, if set, makes the whole server answer as one provider does. A client without
	// knobs gets [Play.Knobs].
	Play *Play
	// Now defaults to time.Now.
	Now func() time.Time
}

// Client is one client registration.
type Client struct {
	Secrets      []string `json:"secrets"` // each of them is valid
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	Knobs        Knobs    `json:"knobs"` // for its grants that have none of their own
}

// Server is an [http.Handler]. It is safe for concurrent use; it holds no lock while it
// waits.
type Server struct {
	now    func() time.Time
	file   string
	issuer string
	play   *Play
	mux    *http.ServeMux

	mu        sync.Mutex
	clients   map[string]*Client
	grants    map[string]*grant // by grantKey
	access    map[string]*accessToken
	accessOf  map[string][]*accessToken // by grant; only tokens that may still be live
	refresh   map[string]*refreshToken
	codes     map[string]*code
	limits    map[string]time.Time // until when, by limitKey
	requests  []request            // to the token endpoint
	customers map[string]*customer // by account; see [Server.AddCustomer]
	keys      map[string][]crypto.PublicKey
	jtis      map[string]bool // of the signed tokens that were accepted
	presented []Presentation
}

// New returns a server, with the grants of its state file if that exists.
func New(c Config) (*Server, error) {
	s := &Server{now: c.Now, file: c.StateFile, issuer: c.Issuer, play: c.Play, mux: http.NewServeMux(), clients: map[string]*Client{}, grants: map[string]*grant{},
		access: map[string]*accessToken{}, accessOf: map[string][]*accessToken{}, refresh: map[string]*refreshToken{}, codes: map[string]*code{}, limits: map[string]time.Time{}}
	if s.now == nil {
		s.now = time.Now
	}
	for id, client := range c.Clients {
		if s.play != nil && reflect.ValueOf(client.Knobs).IsZero() {
			client.Knobs = s.play.Knobs()
		}
		s.clients[id] = &client
	}
	if err := s.restore(); err != nil {
		return nil, err
	}
	s.mux.HandleFunc("GET /authorize", s.authorizePage)
	s.mux.HandleFunc("POST /authorize", s.authorizeAnswer)
	s.mux.HandleFunc("POST /token", s.token)
	s.mux.HandleFunc("POST /refresh", s.token)
	for _, path := range []string{"GET /token", "/exchange", "/first-exchange"} {
		s.mux.HandleFunc(path, s.token)
	}
	s.mux.HandleFunc("POST /introspect", s.introspect)
	s.mux.HandleFunc("POST /revoke", s.revoke)
	s.mux.HandleFunc("GET /userinfo", s.userinfo)
	s.mux.HandleFunc("GET /account", s.whose)
	s.mux.HandleFunc("GET /accounts/{account}", s.account)
	s.mux.HandleFunc("/api/", s.api)
	s.mux.HandleFunc("GET /_oracle", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, s.Oracle()) })
	s.mux.HandleFunc("POST /_control/grant", s.controlGrant)
	s.mux.HandleFunc("POST /_control/knobs", s.controlKnobs)
	s.mux.HandleFunc("POST /_control/secrets", s.controlSecrets)
	s.mux.HandleFunc("POST /_control/revoke", s.controlRevoke)
	return s, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if s.play != nil && s.play.lacksHeader(r) {
		s.refuse(w, r, Knobs{}, refusal{"invalid_request", "A header is missing."})
		return
	}
	s.mux.ServeHTTP(w, r)
}

// grant is one account's consent to one client.
type grant struct {
	Client, Account string
	Host            string // where the account's own endpoints are; empty: at the same host as all
	Scopes          []string
	Knobs           *Knobs // nil: the client's knobs
	Revoked         bool
	Refreshes       int
	Consumed        int // presentations of a consumed token that its replay class does not allow
	Since           time.Time
	LastUsed        time.Time
	InFlight        int // refresh requests in progress
	MostInFlight    int
	Writes          []string
	Repeats         int // writes with a known key
	Consent         int // how often the user approved access
}

// request is one request to the token endpoint.
type request struct {
	At     time.Time
	Client string // the client id that the request claims
}

type accessToken struct {
	Grant   string
	Issued  time.Time
	Expires time.Time
	Dead    bool
}

type refreshToken struct {
	Grant     string
	Consent   int // the consent of the grant that issued it
	Presented int
	Consumed  time.Time // first use; zero: unused
	Dead      bool
	Reply     *TokenReply // the reply to its first use
	First     bool        // an access token of a consent, which stands for one
}

func grantKey(client, account string) string { return client + "/" + account }

// TokenReply is the body of RFC 6749 section 5.1.
type TokenReply struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	TokenType    string `json:"token_type"`
	ExpiresIn    any    `json:"expires_in,omitempty"`
	Scope        string `json:"scope,omitempty"`
	IDToken      string `json:"id_token,omitempty"`

	HubID                 string   `json:"hub_id,omitempty"` // with [Knobs].HubSpot
	Scopes                []string `json:"scopes,omitempty"` // with [Knobs].HubSpot
	RefreshTokenExpiresIn int64    `json:"x_refresh_token_expires_in,omitempty"`

	newRefresh bool // the refresh token is a new one
}

// Grant makes a consent, as if account had approved it, and returns its first tokens.
// It replaces an existing grant, whose tokens end.
func (s *Server) Grant(client, account string, scopes ...string) (TokenReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[client] == nil {
		return TokenReply{}, fmt.Errorf("no client %q", client)
	}
	key := grantKey(client, account)
	old := s.grants[key]
	if old != nil {
		s.killTokens(key)
	}
	g := &grant{Client: client, Account: account, Scopes: scopes, Since: s.now(), LastUsed: s.now()}
	if old != nil {
		g.Knobs, g.Refreshes, g.Consumed, g.Writes, g.Repeats, g.Consent = old.Knobs, old.Refreshes, old.Consumed, old.Writes, old.Repeats, old.Consent+1
	}
	s.grants[key] = g
	out := s.issue(g, s.knobs(g), "")
	s.refresh[out.RefreshToken].First = s.withoutRefreshTokens()
	return out, s.save()
}

// Revoke ends a grant as its user would: the server refuses all its tokens.
func (s *Server) Revoke(client, account string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[grantKey(client, account)]
	if g == nil {
		return fmt.Errorf("no grant of %s to %s", account, client)
	}
	g.Revoked = true
	s.killTokens(grantKey(client, account))
	return s.save()
}

func (s *Server) killTokens(key string) {
	for _, t := range s.accessOf[key] {
		t.Dead = true
	}
	for _, t := range s.refresh {
		if t.Grant == key {
			t.Dead = true
		}
	}
}

// issue makes tokens. kept is the refresh token that stays valid, or "" for a new one.
func (s *Server) issue(g *grant, k Knobs, kept string) TokenReply {
	key := grantKey(g.Client, g.Account)
	out := TokenReply{AccessToken: newToken("fat_"), RefreshToken: kept, TokenType: "bearer"}
	for _, scope := range g.Scopes {
		if out.Scope != "" {
			out.Scope += " "
		}
		out.Scope += scope
	}
	if s.withoutRefreshTokens() {
		out.RefreshToken = out.AccessToken // it is looked up as one, and not sent as one
		s.refresh[out.AccessToken] = &refreshToken{Grant: key, Consent: g.Consent}
	} else if kept == "" {
		out.RefreshToken, out.newRefresh = newToken("frt_"), true
		s.refresh[out.RefreshToken] = &refreshToken{Grant: key, Consent: g.Consent}
	}
	if next := s.knobsAt(g); len(next.Lifetimes) > 0 {
		k.LifetimeSeconds, next.Lifetimes = next.Lifetimes[0], next.Lifetimes[1:]
	}
	life := k.lifetime()
	token := &accessToken{Grant: key, Issued: s.now(), Expires: s.now().Add(life)}
	s.access[out.AccessToken] = token
	s.accessOf[key] = append(slices.DeleteFunc(s.accessOf[key], func(a *accessToken) bool { return a.Dead || !s.now().Before(a.Expires) }), token)
	switch {
	case k.ExpiresIn != "":
		out.ExpiresIn = k.ExpiresIn
	case !k.OmitExpiresIn:
		out.ExpiresIn = max(int64(life/time.Second), 1)
	}
	if k.IdleSeconds > 0 {
		out.RefreshTokenExpiresIn = k.IdleSeconds
	}
	return out
}

func newToken(prefix string) string {
	var raw [33]byte
	_, _ = rand.Read(raw[:]) // never fails, see crypto/rand
	return prefix + base64.RawURLEncoding.EncodeToString(raw[:])
}

func digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the caller has disconnected
}
