package connect

import (
	"context"
	"log/slog"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
)

// Opener opens sealed tokens: seal.Keyring in production.
type Opener interface {
	Open(b seal.Binding, sealed []byte) (perennial.Secret, error)
}

// Disconnector disconnects connections, also at their providers. It is safe for
// concurrent use.
type Disconnector struct {
	Service  *Service
	Keys     Opener
	Provider refresh.Revoker
}

// Disconnect ends a connection as [Service.Disconnect] does, and then revokes its grant
// at the provider, unless another tenant's connection of the account works: at many
// providers that would end its grant too. The row comes first, so that no refresh can start any more; if the
// provider does not answer, the customer is disconnected all the same. The provider is
// asked once, and its answer is never an error.
func (e *Disconnector) Disconnect(ctx context.Context, access perennial.Access, id string) (perennial.Connection, perennial.Revocation, error) {
	before, _, err := e.Service.Store.Get(ctx, access, id)
	if err != nil {
		return perennial.Connection{}, perennial.RevocationNone, err
	}
	c, err := e.Service.Disconnect(ctx, access, id)
	if c.Status != perennial.StatusDisconnected || len(before.RefreshTokenSealed) == 0 {
		return c, perennial.RevocationNone, err
	}
	revocation := e.revoke(ctx, before)
	if revocation == perennial.RevocationDone && e.maybeSpent(before, c) {
		// A server says yes to a token that it no longer knows (RFC 7009 section 2.2).
		e.Service.Log.Warn("disconnected, but the grant may live on at the provider: a refresh may have replaced the token that was revoked", "connection_id", c.ID, "provider", c.Provider)
		revocation = perennial.RevocationFailed
	}
	return c, revocation, err
}

// maybeSpent reports whether a refresh may have replaced the refresh token that was read
// before the disconnect: one was under way, its outcome is unknown, or it was stored
// between the two. The engine revokes the tokens that such a refresh still brings.
func (e *Disconnector) maybeSpent(before, c perennial.Connection) bool {
	app, err := e.Service.Apps.App(before.App)
	if err == nil && app.Provider.ReplayClass == perennial.ReplayReusable {
		return false
	}
	return !before.Open.IsZero() || before.Ambiguous() || c.Generation != before.Generation
}

func (e *Disconnector) revoke(ctx context.Context, c perennial.Connection) perennial.Revocation {
	log := e.Service.Log.With("connection_id", c.ID, "provider", c.Provider)
	failed := func(err error) perennial.Revocation {
		log.Warn("disconnected, but the grant was not revoked at the provider", slog.Any("error", err))
		return perennial.RevocationFailed
	}
	app, err := e.Service.Apps.App(c.App)
	if err != nil {
		return failed(err)
	}
	if app, err = app.At(c.Host); err != nil {
		return failed(err)
	}
	if app.Provider.RevokeURL == "" {
		return perennial.RevocationUnsupported
	}
	token, err := e.Keys.Open(seal.BindingOf(c, seal.FieldRefreshToken, c.Generation), c.RefreshTokenSealed)
	if err != nil {
		return failed(err)
	}
	used, err := e.Service.Store.AccountInUse(ctx, c.App, c.AccountID)
	if err != nil {
		return failed(err)
	}
	if used {
		log.Warn("disconnected, but the grant was not revoked at the provider: another connection of the account works, and revoking might end it too")
		return perennial.RevocationFailed
	}
	ctx, cancel := context.WithTimeout(ctx, refresh.RevokeTimeout)
	defer cancel()
	if err := e.Provider.Revoke(ctx, e.Service.preferred(ctx, app), token); err != nil {
		return failed(err)
	}
	return perennial.RevocationDone
}
