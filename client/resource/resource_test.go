package resource

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadUnauthorized(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provider   string
		challenges []string
		body       string
		want       Unauthorized
	}{
		"nothing said":                            {"generic", nil, "", UnauthorizedUnclear},
		"a Bearer without an error":               {"generic", []string{`Bearer realm="api"`}, "", UnauthorizedUnclear},
		"RFC 6750 invalid_token":                  {"generic", []string{`Bearer realm="example", error="invalid_token", error_description="The access token expired"`}, "", UnauthorizedToken},
		"RFC 6750 insufficient_scope":             {"generic", []string{`Bearer error="insufficient_scope", scope="read write"`}, "", UnauthorizedNotPermitted},
		"in lower case and not quoted":            {"generic", []string{`bearer error=invalid_token`}, "", UnauthorizedToken},
		"a second header":                         {"generic", []string{`Basic realm="x"`, `Bearer error="invalid_token"`}, "", UnauthorizedToken},
		"a second challenge in one header":        {"generic", []string{`Basic realm="x", Bearer realm="y", error="insufficient_scope"`}, "", UnauthorizedNotPermitted},
		"another scheme's error":                  {"generic", []string{`Bearer realm="y", Custom error="insufficient_scope"`}, "", UnauthorizedUnclear},
		"the words in a description only":         {"generic", []string{`Bearer error_description="Bearer error=insufficient_scope, error=\"invalid_token\""`}, "", UnauthorizedUnclear},
		"an escaped quote before it":              {"generic", []string{`Bearer realm="a\"b", error="invalid_token"`}, "", UnauthorizedToken},
		"an error of its own":                     {"generic", []string{`Bearer error="tea_time"`}, "", UnauthorizedUnclear},
		"HubSpot, expired 0 seconds ago":          {"hubspot", nil, `{"status":"error","message":"The OAuth token used to make this call expired 0 second(s) ago.","category":"EXPIRED_AUTHENTICATION","context":{"expire time":["2026-03-10T23:04:41.164Z"]}}`, UnauthorizedToken},
		"HubSpot, a missing scope":                {"hubspot", nil, `{"status":"error","category":"MISSING_SCOPES"}`, UnauthorizedNotPermitted},
		"HubSpot's words from a provider unknown": {"generic", nil, `{"category":"MISSING_SCOPES"}`, UnauthorizedUnclear},
		"Atlassian, a missing scope":              {"atlassian", nil, `{"code":401,"message":"Unauthorized; scope does not match"}`, UnauthorizedNotPermitted},
		"Atlassian, expired":                      {"atlassian", nil, `{"code":401,"message":"Unauthorized"}`, UnauthorizedUnclear},
		"a body before the header":                {"hubspot", []string{`Bearer error="invalid_token"`}, `{"category":"MISSING_SCOPES"}`, UnauthorizedNotPermitted},
		"a body that was cut":                     {"hubspot", []string{`Bearer error="invalid_token"`}, `{"category":"MISSI`, UnauthorizedToken},
		"a challenge before it in Latin-1":        {"generic", []string{"Basic realm=caf\xe9, Bearer error=invalid_token"}, "", UnauthorizedToken},
		"HTML":                                    {"hubspot", nil, `<html>401</html>`, UnauthorizedUnclear},
	} {
		h := http.Header{}
		for _, challenge := range c.challenges {
			h.Add("WWW-Authenticate", challenge)
		}
		assert.Equal(t, c.want, Of(c.provider).ReadUnauthorized(h, []byte(c.body)), name)
	}
}

func TestReadsOnly(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/crm/v3/objects/contacts/search":            true,
		"/crm/v3/objects/contacts/batch/read":        true,
		"/crm/objects/2026-03/contacts/search":       true,
		"/crm/objects/2026-03/contacts/batch/read":   true,
		"/crm/v3/objects/contacts":                   false,
		"/crm/v3/objects/contacts/batch/create":      false,
		"/crm/objects/2026-03/contacts/batch/upsert": false,
		"/crm/v3/objects/a/b/search":                 false,
		"":                                           false,
	} {
		assert.Equal(t, want, Of("hubspot").ReadsOnly(path), path)
		assert.False(t, Of("generic").ReadsOnly(path), path)
	}
}

// TestSpellings: each spelling has text, and its meaning is a known one.
func TestSpellings(t *testing.T) {
	t.Parallel()
	for name, server := range servers {
		for _, s := range server.Spellings {
			assert.NotEmpty(t, s.Code+s.Contains, name)
			assert.Contains(t, []Unauthorized{UnauthorizedToken, UnauthorizedNotPermitted}, s.Means, name)
		}
	}
}

func FuzzReadUnauthorized(f *testing.F) {
	f.Add(`Bearer error="invalid_token"`, `{"category":"EXPIRED_AUTHENTICATION"}`)
	f.Add(`Basic realm="x", Bearer realm="a\"b" , error = insufficient_scope`, `[{"errorCode":"x"}]`)
	f.Add(`bearer,bearer =`, `{"message":1}`)
	f.Add("\xff\xff\xff, bearer", `{}`) // in lower case each of these bytes becomes three: U+FFFD
	f.Fuzz(func(t *testing.T, challenge, body string) {
		got := Of("hubspot").ReadUnauthorized(http.Header{"Www-Authenticate": {challenge}}, []byte(body))
		require.Contains(t, []Unauthorized{UnauthorizedUnclear, UnauthorizedToken, UnauthorizedNotPermitted}, got)
	})
}

// TestRefusesToken: a status other than 401 refuses a token only if a spelling says so of
// that status; a spelling without one is about a 401.
func TestRefusesToken(t *testing.T) {
	t.Parallel()
	api := Server{Spellings: []Spelling{
		{HTTPStatus: 403, Contains: "quota", Means: UnauthorizedNotPermitted},
		{HTTPStatus: 403, Means: UnauthorizedToken},
		{HTTPStatus: 200, Code: "token_expired", Means: UnauthorizedToken},
		{Code: "expired", Means: UnauthorizedToken},
		{HTTPStatus: 401, Code: "scope", Means: UnauthorizedNotPermitted},
	}}
	for _, c := range []struct {
		status int
		body   string
		want   bool
	}{
		{403, "", true},
		{403, "<html>", true},
		{403, `{"message":"Quota exceeded"}`, false},
		{200, `{"error":"TOKEN_EXPIRED"}`, true},
		{200, `{"error":"token_expired_not"}`, false},
		{200, `{"error":"expired"}`, false},
		{200, ``, false},
		{400, `{"error":"token_expired"}`, false},
		{401, `{"error":"token_expired"}`, false},
	} {
		assert.Equal(t, c.want, api.RefusesToken(c.status, []byte(c.body)), c)
	}
	assert.Equal(t, UnauthorizedToken, api.ReadUnauthorized(nil, []byte(`{"error":"expired"}`)))
	assert.Equal(t, UnauthorizedNotPermitted, api.ReadUnauthorized(nil, []byte(`{"error":"scope"}`)))
	assert.Equal(t, UnauthorizedUnclear, api.ReadUnauthorized(nil, []byte(`{"error":"token_expired"}`)))
	assert.False(t, api.RefusesBy(401))
	assert.False(t, Server{}.RefusesBy(0))
}
