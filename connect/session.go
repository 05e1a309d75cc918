package connect

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/provider"
)

// Authorizer sends requests to providers; provider.Client in production.
type Authorizer interface {
	Exchange(ctx context.Context, app provider.App, secret perennial.Secret, code provider.AuthorizationCode) provider.Reply
	Account(ctx context.Context, app provider.App, secret, accessToken perennial.Secret, hint, host string) (provider.Account, error)
	Revoke(ctx context.Context, app provider.App, token perennial.Secret) error
}

// SessionsConfig holds the dependencies and settings of [Sessions]. Store and BaseURL
// suffice to create sessions; serving them needs all.
type SessionsConfig struct {
	Service  *Service // stores the grants; its Apps, Sealer and Log are used too
	Store    *SessionStore
	Provider Authorizer

	// BaseURL is the address of the connect pages for people, without /connect:
	// "https://connect.example.com". Each app's redirect URI is
	// BaseURL/connect/callback/<app>; register it at the provider.
	BaseURL string
	// ReturnURLs are the allowed return URLs. Defaults to none.
	ReturnURLs ReturnURLs
	// Lifetime of a link. Defaults to 30 min.
	Lifetime time.Duration
	// BoundOnly refuses shareable sessions.
	BoundOnly bool
}

// Sessions lets customers connect and reconnect accounts by a link: the
// authorization code grant (RFC 6749 section 4.1) with PKCE (RFC 7636), a state
// that is bound to one browser, and the defences of RFC 9700. It is safe for
// concurrent use by many processes.
type Sessions struct{ SessionsConfig }

const (
	defaultLifetime = 30 * time.Minute
	minLifetime     = time.Minute
	maxLifetime     = 24 * time.Hour
)

// NewSessions returns the sessions. A BaseURL that is not a plain URL is an error of
// [perennial.CodeInvalid].
func NewSessions(c SessionsConfig) (*Sessions, error) {
	u, ok := plainURL(c.BaseURL)
	if !ok || u.RawQuery != "" {
		return nil, perennial.Errorf(perennial.CodeInvalid, "connect.base_url is needed to make connect links: the URL that people reach this server under, for example https://connect.example.com")
	}
	c.BaseURL = strings.TrimSuffix(c.BaseURL, "/")
	if c.Lifetime == 0 {
		c.Lifetime = defaultLifetime
	}
	return &Sessions{c}, nil
}

// SessionRequest asks for a link.
type SessionRequest struct {
	// Tenant is the tenant of the connection. With ConnectionID it may be empty;
	// otherwise it must be that connection's.
	Tenant string
	// App is an app of the configuration. With ConnectionID it is the connection's.
	App string
	// ConnectionID is the connection to reconnect; empty: a connect.
	ConnectionID string
	// Host is the account's own host, if the provider has one for each account.
	Host string
	// ReturnURL is where the page sends the customer at the end. It must be below an
	// allowed one. The page adds the parameters connect_outcome, connect_session and,
	// once connected, connection_id. Empty: the customer stays on the page.
	ReturnURL string
	// Scopes are requested, and required in the grant. Defaults to the app's.
	Scopes []string
	// Challenge makes the session bound: base64url of the SHA-256 of a verifier that the
	// product keeps in its own user's session ([Challenge]). It needs a ReturnURL. Empty:
	// the session is shareable.
	Challenge string
	// Mode defaults to page. A popup needs a ReturnURL, because it reports to that
	// URL's origin.
	Mode perennial.ConnectMode
	// TenantTitle is the tenant's name on the page: "Acme Inc.". At most 100
	// characters. It tells the customer who gets access.
	TenantTitle string
	// Lifetime of the link, from 1 min to 24 h. Defaults to the Lifetime of
	// [SessionsConfig].
	Lifetime time.Duration
}

// Session is a new session with its link.
type Session struct {
	perennial.ConnectSession
	// Link leads to the page. Unless the session is bound, anybody who has it can connect
	// an account of their own to the tenant until it expires: give it only to the customer.
	Link perennial.Secret
}

// newToken returns a new unguessable value: 256 bits.
func newToken(prefix string) perennial.Secret {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it never fails: crypto/rand ends the program instead
	return perennial.NewSecret(prefix + base64.RawURLEncoding.EncodeToString(raw[:]))
}

// CreateSession makes a link. A request that cannot be met, for example with an unknown
// app, is an error of [perennial.CodeInvalid]; a connection that does not exist, or is
// that the access does not reach, is [perennial.CodeNotFound]. It does not contact the
// provider.
func (s *Sessions) CreateSession(ctx context.Context, access perennial.Access, req SessionRequest) (Session, error) {
	c, err := s.checked(ctx, access, req)
	if err != nil {
		return Session{}, err
	}
	life := req.Lifetime
	if life == 0 {
		life = s.Lifetime
	}
	if life < minLifetime || life > maxLifetime {
		return Session{}, perennial.Errorf(perennial.CodeInvalid, "a link lives from %s to %s, not %s", minLifetime, maxLifetime, life)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Session{}, fmt.Errorf("make a session id: %w", err)
	}
	token := newToken(linkPrefix(c))
	c.ID, c.LinkDigest = "cs_"+id.String(), token.Digest()
	if c, err = s.Store.Add(ctx, c, life); err != nil {
		return Session{}, err
	}
	return Session{c, perennial.NewSecret(s.BaseURL + "/connect/" + token.Reveal())}, nil
}

// maxTitle bounds a tenant's title in characters.
const maxTitle = 100

var scopeForm = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]{1,256}$`) // RFC 6749 section 3.3

// session returns a new session as it was asked for.
func (req SessionRequest) session() perennial.ConnectSession {
	return perennial.ConnectSession{TenantID: req.Tenant, TenantTitle: req.TenantTitle, App: req.App, ConnectionID: req.ConnectionID, Host: req.Host,
		ReturnURL: req.ReturnURL, Mode: req.Mode, Scopes: req.Scopes, Challenge: req.Challenge}
}

// appOf returns the app of a new session, if the access reaches it.
func (s *Sessions) appOf(access perennial.Access, c perennial.ConnectSession) (provider.App, error) {
	if perennial.CheckTenant(c.TenantID) == nil && !access.Reaches(c.TenantID, c.App) {
		return provider.App{}, perennial.Errorf(perennial.CodeNotFound, "there is no app %q", c.App)
	}
	return s.Service.Apps.App(c.App)
}

func (s *Sessions) checked(ctx context.Context, access perennial.Access, req SessionRequest) (perennial.ConnectSession, error) {
	c := req.session()
	if perennial.CheckTenant(c.TenantID) == nil {
		var err error
		if access, err = access.InTenant(c.TenantID); err != nil {
			return c, err
		}
	}
	if c.ConnectionID != "" {
		con, _, err := s.Service.Store.Get(ctx, access, c.ConnectionID)
		if err != nil {
			return c, err
		}
		if c.App != "" && c.App != con.App {
			return c, perennial.Errorf(perennial.CodeInvalid, "connection %s is of app %q, not %q", con.ID, con.App, c.App)
		}
		c.TenantID, c.App, c.Host = con.TenantID, con.App, con.Host
	}
	app, err := s.appOf(access, c)
	if perennial.CodeOf(err) == perennial.CodeNotFound { // that code is for connections
		err = perennial.Errorf(perennial.CodeInvalid, "%w", err)
	}
	if err != nil {
		return c, err
	}
	if c.Mode == "" {
		c.Mode = perennial.ConnectPage
	}
	if c.Scopes == nil {
		c.Scopes = app.Scopes
	}
	if !app.Provider.HostNeeded() {
		c.Host = ""
	}
	return c, s.check(app, c)
}

func (s *Sessions) check(app provider.App, c perennial.ConnectSession) error {
	at, err := app.At(c.Host)
	if err != nil {
		return err
	}
	if _, err := at.AuthorizationURL("", "", perennial.Secret{}, nil); err != nil {
		return err
	}
	if c.ReturnURL != "" {
		if _, err := s.ReturnURLs.Check(c.ReturnURL); err != nil {
			return err
		}
	}
	if err := s.checkBinding(c); err != nil {
		return err
	}
	switch {
	case perennial.CheckTenant(c.TenantID) != nil || !printable.Is(c.TenantID):
		return perennial.Errorf(perennial.CodeInvalid, "a connect session needs a tenant, without control or invisible characters")
	case app.Provider.Account.From == "":
		return perennial.Errorf(perennial.CodeInvalid, "app %s: say in account where its account ids are found", app.Name)
	case c.Mode != perennial.ConnectPage && c.Mode != perennial.ConnectPopup:
		return perennial.Errorf(perennial.CodeInvalid, "there is no mode %q: it is page or popup", c.Mode)
	case c.Mode == perennial.ConnectPopup && c.ReturnURL == "":
		return perennial.Errorf(perennial.CodeInvalid, "a popup needs a return URL: only its origin is told what came of it")
	case len([]rune(c.TenantTitle)) > maxTitle, !printable.Is(c.TenantTitle):
		return perennial.Errorf(perennial.CodeInvalid, "a tenant's title is one line of at most %d characters", maxTitle)
	}
	for _, scope := range c.Scopes {
		if !scopeForm.MatchString(scope) {
			return perennial.Errorf(perennial.CodeInvalid, "%q is not a scope (RFC 6749 section 3.3)", scope)
		}
	}
	return nil
}

var linkForm = regexp.MustCompile(`^c[lb]_[A-Za-z0-9_-]{43}$`)

// IsLink reports whether token has the form of a link's token. A token of another form
// was never made and needs no look-up.
func IsLink(token perennial.Secret) bool { return linkForm.MatchString(token.Reveal()) }

// Digests returns the digests of the links and of the newest states of all sessions.
func (s *Sessions) Digests(ctx context.Context) ([]string, error) {
	return s.Store.Digests(ctx)
}

// View is what a page shows of a session.
type View struct {
	perennial.ConnectSession
	Title      string               // the provider's title
	Connection perennial.Connection // the connection to reconnect; zero: none
	Now        time.Time            // the database's clock
}

// Find returns the session of a link's token. An unknown link is an error of
// [perennial.CodeNotFound].
func (s *Sessions) Find(ctx context.Context, link perennial.Secret) (View, error) {
	c, now, err := s.Store.ByLink(ctx, link.Digest())
	if err != nil {
		return View{}, err
	}
	v := View{ConnectSession: c, Now: now}
	app, err := s.Service.Apps.App(c.App)
	if err != nil {
		return v, err
	}
	v.Title = app.Provider.Title
	if c.ConnectionID != "" {
		v.Connection, _, err = s.Service.Store.Get(ctx, browserAccess(c), c.ConnectionID)
		if perennial.CodeOf(err) == perennial.CodeNotFound {
			err = nil // the page says so when it matters
		}
	}
	return v, err
}

// Session returns a session by its id, for the product that made it. A missing one, and
// one that the access does not reach, is [perennial.CodeNotFound].
func (s *Sessions) Session(ctx context.Context, access perennial.Access, id string) (perennial.ConnectSession, error) {
	c, _, err := s.Store.ByID(ctx, id)
	if err == nil && !access.Reaches(c.TenantID, c.App) {
		c, err = perennial.ConnectSession{}, perennial.Errorf(perennial.CodeNotFound, "there is no such connect session")
	}
	return c, err
}

// BackURL returns the return URL with the outcome added; "" if the session has no
// return URL, or one that is no longer allowed.
func (s *Sessions) BackURL(c perennial.ConnectSession) string {
	u, err := s.ReturnURLs.Check(c.ReturnURL)
	if c.ReturnURL == "" || err != nil {
		return ""
	}
	q := u.Query()
	outcome := string(c.Outcome)
	if outcome == "" || c.Outcome == perennial.ConnectChooseAccount { // too late to choose
		outcome = "cancelled"
	}
	q.Set("connect_outcome", outcome)
	q.Set("connect_session", c.ID)
	if !c.FinishCode.IsZero() {
		q.Set("connect_code", c.FinishCode.Reveal())
	}
	if c.ResultID != "" {
		q.Set("connection_id", c.ResultID)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// BackOrigin returns the origin (RFC 6454) of the session's return URL, "" for none.
func (s *Sessions) BackOrigin(c perennial.ConnectSession) string {
	u, err := s.ReturnURLs.Check(c.ReturnURL)
	if c.ReturnURL == "" || err != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}

// RedirectURI returns an app's own redirect URI. Because each app has another, a
// response of one provider cannot pass for one of another (RFC 9700 section 4.4.2).
func (s *Sessions) RedirectURI(app string) string {
	return s.BaseURL + "/connect/callback/" + url.PathEscape(app)
}
