package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
)

// pendingReply is a token reply that is not stored in a connection yet.
type pendingReply struct {
	perennial.TokenSet
	Hint   string // the account's id, if the callback named it
	Secret int    // the number of the client secret that the provider accepted
}

// plain is the form of a reply inside the seal, the only place where tokens are
// encoded.
type plain struct {
	AccessToken, RefreshToken                        octets
	TokenType                                        string
	Scopes                                           []string
	ExpiresIn, RefreshTokenExpiresIn, GrantExpiresIn time.Duration
	Metadata                                         map[string]string
	Hint                                             string
	Secret                                           int
}

// octets is a token. A token may have any bytes, a JSON string only UTF-8.
type octets string

// MarshalJSON implements json.Marshaler.
func (o octets) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(o)) {
		return json.Marshal(string(o))
	}
	return json.Marshal([][]byte{[]byte(o)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *octets) UnmarshalJSON(raw []byte) error {
	var list [][]byte
	if json.Unmarshal(raw, &list) == nil && len(list) == 1 {
		*o = octets(list[0])
		return nil
	}
	return json.Unmarshal(raw, (*string)(o))
}

func (s *Sessions) sealed(c perennial.ConnectSession, k pendingReply) ([]byte, error) {
	raw, err := json.Marshal(plain{octets(k.AccessToken.Reveal()), octets(k.RefreshToken.Reveal()), k.TokenType, k.Scopes, k.ExpiresIn, k.RefreshTokenExpiresIn, k.GrantExpiresIn,
		k.Metadata, k.Hint, k.Secret})
	if err != nil {
		return nil, errors.New("write the token reply")
	}
	return s.Service.Sealer.Seal(sessionBinding(c, seal.FieldTokenReply, c.Starts), perennial.NewSecret(string(raw)))
}

func (s *Sessions) opened(c perennial.ConnectSession) (pendingReply, error) {
	raw, err := s.Service.Sealer.Open(sessionBinding(c, seal.FieldTokenReply, c.Starts), c.ReplySealed)
	if err != nil {
		return pendingReply{}, err
	}
	var p plain
	if err := json.Unmarshal([]byte(raw.Reveal()), &p); err != nil {
		return pendingReply{}, perennial.Errorf(perennial.CodeSealed, "the token reply of connect session %s cannot be read", c.ID)
	}
	return pendingReply{perennial.TokenSet{AccessToken: perennial.NewSecret(string(p.AccessToken)), RefreshToken: perennial.NewSecret(string(p.RefreshToken)), TokenType: p.TokenType,
		Scopes: p.Scopes, ExpiresIn: p.ExpiresIn, RefreshTokenExpiresIn: p.RefreshTokenExpiresIn, GrantExpiresIn: p.GrantExpiresIn, Metadata: p.Metadata}, p.Hint, p.Secret}, nil
}

// keep seals the reply into the session before anything else happens. From then on
// neither a failing look-up nor a crash loses the grant.
func (s *Sessions) keep(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply, at time.Time) (perennial.ConnectSession, error) {
	sealed, err := s.sealed(c, k)
	if err == nil {
		err = s.Store.SaveReply(ctx, c.ID, c.Starts, sealed, at, storeLease)
	}
	if err != nil { // go on: perhaps the connection can be stored
		s.Service.Log.Error("token reply not saved in the session", "session_id", c.ID, "error", err)
	}
	c.ReplyAt, c.Tries, c.Outcome = at, 1, perennial.ConnectUnfinished
	return s.finish(ctx, app, c, k)
}

// Finish stores the reply that a session holds. If another process does so at the
// moment, or a try failed not long ago, Finish returns the session as it is.
func (s *Sessions) Finish(ctx context.Context, id string) (perennial.ConnectSession, error) {
	c, err := s.Store.Lease(ctx, id, storeLease)
	if perennial.CodeOf(err) == perennial.CodeConflict {
		c, _, err = s.Store.ByID(ctx, id)
		return c, err
	}
	if err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxStore)
	defer cancel()
	app, err := s.app(c)
	if err != nil {
		return s.later(ctx, c, err)
	}
	k, err := s.opened(c)
	if err != nil {
		return s.later(ctx, c, err)
	}
	return s.finish(ctx, app, c, k)
}

// FinishAll finishes at most limit sessions that a crash or a silent provider left
// unfinished, and deletes those that expired more than a day ago. Call it every few
// seconds. It returns how many it finished.
func (s *Sessions) FinishAll(ctx context.Context, limit int) (int, error) {
	all, err := s.Store.Unfinished(ctx, limit)
	errs := []error{err}
	n := 0
	for _, c := range all {
		c, err := s.Finish(ctx, c.ID)
		if errs = append(errs, err); err == nil && c.Outcome != perennial.ConnectUnfinished {
			n++
		}
	}
	_, err = s.Store.Prune(ctx, sessionsKept, limit)
	return n, errors.Join(append(errs, err)...)
}

// sessionsKept is how long an expired session stays, so that its link can say why it
// does not work.
const sessionsKept = 24 * time.Hour

// maxTries bounds the tries to store a reply, which span more than two hours.
const maxTries = 20

// retryWait returns the wait after a number of failed tries: 2 s, doubling up to 10
// min.
func retryWait(tries int) time.Duration {
	return min(time.Second<<min(max(tries, 1), 10), 10*time.Minute)
}

// finish finds the account of the grant, checks the grant and stores it.
func (s *Sessions) finish(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply) (perennial.ConnectSession, error) {
	var secret perennial.Secret
	if k.Secret < len(app.ClientSecrets) {
		secret = app.ClientSecrets[k.Secret]
	}
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	account, err := s.Provider.Account(asked, app, secret, k.AccessToken, k.Hint, c.Host)
	cancel()
	switch {
	case perennial.CodeOf(err) == perennial.CodeInvalid:
		s.Service.Log.Error("account not found", "session_id", c.ID, "app", c.App, "error", err)
		return s.end(ctx, c, perennial.ConnectAccountUnknown, nil, "") // do not revoke it: it may be a connection's grant
	case err != nil:
		return s.later(ctx, c, err)
	}
	if account.ID, err = s.reconnected(ctx, c, account); err != nil {
		return s.later(ctx, c, err)
	}
	if k.Scopes == nil {
		k.Scopes = account.Scopes
	}
	if source := app.Provider.Account; source.From == provider.AccountFromCallback && slices.Contains(app.Provider.MetadataFields, source.Name) {
		if k.Metadata == nil {
			k.Metadata = map[string]string{}
		}
		k.Metadata[source.Name] = account.ID
	}
	outcome, missing, err := s.examine(ctx, app, c, k, account.ID)
	if err != nil {
		return s.later(ctx, c, err)
	}
	if outcome != "" {
		s.revoke(ctx, app, c, k, account.ID)
		return s.end(ctx, c, outcome, missing, "")
	}
	return s.store(ctx, app, c, k, account.ID)
}

// reconnected returns the account that a grant is for. A grant may reach several accounts;
// at a reconnect it is for the connection's own if it reaches that one.
func (s *Sessions) reconnected(ctx context.Context, c perennial.ConnectSession, account provider.Account) (string, error) {
	if c.ConnectionID == "" || len(account.Others) == 0 {
		return account.ID, nil
	}
	con, _, err := s.Service.Store.Get(ctx, c.ConnectionID)
	switch {
	case perennial.CodeOf(err) == perennial.CodeNotFound: // examine says so
		return account.ID, nil
	case err != nil:
		return "", err
	case slices.Contains(account.Others, con.AccountID):
		return con.AccountID, nil
	}
	return account.ID, nil
}

// examine returns the outcome for which a grant is refused, or "".
func (s *Sessions) examine(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply, account string) (perennial.ConnectOutcome, []string, error) {
	if c.ConnectionID != "" {
		con, _, err := s.Service.Store.Get(ctx, c.ConnectionID)
		switch {
		case perennial.CodeOf(err) == perennial.CodeNotFound:
			return perennial.ConnectGone, nil, nil
		case err != nil:
			return "", nil, err
		case con.AccountID != account:
			return perennial.ConnectAccountMismatch, nil, nil
		}
	}
	if missing := app.Provider.MissingScopes(c.Scopes, k.Scopes); len(missing) > 0 {
		return perennial.ConnectScopesMissing, missing, nil
	}
	if k.RefreshToken.IsZero() {
		return perennial.ConnectNoRefreshToken, nil, nil
	}
	return "", nil, nil
}

// grantOf returns the grant of a consent, with the tokens of an exchanged code.
func grantOf(c perennial.ConnectSession, k pendingReply, account string) Grant {
	return Grant{Tenant: c.TenantID, App: c.App, Account: account, Host: c.Host, Tokens: k.TokenSet, ObtainedAt: c.ReplyAt, Exchanged: true}
}

// store writes the connection and signals its workflow. In a second try the row may
// hold the grant already, refreshed since; then store leaves it alone.
func (s *Sessions) store(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply, account string) (perennial.ConnectSession, error) {
	g := grantOf(c, k, account)
	if c.Tries > 1 {
		con, err := s.Service.Store.FindByAccount(ctx, c.TenantID, c.App, account)
		if err == nil && con.Status != perennial.StatusDisconnected && con.LastRefreshedAt.After(c.ReplyAt) {
			return s.end(ctx, c, perennial.ConnectConnected, nil, con.ID)
		}
	}
	var con perennial.Connection
	var err error
	if c.ConnectionID != "" {
		con, err = s.Service.Reconnect(ctx, c.ConnectionID, g)
	} else {
		con, err = s.Service.Connect(ctx, g)
	}
	switch code := perennial.CodeOf(err); {
	case con.ID != "": // stored; if the signal failed, the sweep sends it
		return s.end(ctx, c, perennial.ConnectConnected, nil, con.ID)
	case code == perennial.CodeAccountMismatch: // examine allowed it, but the service decides
		s.revoke(ctx, app, c, k, account)
		return s.end(ctx, c, perennial.ConnectAccountMismatch, nil, "")
	case code == perennial.CodeNotFound:
		s.revoke(ctx, app, c, k, account)
		return s.end(ctx, c, perennial.ConnectGone, nil, "")
	case code == perennial.CodeInvalid:
		s.Service.Log.Error("grant not usable", "session_id", c.ID, "app", c.App, "error", err)
		s.revoke(ctx, app, c, k, account)
		return s.end(ctx, c, perennial.ConnectMisconfigured, nil, "")
	default:
		return s.later(ctx, c, err)
	}
}

// revoke revokes a refused grant at the provider (RFC 7009), so that nothing of it
// remains. At many providers that ends every grant of the account to this app, so
// revoke does nothing if a connection of that account works.
func (s *Sessions) revoke(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply, account string) {
	log := s.Service.Log.With("session_id", c.ID, "app", c.App)
	used, err := s.Service.Store.AccountInUse(ctx, c.App, account)
	if err != nil || used {
		log.Warn("refused grant not revoked: the account has a connection that works", "known", err == nil)
		return
	}
	token := k.RefreshToken
	if token.IsZero() {
		token = k.AccessToken
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := s.Provider.Revoke(ctx, s.Service.preferred(ctx, app), token); err != nil {
		log.Error("refused grant not revoked", "error", err)
		return
	}
	log.Info("refused grant revoked", "endpoint", app.Provider.RevokeURL != "")
}

// later leaves the reply to the next try.
func (s *Sessions) later(ctx context.Context, c perennial.ConnectSession, cause error) (perennial.ConnectSession, error) {
	if c.Tries >= maxTries {
		s.Service.Log.Error("grant given up", "session_id", c.ID, "app", c.App, "tries", c.Tries, "error", cause)
		return s.end(ctx, c, perennial.ConnectProviderDown, nil, "")
	}
	s.Service.Log.Warn("grant saved in the session, not stored yet", "session_id", c.ID, "app", c.App, "tries", c.Tries, "error", cause)
	if err := s.Store.Release(ctx, c.ID, c.Starts, retryWait(c.Tries)); err != nil {
		if perennial.CodeOf(err) == perennial.CodeConflict {
			return c, fmt.Errorf("the grant was not saved: %w", cause)
		}
		return c, err
	}
	return c, nil
}

// end writes the outcome.
func (s *Sessions) end(ctx context.Context, c perennial.ConnectSession, outcome perennial.ConnectOutcome, missing []string, result string) (perennial.ConnectSession, error) {
	s.Service.Log.Info("connect session answered", "session_id", c.ID, "app", c.App, "outcome", string(outcome), "connection_id", result, "reconnect", c.ConnectionID != "")
	c.Outcome, c.Missing, c.ResultID = outcome, missing, result
	err := s.Store.Finish(ctx, c.ID, c.Starts, outcome, missing, result)
	switch {
	case err == nil, perennial.CodeOf(err) == perennial.CodeConflict: // a newer request takes over
	case outcome == perennial.ConnectConnected: // the grant is stored: FinishAll ends the session
		s.Service.Log.Error("connect session not ended", "session_id", c.ID, "error", err)
	default:
		return c, err
	}
	return c, nil
}
