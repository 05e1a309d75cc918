package connect

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"golang.org/x/oauth2"
)

// The reasons to reject an authorization response. Nothing changes then, and no code
// goes to the provider.
var (
	ErrStateUnknown = errors.New("the state of the authorization response is missing, is not known, or was replaced")
	ErrOtherBrowser = errors.New("the authorization response came from another browser than the request")
	ErrAnswered     = errors.New("the authorization response was taken before")
	ErrExpired      = errors.New("the connect session has expired")
)

// Authorization is a request for consent.
type Authorization struct {
	Session perennial.ConnectSession
	Title   string           // the provider's title
	URL     string           // where to send the browser
	Browser perennial.Secret // a secret that the browser must present with the response
	Life    time.Duration    // remaining life of the link
}

// Start begins a request for consent. It makes a new state, verifier and browser
// secret, which replace those of any request before; it never reuses a secret that the
// browser already has. A used-up or expired link is [ErrExpired], an unknown one an
// error of [perennial.CodeNotFound].
func (s *Sessions) Start(ctx context.Context, link perennial.Secret) (Authorization, error) {
	c, now, err := s.Store.ByLink(ctx, link.Digest())
	if err != nil {
		return Authorization{}, err
	}
	if !c.Open(now) {
		return Authorization{}, ErrExpired
	}
	app, err := s.app(c)
	if err != nil {
		return Authorization{}, err
	}
	state, browser, verifier := newToken(statePrefix(c)), newToken(""), perennial.NewSecret(oauth2.GenerateVerifier())
	target, err := app.AuthorizationURL(s.RedirectURI(c.App), state.Reveal(), verifier, c.Scopes)
	if err != nil {
		return Authorization{}, err
	}
	sealed, err := s.Service.Sealer.Seal(sessionBinding(c, seal.FieldCodeVerifier, c.Starts+1), verifier)
	if err != nil {
		return Authorization{}, err
	}
	if err := s.Store.Start(ctx, c.ID, c.Starts, requestOf(c, state, browser, sealed)); err != nil {
		return Authorization{}, err
	}
	return Authorization{Session: c, Title: app.Provider.Title, URL: target, Browser: browser, Life: c.ExpiresAt.Sub(now)}, nil
}

// app returns the session's app at the account's host.
func (s *Sessions) app(c perennial.ConnectSession) (provider.App, error) {
	app, err := s.Service.Apps.App(c.App)
	if err != nil {
		return app, err
	}
	return app.At(c.Host)
}

func sessionBinding(c perennial.ConnectSession, field seal.Field, start int64) seal.Binding {
	return seal.Binding{Tenant: c.TenantID, Connection: c.ID, Field: field, Generation: start}
}

// SameBrowser reports whether browser is the secret of the session's newest request. It
// takes the same time for every wrong secret.
func SameBrowser(c perennial.ConnectSession, browser perennial.Secret) bool {
	return c.BrowserDigest != "" && subtle.ConstantTimeCompare([]byte(c.BrowserDigest), []byte(browser.Digest())) == 1
}

// maxStore bounds the work after a response: exchange, look-up and save. The lease is
// longer, so that no other process starts meanwhile.
const (
	exchangeTimeout = 20 * time.Second
	askTimeout      = 10 * time.Second
	maxStore        = 45 * time.Second
	storeLease      = maxStore + 30*time.Second
)

// Answer processes an authorization response (RFC 6749 section 4.1.2) to app's redirect
// URI. browser returns the secret that the browser presents for a session, if any. If
// it accepts the response, Answer returns the session with its outcome, whatever that
// is; otherwise one of the errors above, with the session for [ErrAnswered] and
// [ErrExpired]. It sends the code to the provider at most once. From then on the end of
// ctx changes nothing.
func (s *Sessions) Answer(ctx context.Context, app string, response url.Values, browser func(session string) perennial.Secret) (perennial.ConnectSession, error) {
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(response[name]) > 1 { // RFC 6749 section 3.1
			return perennial.ConnectSession{}, ErrStateUnknown
		}
	}
	state := perennial.NewSecret(response.Get("state"))
	c, now, err := s.Store.ByState(ctx, Digest(state))
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		return c, ErrStateUnknown
	}
	if err != nil {
		return c, err
	}
	if !SameBrowser(c, browser(c.ID)) {
		s.Service.Log.Warn("authorization response from another browser", "session_id", c.ID, "app", c.App)
		return perennial.ConnectSession{}, ErrOtherBrowser
	}
	if !c.AnsweredAt.IsZero() {
		return c, ErrAnswered
	}
	if !now.Before(c.ExpiresAt) {
		return c, ErrExpired
	}
	sent := c // with the verifier, which the store wipes now
	if err := s.Store.ConsumeState(ctx, c.ID, c.Starts); perennial.CodeOf(err) == perennial.CodeConflict {
		return c, ErrAnswered
	} else if err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxStore)
	defer cancel()
	return s.take(ctx, sent, app, response)
}

// take turns a response whose state was just consumed into an outcome.
func (s *Sessions) take(ctx context.Context, c perennial.ConnectSession, to string, response url.Values) (perennial.ConnectSession, error) {
	app, err := s.app(c)
	if err != nil {
		return c, err
	}
	if c.Problem = mixedUp(c, app, to, response); c.Problem != "" {
		s.Service.Log.Warn("authorization response of another issuer", "session_id", c.ID, "app", c.App, "problem", c.Problem)
		return s.end(ctx, c, perennial.ConnectMixedUp, nil, "")
	}
	if outcome := refusalIn(response); outcome != "" {
		return s.end(ctx, c, outcome, nil, "")
	}
	if c, app, err = s.atNamedHost(ctx, c, app, response); err != nil {
		return c, err
	}
	verifier, err := s.Service.Sealer.Open(sessionBinding(c, seal.FieldCodeVerifier, c.Starts), c.VerifierSealed)
	if err != nil {
		return c, err
	}
	at, err := s.Store.Now(ctx)
	if err != nil {
		return c, err
	}
	code := provider.AuthorizationCode{Code: perennial.NewSecret(response.Get("code")), Verifier: verifier, RedirectURI: s.RedirectURI(c.App)}
	reply, secret := s.exchange(ctx, app, code)
	s.Service.Log.Info("authorization code exchanged", "session_id", c.ID, "app", c.App, "outcome", string(reply.Outcome), "error_code", reply.Code,
		"status_code", reply.HTTPStatus, "request_id", reply.RequestID, "description", reply.Description)
	switch reply.Outcome {
	case perennial.OutcomeRefreshed:
	case perennial.OutcomeMisconfigured:
		return s.end(ctx, c, perennial.ConnectMisconfigured, nil, "")
	case perennial.OutcomeRevoked, perennial.OutcomeRejected:
		return s.end(ctx, c, perennial.ConnectCodeRefused, nil, "")
	default:
		return s.end(ctx, c, perennial.ConnectProviderDown, nil, "")
	}
	k := pendingReply{TokenSet: reply.Tokens, Secret: secret}
	if len(reply.Accounts) == 1 {
		k.Hint = reply.Accounts[0].ID
	} else {
		k.Choices = reply.Accounts
	}
	if reply.AccountProblem != "" { // the configuration is wrong, and not the customer
		c.Problem = reply.AccountProblem
		s.Service.Log.Error("the ID token is not for this app", "session_id", c.ID, "app", c.App, "problem", c.Problem)
		return s.refuse(ctx, app, c, k, provider.Account{Choices: reply.Accounts}, perennial.ConnectMisconfigured, nil)
	}
	if source := app.Provider.Account; source.From == provider.AccountFromCallback {
		k.Hint = response.Get(source.Name)
	}
	return s.keep(ctx, app, c, k, at)
}

// atNamedHost returns the session and its app at the host that the response names for
// the account, if the description lists that host. The code is good there only.
func (s *Sessions) atNamedHost(ctx context.Context, c perennial.ConnectSession, app provider.App, response url.Values) (perennial.ConnectSession, provider.App, error) {
	host, listed := app.NamedHost(response)
	if host == "" || host == c.Host {
		return c, app, nil
	}
	if !listed {
		c.Problem = fmt.Sprintf("the authorization response names the host %.100q, which is not among the hosts of provider %s", host, app.Provider.Name)
		s.Service.Log.Warn("authorization response names another host", "session_id", c.ID, "app", c.App, "problem", c.Problem)
		return c, app, nil
	}
	if err := s.Store.MoveHost(ctx, c.ID, c.Starts, host); err != nil {
		return c, app, err
	}
	c.Host = host
	app, err := s.app(c)
	return c, app, err
}

// exchange sends the code once, with the client secret that the provider accepts as far
// as refreshes have learnt it. It sends it with the next one only if the provider
// rejected the client, and so never looked at the code. It returns the number of the
// accepted secret.
func (s *Sessions) exchange(ctx context.Context, app provider.App, code provider.AuthorizationCode) (provider.Reply, int) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	var reply provider.Reply
	for _, secret := range s.Service.preferred(ctx, app).Secrets() {
		reply = s.Provider.Exchange(ctx, app, secret, code)
		if !reply.ClientRejected() {
			return reply, max(slices.Index(app.ClientSecrets, secret), 0)
		}
	}
	return reply, 0
}
