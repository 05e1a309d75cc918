package api

import (
	"strconv"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/internal/fill"
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
	app := showApp(provider.App{Name: "app", Scopes: []string{"read"}, Provider: provider.Entry{Name: "p", Title: "P"}}, fill.Of[store.AppState]())
	assert.Empty(t, fill.Zeros(app))
	assert.Empty(t, fill.Zeros(app.Circuits[0]))
	assert.Equal(t, []string{"Secret"}, fill.Zeros(showWebhook(fill.Of[perennial.WebhookEndpoint]())), "it is shown once")
}

// TestAskedWhole: each member of a caller's request reaches the part that does the work, for his tenant.
func TestAskedWhole(t *testing.T) {
	t.Parallel()
	assert.Empty(t, fill.Zeros(requestOf(fill.Of[perennial.APIKey](), fill.Of[wire.NewSession]())))
	assert.Empty(t, fill.Zeros(deliveryOf(fill.Of[perennial.Delivery]())))
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
