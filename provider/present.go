package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/internal/retryafter"
	"github.com/perennial-oauth/perennial/internal/seam"
	"golang.org/x/oauth2"
)

// ClientConfig configures a [Client]. The zero value suits production.
type ClientConfig struct {
	// Transport sends the requests. It must not resend any by itself. Defaults to a
	// transport of the client's own.
	Transport http.RoundTripper
	// Explained, if set, takes how each reply of a token endpoint was read.
	Explained func(Explanation)
}

// Client sends requests to token endpoints. It is safe for concurrent use.
type Client struct {
	transport http.RoundTripper
	certified certified
	public    http.RoundTripper // for apps with [App.PublicOnly]
	explained func(Explanation)
}

// NewClient returns a client.
func NewClient(c ClientConfig) *Client {
	if c.Transport == nil {
		return &Client{transport: newTransport(), public: newPublicTransport(), explained: c.Explained}
	}
	return &Client{transport: c.Transport, public: c.Transport, explained: c.Explained}
}

// to returns the transport for requests to an app's provider.
func (c *Client) to(app App) http.RoundTripper {
	if app.PublicOnly {
		return c.public
	}
	return c.transport
}

// Refresh presents refreshToken once (RFC 6749 section 6) and authenticates with
// secret. If the app's grant is from credentials, refreshToken is what
// [ParseCredentials] returned; if its Renewal is not by refresh tokens, what [Entry.Stored]
// put in the refresh token's place. It calls send immediately before the first byte can leave; if send fails,
// nothing is sent. ctx bounds the whole exchange. The reply always has an outcome, and
// no secret but its tokens.
func (c *Client) Refresh(ctx context.Context, app App, secret, refreshToken perennial.Secret, send func(context.Context) error) Reply {
	if app.Provider.Grant.FromCredentials() {
		return c.presentCredentials(ctx, app, secret, refreshToken, send)
	}
	if app.Provider.Renewal != RenewalRefreshToken {
		return c.presentHeld(ctx, app, secret, refreshToken, send)
	}
	began := time.Now()
	trip := c.trip(app, secret, send)
	if _, _, ok := openHeld(refreshToken); ok {
		trip.refuse(codeOtherGrant, errors.New("the connection has its access token in place of a refresh token: its app had another renewal when it was made"))
	}
	if _, ok := openCredentials(refreshToken); ok { // they would go to a server as a token
		trip.refuse(codeOtherGrant, errors.New("the connection has credentials in place of a refresh token: its app had another grant when it was made"))
	}
	config, basic := app.client(secret)
	config.Endpoint.TokenURL = app.Provider.refreshURL()
	source := config.TokenSource(trip.context(ctx), &oauth2.Token{RefreshToken: refreshToken.Reveal()})
	// trip has recorded the reply. The result of x/oauth2 is not needed, and its error
	// would hold the whole body.
	_, _ = source.Token()
	reply := trip.reply(app.Provider, began, secret, refreshToken, basic)
	c.explain(trip, reply, secret, refreshToken, basic)
	return reply
}

// explain tells how a reply was read, if somebody wants to know.
func (c *Client) explain(trip *oneShot, reply Reply, secrets ...perennial.Secret) {
	if c.explained != nil && trip.status > 0 {
		c.explained(trip.explain(reply, append(secrets, trip.signed)...))
	}
}

// trip prepares one request to the token endpoint, which the client authenticates with
// secret.
func (c *Client) trip(app App, secret perennial.Secret, send func(context.Context) error) *oneShot {
	trip := &oneShot{transport: c.to(app), send: send, app: app}
	var err error
	if trip.transport, err = c.through(app, secret); err == nil {
		trip.members, trip.signed, err = app.proven(secret)
	}
	trip.refuse(codeUnusableKey, err)
	return trip
}

// refuse makes the trip send nothing, unless err is nil. The first reason counts.
func (o *oneShot) refuse(code string, err error) {
	if o.unusable == nil {
		o.unusable, o.code = err, code
	}
}

// client returns the app in the form of x/oauth2, authenticating with secret. basic is
// what its Basic header would hold.
func (a App) client(secret perennial.Secret) (config oauth2.Config, basic perennial.Secret) {
	user, password := a.Provider.credentials(a.ClientID, secret)
	style := a.Provider.AuthStyle
	if style != oauth2.AuthStyleInHeader && style != oauth2.AuthStyleInParams {
		style, password = oauth2.AuthStyleInParams, "" // the client_id alone
	}
	return oauth2.Config{
		ClientID:     user,
		ClientSecret: password,
		Endpoint:     oauth2.Endpoint{TokenURL: a.Provider.TokenURL, AuthStyle: style},
	}, perennial.NewSecret(url.QueryEscape(user) + ":" + url.QueryEscape(password))
}

// credentials returns the name and the password with which the client authenticates
// (RFC 6749 section 2.3.1).
func (e Entry) credentials(clientID string, secret perennial.Secret) (user, password string) {
	if e.SecretAsUser {
		return secret.Reveal(), ""
	}
	return clientID, secret.Reveal()
}

// oneShot lets exactly one request through and records the reply.
type oneShot struct {
	transport http.RoundTripper
	send      func(context.Context) error
	app       App

	members  url.Values       // that prove the client, beside those of x/oauth2
	signed   perennial.Secret // the signed token among them, if there is one
	unusable error            // why nothing can be sent
	code     string           // of unusable

	used   bool
	sent   atomic.Bool
	at     time.Time // just before it was sent
	err    error
	status int
	header http.Header
	body   []byte
	whole  bool // the body has provably arrived to its end
}

// context returns ctx with this transport as the client of x/oauth2. It follows no
// redirect.
func (o *oneShot) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
		Transport:     o,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
}

var errSecondRequest = errors.New("a second request was asked for")

// RoundTrip implements [http.RoundTripper].
func (o *oneShot) RoundTrip(req *http.Request) (*http.Response, error) {
	if o.used {
		return nil, errSecondRequest
	}
	o.used = true
	if o.unusable != nil {
		return nil, o.unusable
	}
	if o.err = o.send(req.Context()); o.err != nil {
		return nil, o.err
	}
	// Without GetBody, and with a method that is not idempotent, net/http cannot send
	// the request again on another connection.
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { o.sent.Store(true) }}
	pass := func() {} // the place for faults
	if seam.Waits {
		pass = seam.Written(req.Context(), trace)
	}
	req = req.Clone(httptrace.WithClientTrace(req.Context(), trace))
	if err := o.app.Provider.rewrite(req, o.members); err != nil {
		o.err = err
		return nil, err
	}
	req.GetBody = nil
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "perennial")
	o.app.setHeaders(req.Header)
	// With a header of ours net/http leaves the body as it came. Of one whose header is
	// wrong about its compression it would leave nothing.
	req.Header.Set("Accept-Encoding", "gzip")
	o.at = seam.Now()
	resp, err := o.transport.RoundTrip(req)
	if err != nil {
		pass()
		o.err = err
		return nil, err
	}
	defer resp.Body.Close()
	o.status, o.header = resp.StatusCode, resp.Header
	o.body, o.err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	o.whole = o.err == nil && endProven(resp)
	pass()
	if o.err == nil && len(o.body) > maxBody {
		o.err = errors.New("the reply is too long")
	}
	if o.err != nil {
		return nil, o.err
	}
	resp.Body = io.NopCloser(bytes.NewReader(o.body))
	return resp, nil
}

// endProven reports whether a body that was read without an error is provably whole: by
// its length, its last chunk or a stream's end. A body that ends with its connection may
// have been cut (RFC 9112 section 8), unless a checksum of its own covers it.
func endProven(resp *http.Response) bool {
	return resp.ContentLength >= 0 || len(resp.TransferEncoding) > 0 || resp.ProtoMajor >= 2 || resp.Uncompressed
}

// received returns the body as it arrived.
func (o *oneShot) received() received {
	in := received{body: o.body[:min(len(o.body), maxBody)], whole: o.whole && len(o.body) <= maxBody, sent: o.at}
	if date, err := http.ParseTime(o.header.Get("Date")); err == nil {
		in.date = date
	}
	return in
}

// rewrite adds members and the entry's own to the form that x/oauth2 made, and encodes
// it as the provider expects.
func (e Entry) rewrite(req *http.Request, members url.Values) error {
	if req.Method != http.MethodPost || !e.JSONBody && len(e.RefreshParams) == 0 && len(members) == 0 {
		return nil
	}
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return errors.New("the request is not a form") // an error with more detail would hold the token
	}
	for k, v := range e.RefreshParams {
		form.Set(k, v)
	}
	maps.Copy(form, members)
	body := []byte(form.Encode())
	if e.JSONBody {
		members := map[string]string{}
		for k := range form {
			members[k] = form.Get(k)
		}
		if body, err = json.Marshal(members); err != nil {
			return fmt.Errorf("write the request: %w", err)
		}
		req.Header.Set("Content-Type", "application/json")
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return nil
}

// reply turns the recorded exchange into a [Reply]. It accepts a reply that broke off
// if that has a whole access token.
func (o *oneShot) reply(e Entry, began time.Time, secrets ...perennial.Secret) Reply {
	if o.unusable != nil {
		r := Reply{Description: o.unusable.Error(), Duration: time.Since(began)}
		r.judge(verdict{outcome: perennial.OutcomeMisconfigured, code: o.code, fault: perennial.FaultClient})
		return r
	}
	secrets = append(secrets, o.signed)
	read := o.received().read(e)
	ev := read.evidence(o.status, o.header, secrets...)
	ev.sent, ev.err, ev.transport, ev.accessToken = o.sent.Load(), o.err, transportCode(o.err), !read.tokens.AccessToken.IsZero()
	ev.certificate = e.AuthStyle == AuthStyleTLS && certificateRefused(o.err)
	if !o.used {
		ev.err, ev.transport = errors.New("no request was made"), "bad_endpoint"
	}
	if ev.err != nil && ev.accessToken && o.status/100 == 2 {
		ev.err = nil
	}
	requestID := o.app.Provider.requestID(o.header, append(secrets, read.tokens.AccessToken, read.tokens.RefreshToken)...)
	r := Reply{Sent: ev.sent, HTTPStatus: o.status, RequestID: requestID, Duration: time.Since(began)}
	r.judge(classify(e, ev))
	if r.Outcome != perennial.OutcomeRefreshed && read.bringsTokens(secrets...) {
		r.judge(verdict{outcome: perennial.OutcomeRefreshed})
	}
	if r.Outcome == perennial.OutcomeRefreshed {
		r.Tokens = read.tokens
		r.Cut = read.broken && r.Tokens.RefreshToken.IsZero()
		return r
	}
	if r.Outcome == perennial.OutcomeUnknown && o.status/100 == 2 {
		r.Unread = o.received().unread(o.header).without(o.signed)
	}
	r.Description = describe(read.refusal.description(), secrets...)
	r.RetryAfter = retryafter.Read(o.header, seam.Now())
	return r
}

// bringsTokens reports whether a reply has both tokens and no error. Its status does not
// count: a proxy may have changed it. The refresh token must be a new one; a server
// that repeats the request sends the presented one.
func (r tokenReply) bringsTokens(secrets ...perennial.Secret) bool {
	return r.refusal.code == "" && !r.page && !r.tokens.AccessToken.IsZero() && !r.tokens.RefreshToken.IsZero() &&
		!slices.ContainsFunc(secrets, func(s perennial.Secret) bool { return s.Digest() == r.tokens.RefreshToken.Digest() })
}

// transportCode names a transport error without its text, which may have a URL in it.
func transportCode(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled_before_sending"
	case errors.As(err, &dns):
		return "dns"
	case errors.As(err, &op) && op.Op == "dial":
		return "connection_refused"
	case strings.Contains(err.Error(), "tls:"), strings.Contains(err.Error(), "x509:"):
		return "tls"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op):
		return "connection_lost"
	default:
		return "not_sent_or_lost"
	}
}

const (
	// codeUnusableKey is the code of a client whose key or secret cannot be used.
	codeUnusableKey = "client_key_unusable"
	// codeOtherGrant is the code if a connection and its app are of different grants.
	codeOtherGrant = "other_grant"
)

// certificateRefused reports whether the server ended the TLS handshake because of the
// client's certificate. It has seen nothing of the request then, even if that was
// written already (RFC 8446 section 4.4.2.4).
func certificateRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && (strings.Contains(op.Err.Error(), "certificate") || strings.Contains(op.Err.Error(), "access denied"))
}

// asksForBasic reports whether WWW-Authenticate has a Basic challenge.
func asksForBasic(h http.Header) bool {
	return slices.ContainsFunc(h.Values("WWW-Authenticate"), func(challenge string) bool {
		_, ok := resource.Challenge(challenge, "Basic")
		return ok
	})
}
