package browser

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/store"
)

const crmClient = "client-" + connecttest.CRM

// TestConnectPages uses many connect links in one browser, each with another outcome.
func TestConnectPages(t *testing.T) {
	w := connecttest.New(t, nil)
	chrome := chromium(t)
	b := open(t, w, chrome)
	settings := w.Product.URL + "/settings"
	link := func(req connect.SessionRequest) string {
		req.ReturnURL, req.TenantTitle = settings, "Jane's Bikes"
		return w.Link(t, req).Link.Reveal()
	}
	only := func() perennial.Connection {
		all, err := w.Store.List(t.Context(), perennial.WorkerAccess(), store.Filter{})
		require.NoError(t, err)
		require.Len(t, all, 1)
		return all[0]
	}

	// Deny, then deselect a permission, then approve.
	first := link(connect.SessionRequest{})
	b.navigate(first)
	b.show("1-connect")
	b.click("button")
	b.consent("62515", "", "deny")
	b.heading("Acme CRM was not connected")
	b.show("2-denied")
	b.click("button")
	b.consent("62515", "contacts.write", "allow")
	b.heading("Permissions are missing")
	b.show("3-scopes-missing")
	b.click("button")
	b.consent("62515", "", "allow")
	b.heading("Settings")
	c := only()
	at, err := url.Parse(b.url())
	require.NoError(t, err)
	assert.Equal(t, []string{"connected", c.ID}, []string{at.Query().Get("connect_outcome"), at.Query().Get("connection_id")})
	assert.Empty(t, get(b, chromedp.Evaluate[string](`document.referrer`)), "the callback's URL, with its code, is told to nobody")

	// Replay the callback here, and in another browser.
	callback := b.lastCallback()
	require.Contains(t, callback, "code=")
	b.navigate(callback)
	b.heading("Settings") // the link is done: the page leads to the product
	b.navigate(first)
	b.heading("Acme CRM is connected")
	b.show("4-connected")
	other := open(t, w, b.ctx, chromedp.WithNewBrowserContext())
	other.navigate(callback)
	other.heading("This sign-in began in another browser")
	other.show("5-other-browser")
	other.navigate(first)
	other.heading("This link was used already")
	other.show("6-used")
	assert.Equal(t, c, only())

	// The state is missing.
	b.navigate(strings.Split(callback, "?")[0] + "?code=x")
	b.heading("This sign-in cannot be continued")
	b.show("7-state")

	// The link has expired.
	old := link(connect.SessionRequest{})
	w.Exec(t, "UPDATE connect_sessions SET expires_at = clock_timestamp() WHERE outcome = ''")
	b.navigate(old)
	b.heading("This link has expired")
	b.show("8-expired")

	// The grant is removed at the provider. Another account is refused; the right
	// account repairs the connection.
	require.NoError(t, w.Provider.Revoke(crmClient, "62515"))
	_, err = w.Store.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
	require.NoError(t, err)
	b.navigate(link(connect.SessionRequest{ConnectionID: c.ID}))
	b.heading("Reconnect Acme CRM")
	b.show("9-reconnect")
	b.click("button")
	b.consent("999", "", "allow")
	b.heading("That is another account")
	b.show("10-another-account")
	revoked := false
	for _, g := range w.Provider.Oracle().Grants {
		revoked = revoked || g.Account == "999" && g.Revoked
	}
	assert.True(t, revoked, "by the provider's books")
	b.click("button")
	b.consent("62515", "", "allow")
	b.heading("Settings")
	assert.Equal(t, perennial.StatusActive, only().Status)
	assert.Equal(t, c.Generation+1, only().Generation)

	// For a while the provider does not say whose grant it is; then it is down.
	require.NoError(t, w.Provider.SetKnobs(crmClient, "", fakeprovider.Knobs{InfoError: 1}))
	b.navigate(link(connect.SessionRequest{}))
	b.click("button")
	b.consent("62515", "", "allow")
	b.heading("Almost done")
	b.show("11-almost-done")
	w.Exec(t, "UPDATE connect_sessions SET lease_until = NULL")
	b.click("button")
	b.heading("Settings")
	require.NoError(t, w.Provider.SetKnobs(crmClient, "", fakeprovider.Knobs{AuthError: "server_error"}))
	b.navigate(link(connect.SessionRequest{}))
	b.click("button")
	b.heading("Acme CRM does not answer")
	b.show("12-provider-down")
	require.NoError(t, w.Provider.SetKnobs(crmClient, "", fakeprovider.Knobs{AuthError: "invalid_scope"}))
	b.click("button")
	b.heading("Acme CRM could not be connected")
	b.show("13-misconfigured")
	b.quiet("all of it")
}

// TestWithoutJavaScript: page and popup work the same with scripts turned off.
func TestWithoutJavaScript(t *testing.T) {
	w := connecttest.New(t, nil)
	b := open(t, w, chromium(t))
	b.withoutScripts()
	for _, mode := range []perennial.ConnectMode{perennial.ConnectPage, perennial.ConnectPopup} {
		b.navigate(w.Link(t, connect.SessionRequest{Mode: mode, ReturnURL: w.Product.URL + "/settings"}).Link.Reveal())
		b.click("button")
		b.consent("62515", "", "allow")
		if mode == perennial.ConnectPopup {
			b.heading("Acme CRM is connected")
			b.show("14-popup-without-javascript")
			b.click("a.button")
		}
		b.heading("Settings")
		assert.Contains(t, b.url(), "connect_outcome=connected", mode)
	}
	b.quiet("all of it")
}

// TestPopup: the product opens a popup and receives its result, and the popup closes.
func TestPopup(t *testing.T) {
	w := connecttest.New(t, nil)
	product := open(t, w, chromium(t))
	s := w.Link(t, connect.SessionRequest{Mode: perennial.ConnectPopup, ReturnURL: w.Product.URL + "/settings"})
	opened := chromedp.WaitNewTarget(product.ctx, func(info *target.Info) bool { return strings.HasPrefix(info.URL, w.URL) })
	product.navigate(w.Product.URL + "/settings#" + s.Link.Reveal())
	product.click("#open")
	var id target.ID
	select {
	case id = <-opened:
	case <-t.Context().Done():
	}
	popup := open(t, w, product.ctx, chromedp.WithTargetID(id))
	popup.heading("Connect Acme CRM")
	popup.click("button")
	popup.consent("62515", "", "deny")
	popup.heading("Acme CRM was not connected")
	get(product, chromedp.Poll[bool](`document.getElementById("told").innerText.includes("access_denied")`, chromedp.WithPollingTimeout(patience)))
	popup.click("button")
	popup.heading("Allow access?")
	closed := make(chan struct{})
	require.NoError(t, chromedp.ListenBrowser(product.ctx, func(event any) {
		if e, ok := event.(*target.EventTargetDestroyed); ok && e.TargetID == id {
			close(closed)
		}
	}))
	ctx, cancel := context.WithTimeout(popup.ctx, patience)
	defer cancel()
	_ = chromedp.Do(ctx, chromedp.Click(chromedp.CSS(`button[value="allow"]`))) // the popup may close before the click is confirmed
	get(product, chromedp.Poll[bool](`document.getElementById("told").innerText.includes("\"connected\"")`, chromedp.WithPollingTimeout(patience)))
	told := get(product, chromedp.Text(chromedp.CSS("#told")))
	all, err := w.Store.List(t.Context(), perennial.WorkerAccess(), store.Filter{})
	require.NoError(t, err)
	require.Len(t, all, 1)
	assert.Equal(t, w.URL+` {"type":"perennial.connect","outcome":"connected","session_id":"`+s.ID+`","connection_id":"`+all[0].ID+`"}`, told)
	select {
	case <-closed:
	case <-ctx.Done():
		t.Error("the popup is still open")
	}
}
