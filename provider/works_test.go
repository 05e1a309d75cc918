package provider

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"golang.org/x/oauth2"
)

// TestTokenWorks: an API, or the introspection, says whether a token works, or nothing
// says so.
func TestTokenWorks(t *testing.T) {
	t.Parallel()
	const api, introspection = "https://api.acme.example/me", ""
	for name, c := range map[string]struct {
		address string
		status  int // 0: no answer
		body    string
		works   bool
		problem string
	}{
		"it works":              {api, 200, "", true, ""},
		"no content":            {api, 204, "", true, ""},
		"refused":               {api, 401, "", false, ""},
		"something else":        {api, 403, "", false, "HTTP status 403"},
		"elsewhere":             {api, 302, "", false, "HTTP status 302"},
		"no answer":             {api, 0, "", false, "ask the API: "},
		"no address":            {"api.acme.example", 200, "", false, "the address of the API"},
		"active":                {introspection, 200, `{"active":true}`, true, ""},
		"not active":            {introspection, 200, `{"active":false}`, false, ""},
		"neither":               {introspection, 200, `{}`, false, "does not say whether the token is active"},
		"the client is refused": {introspection, 401, `{}`, false, "HTTP status 401"},
	} {
		client := NewClient(ClientConfig{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			if c.address == api {
				assert.Equal(t, "Bearer planted-token", req.Header.Get("Authorization"), name)
			}
			if c.status == 0 {
				return nil, errors.New("planted-token is lost")
			}
			return &http.Response{StatusCode: c.status, Header: http.Header{"Location": {"https://other.example"}}, Request: req, Body: io.NopCloser(strings.NewReader(c.body))}, nil
		})})
		app := App{Name: "acme", ClientID: "id", Provider: Entry{Name: "acme", TokenURL: "https://acme.example/token", IntrospectURL: "https://acme.example/introspect", AuthStyle: oauth2.AuthStyleInHeader}}
		works, err := client.TokenWorks(t.Context(), app, c.address, perennial.NewSecret("planted-token"))
		assert.Equal(t, c.works, works, name)
		if c.problem == "" {
			assert.NoError(t, err, name)
			continue
		}
		assert.ErrorContains(t, err, c.problem, name)
		assert.NotContains(t, err.Error(), "planted", name)
	}
	_, err := NewClient(ClientConfig{}).TokenWorks(t.Context(), App{Provider: Entry{Name: "acme"}}, "", perennial.NewSecret("token"))
	assert.ErrorContains(t, err, "name an address of its API")
}
