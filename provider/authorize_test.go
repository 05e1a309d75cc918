package provider

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

func TestAuthorizationURL(t *testing.T) {
	t.Parallel()
	a := App{Name: "a", ClientID: "id", Provider: Entry{AuthURL: "https://p.example/auth?tenant=1", ScopeSeparator: ",", AuthParams: map[string]string{"prompt": "consent"}}}
	// The verifier and challenge of RFC 7636 appendix B.
	raw, err := a.AuthorizationURL("https://us.example/cb", "state", perennial.NewSecret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), []string{"x", "y"})
	require.NoError(t, err)
	u, err := url.Parse(raw)
	require.NoError(t, err)
	assert.Equal(t, url.Values{"tenant": {"1"}, "client_id": {"id"}, "response_type": {"code"}, "redirect_uri": {"https://us.example/cb"}, "state": {"state"}, "scope": {"x,y"},
		"prompt": {"consent"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}}, u.Query())
	_, err = App{Name: "a"}.AuthorizationURL("", "", perennial.Secret{}, nil)
	assert.ErrorContains(t, err, "auth_url is needed")
}

// TestExchange: the code is presented once, in the entry's own form, and is redacted in
// a reply that repeats it.
func TestExchange(t *testing.T) {
	t.Parallel()
	code := AuthorizationCode{Code: perennial.NewSecret("PLANTED-code-0123456789"), Verifier: perennial.NewSecret("PLANTED-verifier-0123456789"), RedirectURI: "https://us.example/cb"}
	for name, c := range map[string]struct {
		status  int
		body    string
		outcome perennial.Outcome
		account string
	}{
		"tokens":      {200, `{"access_token":"a","refresh_token":"r","team":{"id":"T1"}}`, perennial.OutcomeRefreshed, "T1"},
		"no account":  {200, `{"access_token":"a","refresh_token":"r","team":{}}`, perennial.OutcomeRefreshed, ""},
		"a spent one": {400, `{"error":"invalid_grant","error_description":"PLANTED-code-0123456789 PLANTED-verifier-0123456789"}`, perennial.OutcomeRevoked, ""},
		"our client":  {401, `{"error":"invalid_client"}`, perennial.OutcomeMisconfigured, ""},
		"down":        {503, `oh`, perennial.OutcomeUnknown, ""},
		"redirected":  {302, ``, perennial.OutcomeMisconfigured, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests++
				assert.NoError(t, r.ParseForm())
				assert.Equal(t, url.Values{"grant_type": {"authorization_code"}, "code": {code.Code.Reveal()}, "code_verifier": {code.Verifier.Reveal()},
					"redirect_uri": {code.RedirectURI}, "expiring": {"1"}}, r.PostForm)
				w.Header().Set("Location", "/again")
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}))
			defer server.Close()
			a := App{Name: "a", ClientID: "id", Provider: Entry{TokenURL: server.URL, AuthStyle: oauth2.AuthStyleInHeader, RefreshParams: map[string]string{"expiring": "1"},
				Account: AccountSource{From: AccountFromReply, Name: "team.id"}}}
			reply := NewClient(ClientConfig{}).Exchange(t.Context(), a, perennial.NewSecret("s"), code)
			assert.Equal(t, 1, requests)
			assert.Equal(t, c.outcome, reply.Outcome)
			assert.Equal(t, c.account, accountOf(reply.Accounts).ID)
			assert.NotContains(t, fmt.Sprintf("%+v", reply), "PLANTED")
		})
	}
}

// TestAccount: each place where an account id is found, and each way not to find it.
func TestAccount(t *testing.T) {
	t.Parallel()
	token := perennial.NewSecret("PLANTED-access-0123456789")
	for name, c := range map[string]struct {
		source     AccountSource
		hint, host string
		status     int
		body       string
		want       Account
		code       perennial.Code
	}{
		"host":                       {source: AccountSource{From: AccountFromHost}, host: "shop.example", want: Account{ID: "shop.example"}},
		"callback, unchecked":        {source: AccountSource{From: AccountFromCallback, Name: "realmId"}, hint: "42", status: 200, body: `{}`, code: perennial.CodeInvalid},
		"callback, no place":         {source: AccountSource{From: AccountFromCallback, Name: "realmId", URL: "/"}, hint: "42", status: 200, body: `{}`, code: perennial.CodeInvalid},
		"callback without":           {source: AccountSource{From: AccountFromCallback, Name: "realmId", URL: "/{account}"}, status: 200, body: `{}`, code: perennial.CodeInvalid},
		"callback, the folder above": {source: AccountSource{From: AccountFromCallback, Name: "realmId", URL: "/x/{account}"}, hint: "..", status: 200, body: `{}`, code: perennial.CodeInvalid},
		"callback, unknown":          {source: AccountSource{From: AccountFromCallback, Name: "realmId", URL: "/{account}"}, hint: "42", status: 503, code: perennial.CodeUnavailable},
		"callback, true":             {source: AccountSource{From: AccountFromCallback, Name: "realmId", URL: "/{account}"}, hint: "42", status: 200, body: `{}`, want: Account{ID: "42"}},
		"callback, a lie":            {source: AccountSource{From: AccountFromCallback, Name: "realmId", URL: "/{account}"}, hint: "42", status: 403, code: perennial.CodeInvalid},
		"callback, a path":           {source: AccountSource{From: AccountFromCallback, Name: "realmId", URL: "/x/{account}"}, hint: "../42", status: 404, code: perennial.CodeInvalid},
		"introspection":              {source: AccountSource{From: AccountFromIntrospection, Name: "hub_id"}, status: 200, body: `{"hub_id":62515,"scopes":["a"]}`, want: Account{ID: "62515", Scopes: []string{"a"}}},
		"a large number":             {source: AccountSource{From: AccountFromURL, URL: "/", Name: "id"}, status: 200, body: `{"id":9007199254740993}`, want: Account{ID: "9007199254740993"}},
		"a list":                     {source: AccountSource{From: AccountFromURL, URL: "/", Name: "1.id"}, status: 200, body: `[{"id":"a"},{"id":"b"}]`, want: Account{ID: "b"}},
		"past the list":              {source: AccountSource{From: AccountFromURL, URL: "/", Name: "2.id"}, status: 200, body: `[{"id":"a"},{"id":"b"}]`, code: perennial.CodeInvalid},
		"an object as id":            {source: AccountSource{From: AccountFromURL, URL: "/", Name: "id"}, status: 200, body: `{"id":{}}`, code: perennial.CodeInvalid},
		"two lines":                  {source: AccountSource{From: AccountFromURL, URL: "/", Name: "id"}, status: 200, body: `{"id":"a\nb"}`, code: perennial.CodeInvalid},
		"not JSON":                   {source: AccountSource{From: AccountFromURL, URL: "/", Name: "id"}, status: 200, body: `<html>`, code: perennial.CodeInvalid},
		"refused":                    {source: AccountSource{From: AccountFromURL, URL: "/", Name: "id"}, status: 401, body: `PLANTED`, code: perennial.CodeUnavailable},
		"redirected":                 {source: AccountSource{From: AccountFromURL, URL: "/", Name: "id"}, status: 302, code: perennial.CodeInvalid},
		"down":                       {source: AccountSource{From: AccountFromURL, URL: "/", Name: "id"}, status: 502, body: `PLANTED`, code: perennial.CodeUnavailable},
		"limited":                    {source: AccountSource{From: AccountFromURL, URL: "/", Name: "id"}, status: 429, code: perennial.CodeUnavailable},
		"nowhere":                    {code: perennial.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.source.From == AccountFromIntrospection {
					assert.Equal(t, token.Reveal(), r.FormValue("token"))
				} else {
					assert.Equal(t, "Bearer "+token.Reveal(), r.Header.Get("Authorization"))
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}))
			defer server.Close()
			a := App{Name: "a", ClientID: "id", Provider: Entry{Name: "p", AuthStyle: oauth2.AuthStyleInHeader, IntrospectURL: server.URL, Account: c.source}}
			if c.source.URL != "" {
				a.Provider.Account.URL = server.URL + c.source.URL
			}
			got, err := NewClient(ClientConfig{}).Account(t.Context(), a, perennial.NewSecret("s"), token, c.hint, c.host)
			assert.Equal(t, c.code, perennial.CodeOf(err), "%v", err)
			if err != nil {
				assert.NotContains(t, err.Error(), "PLANTED")
				return
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// accountIn returns the only account in a token reply, "" for none.
func accountIn(a App, reply []byte) string {
	accounts, problem := a.accountsIn(reply)
	if problem != "" {
		return ""
	}
	return accountOf(accounts).ID
}

func TestIDToken(t *testing.T) {
	t.Parallel()
	a := App{ClientID: "us", Provider: Entry{Issuer: "https://p.example", Account: AccountSource{From: AccountFromIDToken, Name: "sub"}}}
	for claims, want := range map[string]string{
		`{"iss":"https://p.example","aud":"us","sub":"7"}`:       "7",
		`{"iss":"https://p.example","aud":["x","us"],"sub":"7"}`: "7",
		`{"iss":"https://p.example","aud":"them","sub":"7"}`:     "",
		`{"iss":"https://p.example","aud":["them"],"sub":"7"}`:   "",
		`{"iss":"https://q.example","aud":"us","sub":"7"}`:       "",
		`{"aud":"us","sub":"7"}`:                                 "",
		`{"iss":"https://p.example","sub":"7"}`:                  "",
		`{"iss":"https://p.example","aud":"us"}`:                 "",
		`not JSON`:                                               "",
	} {
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
		assert.Equal(t, want, accountIn(a, fmt.Appendf(nil, `{"id_token":%q}`, token)), claims)
	}
	for _, token := range []string{"", "a.b", "a.%%%.c"} {
		assert.Empty(t, accountIn(a, fmt.Appendf(nil, `{"id_token":%q}`, token)), token)
	}
}

// TestAccountOfDocumentedReplies reads the account id from the replies in each
// provider's own documentation.
func TestAccountOfDocumentedReplies(t *testing.T) {
	t.Parallel()
	replies := map[string]struct{ body, want string }{
		"asana":       {`{"access_token":"f6ds7fdsa69ags7ag9sd5a","expires_in":3600,"token_type":"bearer","data":{"id":4673218951,"gid":"4673218951","name":"Greg Sanchez","email":"gsanchez@example.com"},"refresh_token":"hjkl325hjkl4325hj4kl32fjds"}`, "4673218951"},
		"dropbox":     {`{"access_token":"sl.AbX9y6Fe3AuH5o66","expires_in":13220,"token_type":"bearer","scope":"account_info.read","account_id":"dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc","uid":"12345"}`, "dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"},
		"hubspot":     {`{"token_type":"bearer","refresh_token":"na1-ab12-cd34-ef56-gh78-abcdef123456","hub_id":62515,"scopes":["oauth","crm.objects.contacts.write","crm.objects.contacts.read"],"access_token":"AAA1234-TOKEN","expires_in":1800}`, "62515"},
		"notion":      {`{"access_token":"e202e8c9-0990-40af-855f-ff8f872b1ec6","bot_id":"b3414d65-1224-5ty7-6ffr-cc9d8773drt601288f","workspace_id":"j565j4d7x3-2882-61bs-564a-jj9d9ui-c36hxfr7x","owner":{"workspace":true}}`, "j565j4d7x3-2882-61bs-564a-jj9d9ui-c36hxfr7x"},
		"slack":       {`{"ok":true,"access_token":"xoxb-17653672481","token_type":"bot","scope":"commands","bot_user_id":"U0KRQLJ9H","team":{"name":"Slack Softball Team","id":"T9TK3CUKW"},"enterprise":{"name":"slack-sports","id":"E12345678"}}`, "T9TK3CUKW"},
		"square":      {`{"access_token":"EAAAE","token_type":"bearer","expires_at":"2026-06-30T00:00:00Z","merchant_id":"MERCHANT_ID","refresh_token":"EQAAE"}`, "MERCHANT_ID"},
		"stripe-apps": {`{"access_token":"sk_example","livemode":true,"refresh_token":"rt_example","scope":"stripe_apps","stripe_publishable_key":"pk_example","stripe_user_id":"acct_example","token_type":"bearer"}`, "acct_example"},
	}
	for _, name := range Names() {
		a := App{Name: "a", Provider: entry(t, name)}
		reply, documented := replies[name]
		fixtured := slices.ContainsFunc(readFixtures(t, name).Replies, func(r fixtures.Reply) bool { return r.Account != "" })
		assert.Equal(t, a.Provider.Account.From == AccountFromReply, documented || fixtured, name)
		if documented {
			assert.Equal(t, reply.want, accountIn(a, []byte(reply.body)), name)
		}
	}
	scopes := readReply([]byte(replies["hubspot"].body), entry(t, "hubspot"), time.Time{}).tokens.Scopes
	assert.Equal(t, []string{"oauth", "crm.objects.contacts.write", "crm.objects.contacts.read"}, scopes, "HubSpot names them in a list")

	for name, c := range map[string]struct{ body, want string }{
		"atlassian": {`[{"id":"1324a887-45db-1bf4-1e99-ef0ff456d421","name":"Site name","url":"https://your-domain.atlassian.net"}]`, "1324a887-45db-1bf4-1e99-ef0ff456d421"},
		"pipedrive": {`{"success":true,"data":{"id":777,"name":"James Bond","company_id":1,"company_name":"MI6"}}`, "1"},
		"xero":      {`[{"id":"7cb59f93-2964-421d-bb5e-a0f7a4572a44","tenantId":"fe79f7dd-b6d4-4a92-ba7b-538af6289c58","tenantType":"ORGANISATION"}]`, "fe79f7dd-b6d4-4a92-ba7b-538af6289c58"},
	} {
		e := entry(t, name)
		require.Equal(t, AccountFromURL, e.Account.From, name)
		body, err := decode([]byte(c.body))
		require.NoError(t, err)
		assert.Equal(t, c.want, accountOf(e.Account.choices(body)).ID, name)
	}
}

func TestAccountOfEntries(t *testing.T) {
	t.Parallel()
	without := []string{}
	for _, name := range Names() {
		e := entry(t, name)
		if e.Account == (AccountSource{}) {
			without = append(without, name)
			continue
		}
		if e.Account.URL != "" {
			assert.Regexp(t, "^https://", e.Account.URL, name)
		}
	}
	assert.Equal(t, []string{"acrobat-sign", "generic", "gong", "mattermost", "monday", "outreach", "salesforce", "zoho"}, without, "the configuration must say it")
	for _, bad := range []AccountSource{{From: "cookie", Name: "x"}, {From: AccountFromReply}, {From: AccountFromHost}, {From: AccountFromURL, Name: "id"},
		{From: AccountFromCallback, Name: "id", URL: "https://p.example/"}, {From: AccountFromCallback, Name: "id"},
		{From: AccountFromCallback, Name: "id", URL: "https://p.example/{account}", SandboxURL: "https://s.example/"}, {From: AccountFromIntrospection, Name: "id"}} {
		e := Entry{Name: "p", TokenURL: "https://p.example", AuthStyle: oauth2.AuthStyleInHeader, ReplayClass: perennial.ReplayUnknown, ReplaySource: "x", Account: bad}
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(e.Validate()), bad)
	}
}
