package api

import (
	"strconv"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/version"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
)

// TestShownWhole: the API's copies leave no field out.
func TestShownWhole(t *testing.T) {
	t.Parallel()
	a := &API{}
	c := fill.Of[perennial.Connection]()
	c.Status = perennial.StatusActive // other statuses have fields from before, which are not shown
	assert.Equal(t, []string{"Revocation"}, fill.Zeros(a.show(c)), "a disconnect alone says that")
	assert.Empty(t, fill.Zeros(showAttempt(fill.Of[perennial.Attempt]())))
	assert.Empty(t, fill.Zeros(versionOf(fill.Of[version.Info]())))
	started := connect.Session{ConnectSession: fill.Of[perennial.ConnectSession](), Link: perennial.NewSecret("link")}
	assert.Empty(t, fill.Zeros(startedOf(started)))
	assert.Equal(t, []string{"Link"}, fill.Zeros(sessionOf(started.ConnectSession)), "it is shown once")
	app := showApp(provider.App{Name: "app", Scopes: []string{"read"}, Provider: provider.Entry{Name: "p", Title: "P"}}, fill.Of[store.AppState]())
	assert.Empty(t, fill.Zeros(app))
	assert.Empty(t, fill.Zeros(app.Circuits[0]))
	assert.Equal(t, []string{"Secret"}, fill.Zeros(showWebhook(fill.Of[perennial.WebhookEndpoint]())), "it is shown once")
}

// TestAskedWhole: each member of a caller's request reaches the part that does the work, for its tenant.
func TestAskedWhole(t *testing.T) {
	t.Parallel()
	assert.Empty(t, fill.Zeros(requestOf("tenant", fill.Of[wire.NewSession]())))
	assert.Empty(t, fill.Zeros(deliveryOf(fill.Of[perennial.Delivery]())))
	connections := fill.Of[listConnectionsInput]()
	assert.Equal(t, []string{"AccountID", "After"}, fill.Zeros(connections.filter()), "nobody filters by account, and the cursor is read later")
	asked := fill.Of[listDeliveriesInput]()
	deliveries := asked.filter(fill.Of[deliveryCursor]())
	assert.Empty(t, fill.Zeros(deliveries))
	assert.Equal(t, perennial.Delivery{EventID: deliveries.After.EventID, EndpointID: asked.ID, CreatedAt: deliveries.After.CreatedAt}, deliveries.After)
	assert.NotEmpty(t, deliveries.After.EventID)
	assert.NotZero(t, deliveries.After.CreatedAt)
	assert.Equal(t, []string{"Tokens", "Credentials", "ObtainedAt", "Exchanged"}, fill.Zeros(fill.Of[newConnection]().grant("tenant")), "they are read from the reply, which a caller brought")
	assert.Equal(t, []string{"Host", "Tokens", "Credentials", "ObtainedAt", "Exchanged"}, fill.Zeros(fill.Of[newTokens]().grant(fill.Of[perennial.Connection]())), "the connection keeps its host")
}

// TestKeptWhole: the API stores a key or a request whole, but for the columns of its later
// use or answer.
func TestKeptWhole(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	assert.Equal(t, []string{"LastUsedAt", "RevokedAt"}, fill.Zeros(keyRowOf(fill.Of[perennial.APIKey](), now)))
	request := (&call{key: fill.Of[perennial.APIKey](), fingerprint: "f", idempotencyKey: "k"}).idempotent()
	assert.Equal(t, []string{"Status", "Answer", "CreatedAt", "Now"}, fill.Zeros(request))
	assert.Equal(t, []string{"Status", "Answer"}, fill.Zeros(begun(request, now)))
}

// TestProblemsAreWhole: a problem names its request, and one of a generation the row's.
func TestProblemsAreWhole(t *testing.T) {
	t.Parallel()
	h := fill.Of[wire.TokenState]()
	p := generationAhead(h)
	assert.Contains(t, p.Detail, strconv.FormatInt(h.Generation, 10))
	assert.Equal(t, h.Generation, p.State.Generation)
	(&call{requestID: "req_1"}).failed(p)
	assert.Equal(t, "req_1", p.RequestID)
}
