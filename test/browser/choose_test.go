package browser

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
)

// several is a provider whose grants reach three accounts.
type several struct{ connect.Authorizer }

// Account implements connect.Authorizer.
func (several) Account(context.Context, provider.App, perennial.Secret, perennial.Secret, string, string) (provider.Account, error) {
	return provider.Account{Choices: []provider.Choice{{ID: "7cb59f93-2964-421d-bb5e-a0f7a4572a44", Title: "Jane's Bikes"},
		{ID: "fe79f7dd-b6d4-4a92-ba7b-538af6289c58", Title: "Jane's Bikes & Repairs of the Whole North-East (Holding) Limited"}, {ID: "no-title"}}}, nil
}

// TestChooseAccount: without JavaScript, the customer marks an account and presses the
// button. Pressing it with none marked sends nothing.
func TestChooseAccount(t *testing.T) {
	w := connecttest.New(t, func(a connect.Authorizer) connect.Authorizer { return several{a} })
	b := open(t, w, chromium(t))
	b.navigate(w.Link(t, connect.SessionRequest{ReturnURL: w.Product.URL + "/settings"}).Link.Reveal())
	b.click("button")
	b.consent("62515", "", "allow")
	b.heading("Which one do you want to connect?")
	b.show("14-choose")
	b.click("button")
	b.heading("Which one do you want to connect?")
	b.click("label:nth-of-type(2)")
	b.click("button")
	b.heading("Settings")
	all, err := w.Store.List(t.Context(), perennial.WorkerAccess(), store.Filter{})
	require.NoError(t, err)
	require.Len(t, all, 1)
	assert.Equal(t, "fe79f7dd-b6d4-4a92-ba7b-538af6289c58", all[0].AccountID)
}
