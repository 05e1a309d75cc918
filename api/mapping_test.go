package api

import (
	"testing"

	"github.com/perennial-oauth/perennial"
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
