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
	Hint    string            // the account's id, if the callback or the reply named one
	Secret  int               // the number of the client secret that the provider accepted
	Choices []provider.Choice // the accounts that the grant reaches, if there are several
	Chosen  string            // the one that the customer chose
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
	Choices                                          []provider.Choice `json:",omitempty"`
	Chosen                                           string            `json:",omitempty"`
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
		k.Metadata, k.Hint, k.Secret, k.Choices, k.Chosen})
	if err != nil {
		return nil, errors.New("write the token reply")
	}
	field := seal.FieldTokenReply
	switch {
	case c.Bound():
		field = seal.FieldBoundReply // an older program would store the grant at once
	case len(k.Choices) > 0:
		field = seal.FieldAccountChoice // an older program would store the grant for the first account of the list
	}
	return s.Service.Sealer.Seal(sessionBinding(c, field, c.Starts), perennial.NewSecret(string(raw)))
}

func (s *Sessions) opened(c perennial.ConnectSession) (pendingReply, error) {
	fields := []seal.Field{seal.FieldTokenReply, seal.FieldAccountChoice}
	if c.Bound() {
		fields = []seal.Field{seal.FieldBoundReply}
	}
	raw, err := s.openAny(c, fields)
	if err != nil {
		return pendingReply{}, err
	}
	var p plain
	if err := json.Unmarshal([]byte(raw.Reveal()), &p); err != nil {
		return pendingReply{}, perennial.Errorf(perennial.CodeSealed, "the token reply of connect session %s cannot be read", c.ID)
	}
	return pendingReply{perennial.TokenSet{AccessToken: perennial.NewSecret(string(p.AccessToken)), RefreshToken: perennial.NewSecret(string(p.RefreshToken)), TokenType: p.TokenType,
		Scopes: p.Scopes, ExpiresIn: p.ExpiresIn, RefreshTokenExpiresIn: p.RefreshTokenExpiresIn, GrantExpiresIn: p.GrantExpiresIn, Metadata: p.Metadata}, p.Hint, p.Secret, p.Choices, p.Chosen}, nil
}

// openAny opens the reply under the first field that it was sealed for.
func (s *Sessions) openAny(c perennial.ConnectSession, fields []seal.Field) (perennial.Secret, error) {
	var errs []error
	for _, field := range fields {
		raw, err := s.Service.Sealer.Open(sessionBinding(c, field, c.Starts), c.ReplySealed)
		if err == nil {
			return raw, nil
		}
		errs = append(errs, err)
	}
	return perennial.Secret{}, errs[0]
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
	return s.resume(ctx, c)
}

// resume goes on with the reply of a session that is leased to the caller.
func (s *Sessions) resume(ctx context.Context, c perennial.ConnectSession) (perennial.ConnectSession, error) {
	app, err := s.app(c)
	if err != nil {
		return s.later(ctx, c, err)
	}
	k, err := s.opened(c)
	if err != nil {
		return s.later(ctx, c, err)
	}
	switch {
	case c.Outcome == perennial.ConnectChooseAccount: // the wait for a choice is over
		return s.giveUpChoice(ctx, app, c, k)
	case c.AwaitsFinish(): // and so is the wait for the product
		return s.giveUpFinish(ctx, app, c, k)
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

// youngTries is after how many tries a token is no longer too young to be accepted by the
// provider's API: half a minute after the consent.
const youngTries = 4

// retryWait returns the wait after a number of failed tries: 2 s, doubling up to 10
// min.
func retryWait(tries int) time.Duration {
	return min(time.Second<<min(max(tries, 1), 10), 10*time.Minute)
}

// finish finds the account of the grant, checks the grant and stores it.
func (s *Sessions) finish(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply) (perennial.ConnectSession, error) {
	account, err := s.lookUp(ctx, app, c, k)
	switch {
	case perennial.CodeOf(err) == perennial.CodeInvalid, errors.Is(err, provider.ErrTokenNotAccepted) && c.Tries > youngTries:
		s.Service.Log.Error("account not found", "session_id", c.ID, "app", c.App, "error", err)
		return s.end(ctx, c, perennial.ConnectAccountUnknown, nil, "") // do not revoke it: it may be a connection's grant
	case err != nil:
		return s.later(ctx, c, err)
	}
	if k.Scopes == nil {
		k.Scopes = account.Scopes
	}
	id, outcome, missing, err := s.examine(ctx, app, c, k, account)
	switch {
	case err != nil:
		return s.later(ctx, c, err)
	case outcome == perennial.ConnectChooseAccount:
		return s.awaitChoice(ctx, c, k, account.Choices)
	case outcome != "":
		return s.refuse(ctx, app, c, k, account, outcome, missing)
	}
	if source := app.Provider.Account; source.From == provider.AccountFromCallback && slices.Contains(app.Provider.MetadataFields, source.Name) {
		if k.Metadata == nil {
			k.Metadata = map[string]string{}
		}
		k.Metadata[source.Name] = id
	}
	if c.Bound() && c.FinishAskedAt.IsZero() {
		return s.awaitFinish(ctx, c, k, account, id)
	}
	return s.store(ctx, app, c, k, account, id)
}

// examine returns the id of the account to store the grant for, or the outcome with
// which it is not stored now. A reconnect takes the connection's own account, wherever
// it stands among those that the grant reaches.
func (s *Sessions) examine(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply, account provider.Account) (id string, outcome perennial.ConnectOutcome, missing []string, err error) {
	id = account.ID
	if c.ConnectionID != "" {
		con, _, err := s.Service.Store.Get(ctx, browserAccess(c), c.ConnectionID)
		switch {
		case perennial.CodeOf(err) == perennial.CodeNotFound:
			return "", perennial.ConnectGone, nil, nil
		case err != nil:
			return "", "", nil, err
		case !account.Reaches(con.AccountID):
			return "", perennial.ConnectAccountMismatch, nil, nil
		}
		id = con.AccountID
	}
	if missing := app.Provider.MissingScopes(c.Scopes, k.Scopes); len(missing) > 0 {
		return "", perennial.ConnectScopesMissing, missing, nil
	}
	if k.RefreshToken.IsZero() {
		return "", perennial.ConnectNoRefreshToken, nil, nil
	}
	if id == "" {
		return "", perennial.ConnectChooseAccount, nil, nil
	}
	return id, "", nil, nil
}

// grantOf returns the grant of a consent, with the tokens of an exchanged code.
func grantOf(c perennial.ConnectSession, k pendingReply, account string) Grant {
	return Grant{Tenant: c.TenantID, App: c.App, Account: account, Host: c.Host, Tokens: k.TokenSet, ObtainedAt: c.ReplyAt, Exchanged: true}
}

// storedSince returns the time from which on a refresh may be one of the session's own
// grant. While a bound session waits, the connection's old grant is refreshed too.
func storedSince(c perennial.ConnectSession) time.Time {
	if c.FinishAskedAt.After(c.ReplyAt) {
		return c.FinishAskedAt
	}
	return c.ReplyAt
}

// store writes the connection and signals its workflow. In a second try the row may
// hold the grant already, refreshed since; then store leaves it alone.
func (s *Sessions) store(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply, account provider.Account, id string) (perennial.ConnectSession, error) {
	g := grantOf(c, k, id)
	if c.Tries > 1 {
		con, err := s.Service.Store.FindByAccount(ctx, browserAccess(c), c.App, id)
		if err == nil && con.Status != perennial.StatusDisconnected && con.LastRefreshedAt.After(storedSince(c)) {
			return s.end(ctx, c, perennial.ConnectConnected, nil, con.ID)
		}
	}
	var con perennial.Connection
	var err error
	if c.ConnectionID != "" {
		con, err = s.Service.Reconnect(ctx, browserAccess(c), c.ConnectionID, g)
	} else {
		con, err = s.Service.Connect(ctx, browserAccess(c), g)
	}
	switch code := perennial.CodeOf(err); {
	case con.ID != "": // stored; if the signal failed, the sweep sends it
		return s.end(ctx, c, perennial.ConnectConnected, nil, con.ID)
	case code == perennial.CodeAccountMismatch: // examine allowed it, but the service decides
		return s.refuse(ctx, app, c, k, account, perennial.ConnectAccountMismatch, nil)
	case tokenInUse(err): // to revoke the grant would end the other connection
		s.Service.Log.Error("the provider gave a refresh token that another connection has", "session_id", c.ID, "app", c.App)
		c.Problem = err.Error()
		return s.end(ctx, c, perennial.ConnectMisconfigured, nil, "")
	case code == perennial.CodeNotFound:
		return s.refuse(ctx, app, c, k, account, perennial.ConnectGone, nil)
	case code == perennial.CodeInvalid:
		s.Service.Log.Error("grant not usable", "session_id", c.ID, "app", c.App, "error", err)
		return s.refuse(ctx, app, c, k, account, perennial.ConnectMisconfigured, nil)
	default:
		return s.later(ctx, c, err)
	}
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
	err := s.Store.Finish(ctx, c, outcome, missing, result)
	switch {
	case err == nil, perennial.CodeOf(err) == perennial.CodeConflict: // a newer request takes over
	case outcome == perennial.ConnectConnected: // the grant is stored: FinishAll ends the session
		s.Service.Log.Error("connect session not ended", "session_id", c.ID, "error", err)
	default:
		return c, err
	}
	return c, nil
}
