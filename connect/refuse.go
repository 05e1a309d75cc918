package connect

import (
	"context"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// refuse ends a session whose grant is not stored, and revokes the grant at the provider
// (RFC 7009), so that nothing of it remains.
func (s *Sessions) refuse(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply, account provider.Account, outcome perennial.ConnectOutcome, missing []string) (perennial.ConnectSession, error) {
	s.revoke(ctx, app, c, k, account)
	return s.end(ctx, c, outcome, missing, "")
}

// revoke revokes a refused grant. At many providers that ends every grant of the user to
// this app, so revoke does nothing if a connection of any account that the grant reaches
// works. It returns done only if the provider said so.
func (s *Sessions) revoke(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply, account provider.Account) perennial.Revocation {
	log := s.Service.Log.With("session_id", c.ID, "app", c.App)
	if len(account.IDs()) == 0 {
		log.Warn("refused grant not revoked: nobody knows its account, and it may be a connection's")
		return perennial.RevocationFailed
	}
	used, err := s.inUse(ctx, c.App, account)
	if err != nil || used {
		log.Warn("refused grant not revoked: an account that it reaches has a connection that works", "known", err == nil)
		return perennial.RevocationFailed
	}
	token := k.RefreshToken
	if token.IsZero() {
		token = k.AccessToken
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := s.Provider.Revoke(ctx, s.Service.preferred(ctx, app), token); err != nil {
		log.Error("refused grant not revoked", "error", err)
		return perennial.RevocationFailed
	}
	log.Info("refused grant revoked", "endpoint", app.Provider.RevokeURL != "")
	if app.Provider.RevokeURL == "" {
		return perennial.RevocationUnsupported
	}
	return perennial.RevocationDone
}

// maxInUse bounds the accounts that are looked up before a grant is revoked.
const maxInUse = 100

// inUse reports whether any tenant has a working connection of an account that a grant
// reaches. If they are too many to look up, they count as used.
func (s *Sessions) inUse(ctx context.Context, app string, account provider.Account) (bool, error) {
	ids := account.IDs()
	if len(ids) > maxInUse {
		return true, nil
	}
	for _, id := range ids {
		if used, err := s.Service.Store.AccountInUse(ctx, app, id); err != nil || used {
			return used, err
		}
	}
	return false, nil
}
