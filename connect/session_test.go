package connect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/connecttest"
)

func TestReturnURLs(t *testing.T) {
	t.Parallel()
	allowed := connect.ReturnURLs{"https://app.example.com/settings", "https://other.example:8443/", "http://localhost:3000"}
	for raw, want := range map[string]bool{
		"https://app.example.com/settings":                              true,
		"https://app.example.com/settings/":                             true,
		"https://app.example.com/settings/crm?tab=1":                    true,
		"https://APP.example.com/settings":                              true,
		"https://other.example:8443/anything":                           true,
		"http://localhost:3000/":                                        true,
		"http://localhost:3000":                                         true,
		"":                                                              false,
		"/settings":                                                     false,
		"//app.example.com/settings":                                    false,
		"https:/app.example.com/settings":                               false,
		"https:app.example.com/settings":                                false,
		"http://app.example.com/settings":                               false,
		"https://app.example.com":                                       false,
		"https://app.example.com/":                                      false,
		"https://app.example.com/settingsx":                             false,
		"https://app.example.com/Settings":                              false,
		"https://app.example.com:8443/settings":                         false,
		"https://app.example.com./settings":                             false,
		"https://app.example.com.evil.example/settings":                 false,
		"https://evil.example/https://app.example.com/settings":         false,
		"https://app.example.com@evil.example/settings":                 false,
		"https://user@app.example.com/settings":                         false,
		"https://app.example.com/settings/../admin":                     false,
		"https://app.example.com/settings/%2e%2e/admin":                 false,
		"https://app.example.com/settings/..%2fadmin":                   false,
		"https://app.example.com/settings%2f..%2fadmin":                 false,
		"https://app.example.com/settings//evil.example":                false,
		"https://app.example.com/settings/%252e%252e/admin":             false,
		"https://app.example.com/settings/%25252e%25252e%25252fadmin":   false,
		"https://app.example.com/settings/..;/admin":                    true, // an ordinary name
		"https://app.example.com/settings/%5c%5cevil.example":           false,
		"https://app.example.com/settings/%c0%ae%c0%ae/admin":           true, // an overlong dot, which no reader of UTF-8 accepts
		"https://app.example.com%2eevil.example/settings":               false,
		"https://app.example.com%40evil.example/settings":               false,
		"https://app.example.com:443@evil.example/settings":             false,
		"https://app.example.com:/settings":                             false,
		"https://app.example.com:443/settings":                          false, // the allowed URL must name the port too
		"https://app.example.co/settings":                               false,
		"https://xapp.example.com/settings":                             false,
		"https://app.example.comx/settings":                             false,
		"https://[app.example.com]/settings":                            false,
		"https:///app.example.com/settings":                             false,
		"https:\\\\app.example.com/settings":                            false,
		"\\\\evil.example/settings":                                     false,
		"https://app.example.com/settings?next=%252f%252fevil.example":  true, // the product's own parameters
		`https://app.example.com\@evil.example/settings`:                false,
		`https://app.example.com/settings\..\admin`:                     false,
		"https://app.example.com/settings#token":                        false,
		"https://app.example.com/settings\r\nLocation: /evil":           false,
		" https://app.example.com/settings":                             false,
		"https://app.example.com/settings\t":                            false,
		"javascript:alert(1)//app.example.com/settings":                 false,
		"data:text/html,https://app.example.com/settings":               false,
		"https://аpp.example.com/settings":                              false, // a Cyrillic letter
		"https://app.example.com/settings/" + strings.Repeat("x", 2048): false,
	} {
		_, err := allowed.Check(raw)
		assert.Equal(t, want, err == nil, raw)
		if err != nil {
			assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), raw)
			assert.NotContains(t, err.Error(), "evil", "foreign text is not repeated")
		}
	}
	_, err := connect.ReturnURLs{}.Check("https://app.example.com/")
	require.Error(t, err)
}

func FuzzReturnURL(f *testing.F) {
	for _, seed := range []string{"https://app.example.com/settings/a?b=c", "https://app.example.com\\@evil/settings", "https://app.example.com/settings/%2e%2e/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := connect.ReturnURLs{"https://app.example.com/settings"}.Check(raw)
		if err != nil {
			return
		}
		if u.Scheme != "https" || !strings.EqualFold(u.Host, "app.example.com") || u.User != nil || u.Path != "/settings" && !strings.HasPrefix(u.Path, "/settings/") ||
			strings.Contains(u.Path, "..") && strings.Contains(u.Path, "/../") {
			t.Errorf("%q is allowed as %s", raw, u)
		}
	})
}

func TestCreateSession(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, nil)
	ok := connect.SessionRequest{Tenant: "t1", App: connecttest.CRM, ReturnURL: w.Product.URL + "/settings"}
	s, err := w.Sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), ok)
	require.NoError(t, err)
	assert.Regexp(t, `^https://127\.0\.0\.1:\d+/connect/cl_[A-Za-z0-9_-]{43}$`, s.Link.Reveal())
	assert.NotContains(t, s.Link.String(), "cl_")
	assert.Equal(t, 30*time.Minute, s.ExpiresAt.Sub(s.CreatedAt))
	assert.Equal(t, []string{"contacts.read", "contacts.write"}, s.Scopes)
	assert.Equal(t, perennial.ConnectPage, s.Mode)

	for name, c := range map[string]struct {
		change func(*connect.SessionRequest)
		code   perennial.Code
	}{
		"no tenant":              {func(r *connect.SessionRequest) { r.Tenant = "" }, perennial.CodeInvalid},
		"no such app":            {func(r *connect.SessionRequest) { r.App = "erp" }, perennial.CodeInvalid},
		"no such connection":     {func(r *connect.SessionRequest) { r.ConnectionID = "con_x" }, perennial.CodeNotFound},
		"a mode":                 {func(r *connect.SessionRequest) { r.Mode = "iframe" }, perennial.CodeInvalid},
		"a popup to nowhere":     {func(r *connect.SessionRequest) { r.Mode, r.ReturnURL = perennial.ConnectPopup, "" }, perennial.CodeInvalid},
		"59 seconds":             {func(r *connect.SessionRequest) { r.Lifetime = 59 * time.Second }, perennial.CodeInvalid},
		"a day and a nanosecond": {func(r *connect.SessionRequest) { r.Lifetime = 24*time.Hour + 1 }, perennial.CodeInvalid},
		"a minute":               {func(r *connect.SessionRequest) { r.Lifetime = time.Minute }, ""},
		"a day":                  {func(r *connect.SessionRequest) { r.Lifetime = 24 * time.Hour }, ""},
		"two scopes in one":      {func(r *connect.SessionRequest) { r.Scopes = []string{"a b"} }, perennial.CodeInvalid},
		"a quoted scope":         {func(r *connect.SessionRequest) { r.Scopes = []string{`a"b`} }, perennial.CodeInvalid},
		"a title of two lines":   {func(r *connect.SessionRequest) { r.TenantTitle = "a\nb" }, perennial.CodeInvalid},
		"a long title":           {func(r *connect.SessionRequest) { r.TenantTitle = strings.Repeat("ä", 101) }, perennial.CodeInvalid},
		"a title just as long":   {func(r *connect.SessionRequest) { r.TenantTitle = strings.Repeat("ä", 100) }, ""},
	} {
		req := ok
		c.change(&req)
		_, err := w.Sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), req)
		assert.Equal(t, c.code, perennial.CodeOf(err), "%s: %v", name, err)
	}

	w.Browser(t).Go(s.Link.Reveal(), connecttest.Consent{})
	c, err := w.Store.FindByAccount(t.Context(), accesstest.Of(t, "t1"), connecttest.CRM, "62515")
	require.NoError(t, err)
	_, err = w.Sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), connect.SessionRequest{ConnectionID: c.ID, Tenant: "t2"})
	assert.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err), "another tenant's")
	_, err = w.Sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), connect.SessionRequest{ConnectionID: c.ID, App: connecttest.Books})
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), "another app's")
	again, err := w.Sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), connect.SessionRequest{ConnectionID: c.ID})
	require.NoError(t, err)
	assert.Equal(t, []string{"t1", connecttest.CRM}, []string{again.TenantID, again.App})

	for _, base := range []string{"", "connect.example.com", "https://connect.example.com/?x=1", "https://user@connect.example.com", "ftp://x.example"} {
		_, err := connect.NewSessions(connect.SessionsConfig{BaseURL: base})
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), base)
	}
}
