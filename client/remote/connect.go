package remote

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/client/words"
)

const sessionsPath = "/connect-sessions"

// Connect implements [client.Connector].
func (b *Backend) Connect(ctx context.Context, req client.ConnectRequest) (client.ConnectSession, error) {
	return b.link(ctx, wire.NewSession{App: req.App, Host: req.Host, ReturnURL: req.ReturnURL, Challenge: req.Challenge, Scopes: req.Scopes, Mode: req.Mode, TenantTitle: req.TenantTitle,
		Lifetime: int(req.Lifetime / time.Second)})
}

// Reconnect implements [client.Connector].
func (b *Backend) Reconnect(ctx context.Context, id string, req client.ReconnectRequest) (client.ConnectSession, error) {
	return b.link(ctx, wire.NewSession{ConnectionID: id, ReturnURL: req.ReturnURL, Challenge: req.Challenge, Scopes: req.Scopes, Mode: req.Mode, TenantTitle: req.TenantTitle,
		Lifetime: int(req.Lifetime / time.Second)})
}

func (b *Backend) link(ctx context.Context, n wire.NewSession) (client.ConnectSession, error) {
	var made wire.ConnectSession
	p, err := b.request(ctx, http.MethodPost, sessionsPath, n, &made)
	if err != nil {
		return client.ConnectSession{}, err
	}
	if p != nil {
		return client.ConnectSession{}, p.refusal()
	}
	out := shown(made)
	out.Link = words.NewSecret(made.Link)
	return out, nil
}

// Session implements [client.Connector].
func (b *Backend) Session(ctx context.Context, id string) (client.ConnectSession, error) {
	return b.session(ctx, http.MethodGet, id, "", nil)
}

// Finish implements [client.Connector].
func (b *Backend) Finish(ctx context.Context, req client.FinishRequest) (client.ConnectSession, error) {
	return b.session(ctx, http.MethodPost, req.Session, "/finish", wire.FinishSession{Code: req.Code.Reveal(), Verifier: req.Verifier.Reveal()})
}

// session sends a request about one session, whose answer is the session.
func (b *Backend) session(ctx context.Context, method, id, action string, body any) (client.ConnectSession, error) {
	path, err := under(sessionsPath+"/", id)
	if err != nil {
		return client.ConnectSession{}, err
	}
	var s wire.ConnectSession
	p, err := b.request(ctx, method, path+action, body, &s)
	if err != nil {
		return client.ConnectSession{}, err
	}
	if p != nil {
		return client.ConnectSession{}, p.refusal()
	}
	return shown(s), nil
}

func shown(s wire.ConnectSession) client.ConnectSession {
	out := client.ConnectSession{ID: s.ID, App: s.App, Connection: s.ConnectionID, Outcome: s.Outcome, MissingScopes: s.MissingScopes, ExpiresAt: s.ExpiresAt}
	if s.ResultID != "" {
		out.Connection = s.ResultID
	}
	return out
}

// Disconnect implements [client.Connector].
func (b *Backend) Disconnect(ctx context.Context, id string) (words.Revocation, error) {
	var e struct {
		Revocation words.Revocation `json:"revocation"`
	}
	p, err := b.call(ctx, http.MethodPost, id, "/disconnect", nil, &e)
	if err != nil {
		return "", err
	}
	if p != nil {
		return "", p.refusal()
	}
	return e.Revocation, nil
}

// refusal returns the error for a problem that a [client.Connector]'s request got.
func (p *problem) refusal() error {
	code, detail := p.Code, p.Detail
	for _, e := range p.Errors {
		if e.Location == "path.id" || e.Location == "body.connection_id" { // no connection can have this id
			code = words.CodeNotFound
		}
		detail += fmt.Sprintf(" %s: %s.", e.Location, e.Message)
	}
	switch {
	case code == words.CodeNotFound, code == words.CodeInvalid, code == words.CodeOtherUser:
	case code == wire.CodeUnauthorized, code == wire.CodeScope:
		code = words.CodeInvalid
	case !known[code]:
		code = words.CodeUnavailable
	}
	return words.Errorf(code, "%s (%s, HTTP status %d, request %s)", strings.TrimSpace(detail), p.Code, p.Status, p.RequestID)
}

var _ client.Connector = (*Backend)(nil)
