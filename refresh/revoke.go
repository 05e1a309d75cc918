package refresh

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
)

// RevokeTimeout bounds the wait for a provider that revokes a token. Nothing depends on its
// answer.
const RevokeTimeout = 10 * time.Second

// revokeUnwanted revokes the refresh token of a set that arrived after its connection was
// disconnected: the disconnect could revoke only the token before it. It asks the
// provider once, and not while any tenant has a working connection of the account, which
// a revocation could end too. A failure is logged; the grant then lives on.
func (e *Engine) revokeUnwanted(ctx context.Context, saved store.SaveResult, token perennial.Secret) {
	c := saved.Connection
	if e.Revoker == nil || saved.Stored || c.Status != perennial.StatusDisconnected || token.IsZero() {
		return
	}
	log := e.Log.With("connection_id", c.ID, "provider", c.Provider)
	used, err := e.Store.AccountInUse(ctx, c.App, c.AccountID)
	if err == nil && used {
		log.Info("tokens arrived after the disconnect; their account is in use, so they are not revoked")
		return
	}
	if err == nil {
		err = e.revoke(ctx, c, token)
	}
	if err != nil {
		log.Warn("tokens arrived after the disconnect and were not revoked at the provider", "error", err)
		return
	}
	log.Info("tokens that arrived after the disconnect are revoked")
}

func (e *Engine) revoke(ctx context.Context, c perennial.Connection, token perennial.Secret) error {
	app, err := e.Apps.App(c.App)
	if err != nil {
		return err
	}
	if app, err = app.At(c.Host); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, RevokeTimeout)
	defer cancel()
	if len(app.ClientSecrets) > 1 {
		if known, err := e.Store.ClientSecret(ctx, app.Name); err == nil { // else the configured order counts
			app = app.Prefer(known.Digest)
		}
	}
	return e.Revoker.Revoke(ctx, app, token)
}
