package provider

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"golang.org/x/oauth2"
)

// TestCheckIssuer: issuers are compared letter by letter, and an error names both.
func TestCheckIssuer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		issuer string
		sent   bool
		iss    string
		want   string
	}{
		{"", false, "", ""},
		{"", false, "https://anybody.example", ""},
		{"https://p.example", false, "", ""},
		{"https://p.example", true, "https://p.example", ""},
		{"https://p.example", true, "", `the authorization response names no issuer (iss), but issuer_sent says that each one of "https://p.example" does: leave issuer_sent out if the provider does not`},
		{"https://p.example", false, "https://p.example/", `the authorization response is from issuer "https://p.example/", but the app's issuer is "https://p.example": they differ in the slash at the end only, so set issuer to the first`},
		{"https://p.example/", true, "https://p.example", `the authorization response is from issuer "https://p.example", but the app's issuer is "https://p.example/": they differ in the slash at the end only, so set issuer to the first`},
		{"https://p.example", false, "https://P.example", `the authorization response is from issuer "https://P.example", but the app's issuer is "https://p.example"`},
		{"https://p.example", false, "x\x00\u202ey\n", `the authorization response is from issuer "x  y", but the app's issuer is "https://p.example"`},
	} {
		err := Entry{Issuer: c.issuer, IssuerSent: c.sent}.CheckIssuer(c.iss)
		if c.want == "" {
			assert.NoError(t, err, c)
			continue
		}
		assert.EqualError(t, err, c.want)
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	}
}

// TestIDTokenOfAnother: an ID token that does not count names no account, and the reply
// says why, without any of the exchange's secrets.
func TestIDTokenOfAnother(t *testing.T) {
	t.Parallel()
	code := AuthorizationCode{Code: perennial.NewSecret("PLANTED-code-0123456789"), Verifier: perennial.NewSecret("PLANTED-verifier-0123456789")}
	for claims, want := range map[string][2]string{
		`{"aud":"id","iss":"https://p.example","sub":"u1"}`:       {"u1", ""},
		`{"aud":["x","id"],"iss":"https://p.example","sub":"u1"}`: {"u1", ""},
		`{"aud":"id","iss":"https://p.example/","sub":"u1"}`:      {"", `the ID token is from issuer "https://p.example/", but the app's issuer is "https://p.example": they differ in the slash at the end only, so set issuer to the first`},
		`{"aud":"id","sub":"u1"}`:                                 {"", `the ID token names no issuer (iss), but issuer_sent says that each one of "https://p.example" does: leave issuer_sent out if the provider does not`},
		`{"aud":"other","iss":"https://p.example","sub":"u1"}`:    {"", "the ID token is for another client: its aud does not name this app's client_id"},
		`{"aud":"id","iss":"PLANTED-code-0123456789","sub":"u1"}`: {"", ""},
		`{"aud":"id","iss":"x-PLANTED-access-0123456789"}`:        {"", ""},
		`{"aud":"id","iss":["https://p.example"],"sub":"u1"}`:     {"", `the ID token names no issuer (iss), but issuer_sent says that each one of "https://p.example" does: leave issuer_sent out if the provider does not`},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"access_token":"PLANTED-access-0123456789","refresh_token":"r","id_token":"e30.%s.e30"}`, base64.RawURLEncoding.EncodeToString([]byte(claims)))
		}))
		app := App{Name: "a", ClientID: "id", Provider: Entry{TokenURL: server.URL, AuthStyle: oauth2.AuthStyleInHeader, Issuer: "https://p.example",
			Account: AccountSource{From: AccountFromIDToken, Name: "sub"}}}
		reply := NewClient(ClientConfig{}).Exchange(t.Context(), app, perennial.NewSecret("s"), code)
		server.Close()
		assert.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, claims)
		assert.Equal(t, want, [2]string{reply.Account, reply.Description}, claims)
	}
}
