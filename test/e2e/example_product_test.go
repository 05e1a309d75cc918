package e2e

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// settings is the product's page in a browser without JavaScript.
type settings struct {
	*around
	browser *connecttest.Browser
	url     string
}

func (p *settings) open() connecttest.Page {
	p.Helper()
	page := p.browser.Open(p.url)
	require.Equal(p, http.StatusOK, page.Status, page.Text())
	return page
}

var forms = regexp.MustCompile(`<form method="post" action="([^"]*)"><input type="hidden" name="([^"]*)" value="([^"]*)"><button[^>]*>([^<]*)</button>`)

// press presses a button of the current page.
func (p *settings) press(button string) connecttest.Page {
	p.Helper()
	page := p.open()
	for _, m := range forms.FindAllStringSubmatch(page.Body, -1) {
		if html.UnescapeString(m[4]) == button {
			at, err := url.Parse(p.url)
			require.NoError(p, err)
			return p.browser.Do(http.MethodPost, at.ResolveReference(&url.URL{Path: m[1]}).String(), url.Values{m[2]: {html.UnescapeString(m[3])}}, nil)
		}
	}
	require.FailNow(p, "no button "+button, page.Text())
	return page
}

// consent presses a button that leads to a link, and completes the link.
func (p *settings) consent(button string) connecttest.Page {
	p.Helper()
	page := p.press(button)
	require.Contains(p, page.Location, linkBase+"/connect/", page.Text())
	return p.browser.Go(page.Location, connecttest.Consent{Account: exampleAccount})
}

func (p *settings) shows(what string) {
	p.Helper()
	p.eventually("the page shows "+what, func() bool { return strings.Contains(p.open().Text(), what) })
}

// TestExampleProduct: a customer connects and removes access during a sync. The product
// says so, one consent reconnects, and the sync continues. Each order is written once,
// even if answers are lost and events come twice and in the wrong order.
func TestExampleProduct(t *testing.T) {
	t.Parallel()
	a := setupExamples(t)
	a.work()
	a.serve()
	events := httptest.NewServer(a.events.before(a.listen))
	t.Cleanup(events.Close)
	endpoint, secret, err := a.deps.Notify(nil).Add(t.Context(), accesstest.Of(t, "tenant"), events.URL+"/webhooks", nil)
	require.NoError(t, err)
	cmd := a.example("product")
	cmd.Env = append(cmd.Env, "WEBHOOK_SECRET="+secret.Reveal(), "LISTEN="+a.listen, "DATABASE="+filepath.Join(t.TempDir(), "product.db"))
	a.run(cmd)
	p := &settings{a, a.browser(), "http://" + a.listen + "/settings/connections"}
	a.answers(p.url)

	require.Contains(t, p.open().Text(), "Not connected")
	sent := p.press("Connect").Location // to a customer of another user, who follows it
	page := a.browser().Go(sent, connecttest.Consent{Account: exampleAccount})
	require.Contains(t, page.Text(), "Nothing was connected: this was started by somebody else")
	require.Contains(t, p.open().Text(), "Not connected")
	page = p.consent("Connect")
	require.NotContains(t, page.URL, "connect_code")
	require.Equal(t, "Connections", page.Heading(), page.Text())
	require.Contains(t, page.Text(), "Acme is connected.")
	require.Contains(t, page.Text(), "Account "+exampleAccount)
	p.press("Sync a test order")
	p.press("Sync a test order")
	a.eventually("two orders are written", func() bool { return a.written() == 2 })
	p.shows("Order 2</span><span class=\"words\">Synced")

	a.revokeIn.Store(2)
	for range 4 {
		p.press("Sync a test order")
	}
	p.shows("Reconnect needed: access was removed in Acme") // without the event, which comes late
	p.shows("3 orders wait for this connection")
	a.once(3)
	require.Contains(t, p.open().Text(), "Reconnect Acme; your settings are kept.")
	page = p.consent("Reconnect")
	require.Contains(t, page.Text(), "Acme is connected.")
	p.shows("Working again")
	a.eventually("what waited is written", func() bool { return a.written() == 6 })
	p.shows("Order 6</span><span class=\"words\">Synced")
	require.NotContains(t, p.open().Text(), "Reconnect needed</p>")
	a.once(6)

	a.loseAnswers(3)
	p.press("Sync a test order")
	p.shows("Order 7</span><span class=\"words\">Synced")
	a.once(7)
	assert.NotZero(t, a.oracle(exampleAccount).RepeatedWrites, "it was sent again")

	before := strings.Count(p.open().Body, "Working again")
	all, err := notify.NewStore(a.deps.DB).Deliveries(t.Context(), perennial.WorkerAccess(), perennial.DeliveryDelivered, 10)
	require.NoError(t, err)
	for _, d := range all {
		require.NoError(t, notify.NewStore(a.deps.DB).Redeliver(t.Context(), perennial.WorkerAccess(), d.EventID, endpoint.ID))
	}
	a.eventually("every event came again", func() bool {
		again, err := notify.NewStore(a.deps.DB).Deliveries(t.Context(), perennial.WorkerAccess(), perennial.DeliveryDelivered, 10)
		require.NoError(t, err)
		return len(again) == len(all) && !slices.ContainsFunc(again, func(d perennial.Delivery) bool {
			return slices.ContainsFunc(all, func(old perennial.Delivery) bool {
				return old.EventID == d.EventID && !d.DeliveredAt.After(old.DeliveredAt)
			})
		})
	})
	assert.Equal(t, before, strings.Count(p.open().Body, "Working again"), "and was taken once")

	other := p.browser.Do(http.MethodPost, p.url+"/order", url.Values{"connection": {"con_1"}}, http.Header{"Sec-Fetch-Site": {"cross-site"}})
	assert.Equal(t, http.StatusForbidden, other.Status, "another site's form")
	forged := p.browser.Do(http.MethodPost, "http://"+a.listen+"/webhooks", url.Values{}, http.Header{"Webhook-Id": {"x"}, "Webhook-Timestamp": {"1"}, "Webhook-Signature": {"v1,x"}})
	assert.Equal(t, http.StatusUnauthorized, forged.Status)

	p.press("Disconnect Acme")
	p.shows("Disconnected</p>")
	assert.True(t, a.oracle(exampleAccount).Revoked, "at the provider too")
	p.consent("Connect")
	p.press("Sync a test order")
	p.shows("Order 8</span><span class=\"words\">Synced")
	a.once(8)
}
