package connectui_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
)

// TestDenials: for all spellings of a refusal by the customer, the page
// says so and leads back to the product, and the link works again.
func TestDenials(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	for name, query := range map[string]string{
		"RFC 6749":                      "error=access_denied&state=STATE",
		"with error_reason":             "error=access_denied&error_reason=user_denied&state=STATE",
		"in capitals":                   "error=ACCESS_DENIED&state=STATE",
		"LinkedIn":                      "error=user_cancelled_login&error_description=x&state=STATE",
		"user_cancelled":                "error=user_cancelled&state=STATE",
		"denied":                        "error=denied&state=STATE",
		"cancel":                        "error=cancel&state=STATE",
		"an empty error":                "error=&state=STATE",
		"Facebook":                      "error_code=200&error_message=Permissions+error&state=STATE",
		"error_reason alone":            "error_reason=user_denied&state=STATE",
		"Twitter":                       "denied=STATE&state=STATE",
		"nothing but the state":         "state=STATE",
		"an empty code":                 "code=&state=STATE",
		"without the state":             "error=access_denied&error_description=The+user+denied",
		"with an empty state":           "error=access_denied&state=",
		"Twitter, without the state":    "denied=TOKEN",
		"a code of another kind alone":  "error_code=200",
		"nothing at all":                "",
		"a parameter of somebody's own": "cancelled=true",
	} {
		t.Run(name, func(t *testing.T) {
			s := w.Link(t, connect.SessionRequest{ReturnURL: w.Product.URL + "/settings"})
			b := w.Browser(t)
			authorize, err := url.Parse(b.Begin(b.Open(s.Link.Reveal())))
			require.NoError(t, err)
			p := b.Open(w.URL + "/connect/callback/crm?" + strings.ReplaceAll(query, "STATE", authorize.Query().Get("state")))
			assert.Equal(t, http.StatusOK, p.Status)
			assert.Equal(t, "Acme CRM was not connected", p.Heading())
			assert.Contains(t, p.Text(), w.Product.URL+"/settings?connect_outcome=access_denied")
			assert.Equal(t, perennial.ConnectDenied, session(t, w, s.ID).Outcome)
			assert.NotEmpty(t, b.Begin(p), "the link works again")
		})
	}
	assert.Empty(t, all(t, w))
	assert.Zero(t, w.Provider.Oracle().TokenRequests)
}

// TestOtherErrorsInCapitals: an error that is not the customer's stays what it is.
func TestOtherErrorsInCapitals(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	for query, want := range map[string]perennial.ConnectOutcome{
		"error=SERVER_ERROR":           perennial.ConnectProviderDown,
		"error_code=server_error":      perennial.ConnectProviderDown,
		"error=Unauthorized_Client":    perennial.ConnectMisconfigured,
		"error=invalid_scope&code=abc": perennial.ConnectMisconfigured,
	} {
		s := w.Link(t, connect.SessionRequest{})
		b := w.Browser(t)
		authorize, err := url.Parse(b.Begin(b.Open(s.Link.Reveal())))
		require.NoError(t, err)
		b.Open(w.URL + "/connect/callback/crm?" + query + "&state=" + authorize.Query().Get("state"))
		assert.Equal(t, want, session(t, w, s.ID).Outcome, query)
	}
}

// TestCodeBesideAnErrorCode: a parameter of the provider's own does not cost a good code.
func TestCodeBesideAnErrorCode(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	callback := b.Answer(b.Begin(b.Open(w.Link(t, connect.SessionRequest{}).Link.Reveal())), Consent{})
	assert.Equal(t, "Acme CRM is connected", b.Open(callback+"&error_code=0&denied=").Heading())
}

// TestForgedCancel: anybody can send a browser to the callback without a state. That
// stops no consent, and touches no session but one that this browser began.
func TestForgedCancel(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := w.Link(t, connect.SessionRequest{ReturnURL: w.Product.URL + "/settings"})
	b := w.Browser(t)
	callback := b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{})

	stranger := w.Browser(t).Open(w.URL + "/connect/callback/crm?error=access_denied")
	assert.Equal(t, http.StatusBadRequest, stranger.Status)
	assert.Equal(t, "Nothing was connected", stranger.Heading())
	_, link, _ := strings.Cut(s.Link.Reveal(), "/connect/")
	foreign := http.Header{"Cookie": {"__Host-connect-0=wrong." + link}} // who has the link has not begun
	assert.Contains(t, w.Browser(t).Do(http.MethodGet, w.URL+"/connect/callback/crm?error=access_denied", nil, foreign).Location, "/connect/problem/cancelled")
	for query, heading := range map[string]string{
		"web?error=access_denied":               "Nothing was connected", // another app
		"crm?error=access_denied&state=unknown": "This sign-in cannot be continued",
		"crm?code=planted":                      "This sign-in cannot be continued",
		"crm?code=planted&error=access_denied":  "This sign-in cannot be continued",
	} {
		assert.Equal(t, heading, b.Open(w.URL+"/connect/callback/"+query).Heading(), query)
	}
	assert.Empty(t, session(t, w, s.ID).Outcome)

	assert.Equal(t, "Acme CRM was not connected", b.Open(w.URL+"/connect/callback/crm?error=access_denied").Heading())
	end := b.Open(callback)
	assert.Contains(t, end.URL, "connect_outcome=connected", "the provider's own answer still counts")
	c := only(t, w)
	assert.Equal(t, "Nothing was connected", b.Open(w.URL+"/connect/callback/crm?error=access_denied").Heading())
	assert.Equal(t, perennial.ConnectConnected, session(t, w, s.ID).Outcome)
	assert.Equal(t, c, only(t, w))
}

// TestCancelInOneOfTwoTabs: the newest request is the one that was cancelled.
func TestCancelInOneOfTwoTabs(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	old, young := w.Link(t, connect.SessionRequest{}), w.Link(t, connect.SessionRequest{})
	b.Begin(b.Open(young.Link.Reveal()))
	b.Begin(b.Open(old.Link.Reveal()))
	p := b.Open(w.URL + "/connect/callback/crm?error=access_denied")
	assert.Equal(t, young.Link.Reveal(), p.URL)
	assert.Empty(t, session(t, w, old.ID).Outcome)
}
