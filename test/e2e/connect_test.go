package e2e

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	tokens "github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
)

// TestConnectToDisconnect takes one connection through its whole life, with one call
// for each step. The product code has only an API key. The server program, a worker, a
// customer's browser and the provider do the rest.
func TestConnectToDisconnect(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := setup(t, setting{links: true})
	require.NoError(t, s.provider.SetKnobs(clientID, "", fakeprovider.Knobs{LifetimeSeconds: 600, Rotate: true}))
	s.work()
	server := s.serve()
	product := s.remote(server)
	app, err := s.deps.Config.App("app")
	require.NoError(t, err)
	api := strings.TrimSuffix(app.Provider.TokenURL, "/token") + "/api/ping"
	use := func(id string) error {
		resp, err := product.HTTPClient(id).Get(api)
		if err != nil {
			return err
		}
		assert.Equal(t, http.StatusOK, resp.StatusCode)
		return resp.Body.Close()
	}
	transport := server.transport()
	t.Cleanup(transport.CloseIdleConnections)
	consent := func(made tokens.ConnectSession, account string) connecttest.Page {
		require.Contains(t, made.Link.Reveal(), linkBase+"/connect/cl_")
		return connecttest.NewBrowser(t, linkBase, transport).Go(made.Link.Reveal(), connecttest.Consent{Account: account})
	}

	made, err := product.Connect(ctx, tokens.ConnectRequest{App: "app", TenantTitle: "Acme Inc."})
	require.NoError(t, err)
	page := consent(made, "a1")
	require.Equal(t, "Acme is connected", page.Heading())
	session, err := product.Session(ctx, made.ID)
	require.NoError(t, err)
	require.Equal(t, perennial.ConnectConnected, session.Outcome)
	id := session.Connection
	first, err := product.Token(ctx, id)
	require.NoError(t, err)
	assert.Equal(t, "a1", first.Account)
	require.NoError(t, use(id))

	require.NoError(t, s.provider.Revoke(clientID, "a1"))
	needed := new(tokens.ErrReconnectRequired)
	s.eventually("the customer is asked to reconnect", func() bool { return errors.As(use(id), &needed) })
	assert.Equal(t, perennial.ReasonInvalidGrant, needed.Reason)
	assert.Equal(t, "https://app.example/"+id, needed.ReconnectURL)

	again, err := product.Reconnect(ctx, id, tokens.ReconnectRequest{})
	require.NoError(t, err)
	assert.Equal(t, id, again.Connection)
	other := consent(again, "a2")
	assert.Equal(t, "That is another account", other.Heading())
	assert.True(t, s.oracle("a2").Revoked)
	page = consent(again, "a1") // the link was not used
	require.Equal(t, "Acme is connected", page.Heading())
	session, err = product.Session(ctx, again.ID)
	require.NoError(t, err)
	require.Equal(t, perennial.ConnectConnected, session.Outcome)
	second, err := product.Token(ctx, id)
	require.NoError(t, err)
	assert.Greater(t, second.Generation, first.Generation)
	assert.Equal(t, perennial.StatusActive, second.Status)
	require.NoError(t, use(id))
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, s.describe(id).Status)

	revocation, err := product.Disconnect(ctx, id)
	require.NoError(t, err)
	assert.Equal(t, perennial.RevocationDone, revocation)
	assert.True(t, s.oracle("a1").Revoked, "the provider's books")
	assert.Empty(t, s.oracle("a1").LiveRefreshTokens)
	assert.Zero(t, s.oracle("a1").LiveAccessTokens)
	gone := new(tokens.ErrNotFound)
	require.ErrorAs(t, use(id), &gone)
	assert.True(t, gone.Disconnected)
	s.eventually("the workflow completes", func() bool {
		return s.describe(id).Status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	})

	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
	said := string(s.logs.Bytes())
	for _, secret := range []string{"cl_", "fat_", "frt_", "fac_", clientSecret} { // the prefixes of links and tokens
		assert.False(t, strings.Contains(said, secret), secret)
	}
}

// TestBoundConnect: the tokens of a bound link are stored, and the workflow is started, by
// the product's finish alone. The second user's consent to the first user's link stores
// nothing, and says why.
func TestBoundConnect(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := setup(t, setting{links: true, back: "https://app.example/settings"})
	require.NoError(t, s.provider.SetKnobs(clientID, "", fakeprovider.Knobs{LifetimeSeconds: 600, Rotate: true}))
	s.work()
	server := s.serve()
	product := s.remote(server)
	transport := server.transport()
	t.Cleanup(transport.CloseIdleConnections)
	returned := "https://app.example/settings"
	code := func(made tokens.ConnectSession, account string) perennial.Secret {
		b := connecttest.NewBrowser(t, linkBase, transport)
		callback := b.Answer(b.Begin(b.Open(made.Link.Reveal())), connecttest.Consent{Account: account})
		back, err := url.Parse(b.Do(http.MethodGet, callback, nil, nil).Location)
		require.NoError(t, err)
		require.Equal(t, "awaiting_finish", back.Query().Get("connect_outcome"), back)
		return perennial.NewSecret(back.Query().Get("connect_code"))
	}
	connections := func() []perennial.Connection {
		all, err := s.deps.Store.List(ctx, perennial.WorkerAccess(), store.Filter{})
		require.NoError(t, err)
		return all
	}

	first, verifier, err := product.ConnectBound(ctx, tokens.ConnectRequest{App: "app", ReturnURL: returned})
	require.NoError(t, err)
	_, second, err := product.ConnectBound(ctx, tokens.ConnectRequest{App: "app", ReturnURL: returned})
	require.NoError(t, err)
	stolen := code(first, "a2")
	for range 5 {
		_, err = product.Finish(ctx, tokens.FinishRequest{Session: first.ID, Code: stolen, Verifier: second})
		other := new(tokens.ErrOtherUser)
		require.ErrorAs(t, err, &other)
	}
	require.Empty(t, connections())
	assert.True(t, s.oracle("a2").Revoked, "by the provider's books")
	ended, err := product.Finish(ctx, tokens.FinishRequest{Session: first.ID, Code: stolen, Verifier: verifier})
	require.NoError(t, err)
	assert.Equal(t, perennial.ConnectNotFinished, ended.Outcome)

	own := code(first, "a1") // the first user follows his own link
	require.Empty(t, connections())
	made, err := product.Finish(ctx, tokens.FinishRequest{Session: first.ID, Code: own, Verifier: verifier})
	require.NoError(t, err)
	require.Equal(t, perennial.ConnectConnected, made.Outcome)
	token, err := product.Token(ctx, made.Connection)
	require.NoError(t, err)
	assert.Equal(t, "a1", token.Account)
	s.eventually("the workflow runs", func() bool {
		return s.describe(made.Connection).Status == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	})
	require.Len(t, connections(), 1)

	again, verifier, err := product.ReconnectBound(ctx, made.Connection, tokens.ReconnectRequest{ReturnURL: returned})
	require.NoError(t, err)
	anew := code(again, "a1")
	before := connections()[0]
	assert.Equal(t, token.Generation, before.Generation, "the old tokens stay until the finish")
	_, err = product.Finish(ctx, tokens.FinishRequest{Session: again.ID, Code: anew, Verifier: verifier})
	require.NoError(t, err)
	assert.Greater(t, connections()[0].Generation, before.Generation)
	said := string(s.logs.Bytes())
	for _, secret := range []string{"cb_", "fc_", "bound.", "fat_", "frt_", verifier.Reveal(), own.Reveal()} {
		assert.False(t, strings.Contains(said, secret), secret)
	}
}
