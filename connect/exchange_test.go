package connect

import (
	"context"
	"errors"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secretive is an authorizer that accepts one client secret and answers any other with
// refusal.
type secretive struct {
	Authorizer
	right   string
	refusal provider.Reply
	tried   []string
}

func (s *secretive) Exchange(_ context.Context, _ provider.App, secret perennial.Secret, _ provider.AuthorizationCode) provider.Reply {
	s.tried = append(s.tried, secret.Reveal())
	if secret.Reveal() != s.right {
		return s.refusal
	}
	return provider.Reply{Outcome: perennial.OutcomeRefreshed, HTTPStatus: 200}
}

// learnt is a store that knows which client secret is accepted, by its digest, or does
// not answer.
type learnt struct {
	Store
	digest string
	err    error
}

func (l learnt) ClientSecret(context.Context, string) (store.ClientSecret, error) {
	return store.ClientSecret{Digest: l.digest}, l.err
}

func exchanging(p Authorizer, l learnt) *Sessions {
	return &Sessions{SessionsConfig{Provider: p, Service: New(Config{Store: l})}}
}

// TestExchangeWithTheLearntSecret: a code is worth one try, which is made with the secret
// that refreshes have learnt. The reply names it by its place in the configuration.
func TestExchangeWithTheLearntSecret(t *testing.T) {
	t.Parallel()
	app := provider.App{ClientSecrets: []perennial.Secret{perennial.NewSecret("old"), perennial.NewSecret("new")}}
	refusal := provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "invalid_client", HTTPStatus: 401}
	for _, c := range []struct {
		l        learnt
		right    string
		tried    []string
		accepted int
	}{
		{learnt{digest: perennial.NewSecret("new").Digest()}, "new", []string{"new"}, 1},
		{learnt{digest: perennial.NewSecret("new").Digest()}, "old", []string{"new", "old"}, 0},
		{learnt{digest: "of one that is not configured"}, "old", []string{"old"}, 0},
		{learnt{err: errors.New("away")}, "new", []string{"old", "new"}, 1},
	} {
		s := &secretive{right: c.right, refusal: refusal}
		reply, accepted := exchanging(s, c.l).exchange(t.Context(), app, provider.AuthorizationCode{})
		assert.Equal(t, perennial.OutcomeRefreshed, reply.Outcome)
		assert.Equal(t, c.tried, s.tried)
		assert.Equal(t, c.accepted, accepted)
	}
}

// TestExchangeTriesTheNextSecret: a code is presented with the next secret only if the
// provider rejected the client, in whatever words.
func TestExchangeTriesTheNextSecret(t *testing.T) {
	t.Parallel()
	app := provider.App{ClientSecrets: []perennial.Secret{perennial.NewSecret("old"), perennial.NewSecret("new")}}
	for _, c := range []struct {
		refusal provider.Reply
		tried   []string
	}{
		{provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "invalid_client", HTTPStatus: 401}, []string{"old", "new"}},
		{provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "BAD_CLIENT_SECRET", HTTPStatus: 400}, []string{"old", "new"}},
		{provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "incorrect_client_credentials", HTTPStatus: 200}, []string{"old", "new"}},
		{provider.Reply{Outcome: perennial.OutcomeRejected, Code: "http_401", HTTPStatus: 401}, []string{"old", "new"}},
		{provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "unauthorized_client", HTTPStatus: 401}, []string{"old"}},
		{provider.Reply{Outcome: perennial.OutcomeRevoked, Code: "invalid_grant", HTTPStatus: 400}, []string{"old"}},
		{provider.Reply{Outcome: perennial.OutcomeUnknown, Code: "timeout"}, []string{"old"}},
	} {
		s := &secretive{right: "new", refusal: c.refusal}
		reply, accepted := exchanging(s, learnt{}).exchange(t.Context(), app, provider.AuthorizationCode{})
		assert.Equal(t, c.tried, s.tried, c.refusal.Code)
		if len(c.tried) == 2 {
			assert.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, c.refusal.Code)
			assert.Equal(t, 1, accepted)
		} else {
			assert.Equal(t, c.refusal, reply)
		}
	}
	public := &secretive{}
	reply, _ := exchanging(public, learnt{}).exchange(t.Context(), provider.App{}, provider.AuthorizationCode{})
	assert.Equal(t, perennial.OutcomeRefreshed, reply.Outcome)
	assert.Equal(t, []string{""}, public.tried)
}

// TestKeptReplyKeepsEveryByte: tokens are bytes, also in a reply that waits to be
// stored. A reply that an older program kept is read unchanged.
func TestKeptReplyKeepsEveryByte(t *testing.T) {
	t.Parallel()
	keyring, err := seal.NewEphemeral()
	require.NoError(t, err)
	s := &Sessions{SessionsConfig{Service: &Service{Config: Config{Sealer: keyring}}}}
	c := perennial.ConnectSession{ID: "s", TenantID: "t"}
	for _, token := range []string{"", "plain", "\x00", "\xff\xfe", "é\xc3("} {
		k := pendingReply{TokenSet: perennial.TokenSet{AccessToken: perennial.NewSecret(token), RefreshToken: perennial.NewSecret("r" + token)}, Secret: 1}
		c.ReplySealed, err = s.sealed(c, k)
		require.NoError(t, err)
		got, err := s.opened(c)
		require.NoError(t, err)
		assert.Equal(t, token, got.AccessToken.Reveal())
		assert.Equal(t, "r"+token, got.RefreshToken.Reveal())
	}
	c.ReplySealed, err = keyring.Seal(sessionBinding(c, seal.FieldTokenReply, c.Starts), perennial.NewSecret(`{"AccessToken":"a","RefreshToken":"r","Secret":1}`))
	require.NoError(t, err)
	old, err := s.opened(c)
	require.NoError(t, err)
	assert.Equal(t, "r", old.RefreshToken.Reveal())
}
