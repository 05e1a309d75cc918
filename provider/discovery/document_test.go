package discovery

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const issuer = "https://idp.example/realms/a"

// document returns an issuer's document with members changed; nil leaves one out.
func document(t testing.TB, changed map[string]any) []byte {
	all := map[string]any{
		"issuer": issuer, "authorization_endpoint": "https://idp.example/authorize", "token_endpoint": "https://idp.example/token",
		"revocation_endpoint": "https://idp.example/revoke", "introspection_endpoint": "https://idp.example/introspect",
		"registration_endpoint": "https://idp.example/register", "token_endpoint_auth_methods_supported": []string{"client_secret_post"},
		"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
		"client_id_metadata_document_supported": true, "scopes_supported": []string{"openid"},
	}
	maps.Copy(all, changed)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	raw, err := json.Marshal(all)
	require.NoError(t, err)
	return raw
}

func TestParseMetadata(t *testing.T) {
	t.Parallel()
	m, err := ParseMetadata(document(t, nil), issuer, false)
	require.NoError(t, err)
	assert.Equal(t, Metadata{Issuer: issuer, AuthorizationEndpoint: "https://idp.example/authorize", TokenEndpoint: "https://idp.example/token",
		RevocationEndpoint: "https://idp.example/revoke", IntrospectionEndpoint: "https://idp.example/introspect", RegistrationEndpoint: "https://idp.example/register",
		AuthMethods: []string{"client_secret_post"}, ChallengeMethods: []string{"S256"}, IssuerSent: true, ClientIDDocuments: true, Scopes: []string{"openid"}}, m)
	// Null is as good as left out, and a wrong hint is no reason to refuse.
	m, err = ParseMetadata([]byte(`{"issuer":"`+issuer+`","token_endpoint":"https://idp.example/token","revocation_endpoint":null,"scopes_supported":"openid"}`), issuer, false)
	require.NoError(t, err)
	assert.Equal(t, Metadata{Issuer: issuer, TokenEndpoint: "https://idp.example/token"}, m)
}

// TestMetadataProblems: a document that cannot be used is refused with a reason that names
// both values if two differ.
func TestMetadataProblems(t *testing.T) {
	t.Parallel()
	for says, changed := range map[string]map[string]any{
		`the issuer in it is "https://idp.example/realms/a/", and the configuration has "https://idp.example/realms/a": they differ by a slash at the end, and issuer must be written`: {"issuer": issuer + "/"},
		`they differ by http:// and https://`:                         {"issuer": "http://idp.example/realms/a"},
		`they differ by upper and lower case`:                         {"issuer": "https://IDP.example/realms/a"},
		`the issuer in it is "https://evil.example/realms/a", and`:    {"issuer": "https://evil.example/realms/a"},
		`it names no issuer, and the configuration has "https://idp.`: {"issuer": nil},
		`its issuer is not a text`:                                    {"issuer": 7},
		`it names no token_endpoint`:                                  {"token_endpoint": nil},
		`its token_endpoint is not a whole URL`:                       {"token_endpoint": "/token"},
		`its token_endpoint must begin with https://`:                 {"token_endpoint": "http://idp.example/token"},
		`its token_endpoint is on this machine, and the server`:       {"token_endpoint": "http://127.0.0.1/token"},
		`its revocation_endpoint is on this machine`:                  {"revocation_endpoint": "https://localhost/revoke"},
		`its introspection_endpoint is not public`:                    {"introspection_endpoint": "https://10.0.0.1/x"},
		`its registration_endpoint is not public`:                     {"registration_endpoint": "https://[fd00::1]/x"},
		`its authorization_endpoint must not hold credentials`:        {"authorization_endpoint": "https://a:b@idp.example/"},
		`its token_endpoint is too long, or has characters`:           {"token_endpoint": "https://idp.example/" + strings.Repeat("x", 3000)},
		`its revocation_endpoint is too long, or has characters`:      {"revocation_endpoint": "https://idp.example/\u202e"},
		`its introspection_endpoint is not a whole URL`:               {"introspection_endpoint": "https://{host}/token"},
		`its token_endpoint_auth_methods_supported is not a list`:     {"token_endpoint_auth_methods_supported": "none"},
		`its code_challenge_methods_supported is too long`:            {"code_challenge_methods_supported": make([]string, 600)},
		`its authorization_response_iss_parameter_supported is neit`:  {"authorization_response_iss_parameter_supported": "yes"},
	} {
		_, err := ParseMetadata(document(t, changed), issuer, false)
		require.ErrorContains(t, err, says)
		assert.Less(t, len(err.Error()), 600, "what is foreign is bounded")
	}
	for _, raw := range []string{"", "null", "[]", "<html>", `{"issuer":`, `"x"`, "{} {}"} {
		_, err := ParseMetadata([]byte(raw), issuer, false)
		require.EqualError(t, err, "it is not a JSON object")
	}
	// Names count in their own case only: two members that differ in case are no way to
	// show one endpoint to people and another one to programs.
	_, err := ParseMetadata([]byte(`{"issuer":"`+issuer+`","Token_Endpoint":"https://idp.example/token"}`), issuer, false)
	require.EqualError(t, err, "it names no token_endpoint")
	// On this machine, and where private networks are allowed, such endpoints are fine.
	_, err = ParseMetadata([]byte(`{"issuer":"http://localhost:1","token_endpoint":"http://127.0.0.1:2/token"}`), "http://localhost:1", false)
	require.NoError(t, err)
	_, err = ParseMetadata(document(t, map[string]any{"token_endpoint": "https://10.0.0.1/token"}), issuer, true)
	require.NoError(t, err)
	_, err = ParseMetadata(document(t, map[string]any{"token_endpoint": "http://127.0.0.1/token"}), issuer, true)
	require.ErrorContains(t, err, "is on this machine")
}

// TestParseResource: a resource is the configured URL, or a parent of it at its origin.
func TestParseResource(t *testing.T) {
	t.Parallel()
	const at = "https://mcp.example/team/mcp"
	for _, named := range []string{at, at + "/", "https://mcp.example", "https://mcp.example/", "https://mcp.example/team"} {
		r, err := ParseResource([]byte(`{"resource":"`+named+`","authorization_servers":["https://as.example"]}`), at)
		require.NoError(t, err, named)
		assert.Equal(t, Resource{Resource: named, Servers: []string{"https://as.example"}}, r)
	}
	for named, says := range map[string]string{
		"https://MCP.example/team":     `the resource in it is "https://MCP.example/team"`,
		"https://mcp.example/Team/mcp": `and the configuration has "https://mcp.example/team/mcp": they differ by upper and lower case, and mcp must be written`,
		"https://mcp.example/te":       `the resource in it is "https://mcp.example/te"`,
		"https://evil.example":         `the resource in it is "https://evil.example"`,
		"http://mcp.example":           `the resource in it is`,
		"https://mcp.example?a=b":      `the resource in it is`,
		"https://x@mcp.example/team":   `the resource in it is`,
		"":                             `it names no resource, and the configuration has "https://mcp.example/team/mcp"`,
	} {
		_, err := ParseResource([]byte(`{"resource":"`+named+`","authorization_servers":["https://as.example"]}`), at)
		require.ErrorContains(t, err, says)
	}
}

// TestWellKnownURLs: RFC 8414 sections 3 and 5, OpenID Connect Discovery section 4, RFC
// 9728 section 3.1.
func TestWellKnownURLs(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"https://a.example/.well-known/oauth-authorization-server", "https://a.example/.well-known/openid-configuration"}, metadataURLs("https://a.example"))
	assert.Equal(t, metadataURLs("https://a.example"), metadataURLs("https://a.example/"))
	for _, with := range []string{"https://a.example/x/y", "https://a.example/x/y/"} {
		assert.Equal(t, []string{"https://a.example/.well-known/oauth-authorization-server/x/y", "https://a.example/x/y/.well-known/openid-configuration",
			"https://a.example/.well-known/openid-configuration/x/y"}, metadataURLs(with))
	}
	assert.Equal(t, []string{"https://m.example/.well-known/oauth-protected-resource"}, resourceURLs("https://m.example/"))
	assert.Equal(t, []string{"https://m.example/.well-known/oauth-protected-resource/mcp?k=v", "https://m.example/.well-known/oauth-protected-resource"}, resourceURLs("https://m.example/mcp?k=v"))
}

// FuzzParseMetadata: whatever a server sends, what comes out is whole and printable, and
// names the configured issuer; what goes in and out of the database stays the same.
func FuzzParseMetadata(f *testing.F) {
	f.Add(document(f, nil))
	f.Add(document(f, map[string]any{"token_endpoint": "https://[::1%25x]/", "scopes_supported": []any{nil, "\x00"}}))
	f.Add([]byte(`{"issuer":"` + issuer + `","token_endpoint":"https://a\u0000"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseMetadata(raw, issuer, false)
		if err != nil {
			require.Less(t, len(err.Error()), 1500)
			return
		}
		require.Equal(t, issuer, m.Issuer)
		for _, u := range []string{m.AuthorizationEndpoint, m.TokenEndpoint, m.RevocationEndpoint, m.IntrospectionEndpoint, m.RegistrationEndpoint} {
			require.True(t, u == "" || checks{}.bad(u) == "", u)
		}
		again, err := decode(m.encode())
		require.NoError(t, err)
		require.Empty(t, m.Changes(again))
	})
}

// FuzzParseResource: a resource is never at another origin.
func FuzzParseResource(f *testing.F) {
	f.Add([]byte(`{"resource":"https://mcp.example","authorization_servers":["https://as.example"]}`))
	f.Add([]byte(`{"resource":"https://mcp.example\\@evil.example","authorization_servers":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseResource(raw, "https://mcp.example/team/mcp")
		if err == nil {
			require.True(t, r.Resource == "https://mcp.example/team/mcp" || sameOrigin(r.Resource, "https://mcp.example"), r.Resource)
		}
	})
}

// TestParseRegistered: RFC 7591 section 3.2.1.
func TestParseRegistered(t *testing.T) {
	t.Parallel()
	asked := registration("Example", "https://us.example/callback", methodHeader, []string{"a", "b"})
	assert.Equal(t, "a b", asked.Scope)
	r, err := ParseRegistered([]byte(`{"client_id":"c","client_secret":"s","client_secret_expires_at":1893456000,"redirect_uris":["https://us.example/callback"]}`), asked)
	require.NoError(t, err)
	assert.Equal(t, []any{"c", "s", methodHeader, int64(1893456000)}, []any{r.ClientID, r.Secret.Reveal(), r.AuthMethod, r.SecretExpiresAt.Unix()})
	r, err = ParseRegistered([]byte(`{"client_id":"c","client_secret":"s","client_secret_expires_at":0,"token_endpoint_auth_method":"none"}`), asked)
	require.NoError(t, err)
	assert.True(t, r.Secret.IsZero() && r.SecretExpiresAt.IsZero(), "a public client has no secret")
	for says, reply := range map[string]string{
		"it is not a JSON object":                     `<html>PLANTED`,
		"it names no client_id":                       `{"client_secret":"PLANTED"}`,
		"it names no client_secret":                   `{"client_id":"PLANTED"}`,
		"its token_endpoint_auth_method is none that": `{"client_id":"c","client_secret":"PLANTED","token_endpoint_auth_method":"private_key_jwt"}`,
		"its redirect_uris lack the one":              `{"client_id":"c","client_secret":"PLANTED","redirect_uris":["https://evil.example"]}`,
		"its client_secret is no text":                `{"client_id":"c","client_secret":["PLANTED"]}`,
		"its client_secret_expires_at is no number":   `{"client_id":"c","client_secret":"PLANTED","client_secret_expires_at":"soon"}`,
		"its client_id is too long":                   `{"client_id":"c\u0000","client_secret":"PLANTED"}`,
	} {
		_, err := ParseRegistered([]byte(reply), asked)
		require.ErrorContains(t, err, says)
		assert.NotContains(t, err.Error(), "PLANTED")
	}
}

// FuzzParseRegistered: a client that is accepted can be used, and no error repeats a
// secret.
func FuzzParseRegistered(f *testing.F) {
	f.Add([]byte(`{"client_id":"c","client_secret":"s","client_secret_expires_at":-1e308}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseRegistered(raw, registration("", "https://us.example/callback", methodHeader, nil))
		if err != nil {
			require.Less(t, len(err.Error()), 120)
			return
		}
		require.NotEmpty(t, r.ClientID)
		require.Equal(t, r.AuthMethod == methodNone, r.Secret.IsZero())
	})
}
