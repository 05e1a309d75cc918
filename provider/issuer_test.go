package provider

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestIssuerProblem: the text names both values, and says if only a slash differs.
func TestIssuerProblem(t *testing.T) {
	t.Parallel()
	e := Entry{Issuer: "https://p.example"}
	for iss, want := range map[string]string{
		"https://p.example/": `it names "https://p.example/" and the configuration has "https://p.example": they differ by a slash at the end, and issuer must be written as the provider writes it`,
		"https://q.example":  `it names "https://q.example" and the configuration has "https://p.example"`,
		"":                   `it names no issuer, and the configuration has "https://p.example"`,
		"a\x1b[31m\nb":       `it names "a [31m b" and the configuration has "https://p.example"`,
	} {
		assert.Equal(t, want, e.IssuerProblem(iss))
	}
	assert.Less(t, len(e.IssuerProblem(strings.Repeat("x", 5000))), 400)
	e.Issuer += "/"
	assert.Contains(t, e.IssuerProblem("https://p.example"), "a slash at the end")
}

// TestIDTokenProblem: an ID token of another issuer or client is no missing account.
func TestIDTokenProblem(t *testing.T) {
	t.Parallel()
	a := App{ClientID: "us", Provider: Entry{Issuer: "https://p.example", Account: AccountSource{From: AccountFromIDToken, Name: "sub"}}}
	for claims, want := range map[string]string{
		`{"iss":"https://p.example","aud":"us","sub":"7"}`:   "",
		`{"iss":"https://p.example/","aud":"us","sub":"7"}`:  "a slash at the end",
		`{"iss":"https://q.example","aud":"us","sub":"7"}`:   `"https://q.example"`,
		`{"aud":"us","sub":"7"}`:                             "names no issuer",
		`{"iss":"https://p.example","aud":"them","sub":"7"}`: "another client",
		`{"iss":"https://p.example","aud":["us"]}`:           "",
	} {
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
		accounts, problem := a.accountsIn(fmt.Appendf(nil, `{"id_token":%q}`, token))
		assert.Equal(t, want == "", problem == "", claims)
		assert.Contains(t, problem, want, claims)
		assert.Equal(t, strings.Contains(claims, "sub"), len(accounts) == 1, claims)
	}
}

func TestCheckIssuer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		issuer string
		sent   bool
		iss    string
		want   bool
	}{
		{"", false, "", true},
		{"", false, "https://anybody.example", true},
		{"https://p.example", false, "", true},
		{"https://p.example", true, "", false},
		{"https://p.example", true, "https://p.example", true},
		{"https://p.example", false, "https://p.example/", false},
		{"https://p.example", false, "https://P.example", false},
	} {
		assert.Equal(t, c.want, Entry{Issuer: c.issuer, IssuerSent: c.sent}.CheckIssuer(c.iss), c)
	}
}
