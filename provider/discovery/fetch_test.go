package discovery

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// server is a server of documents: by path, a body, or a status if it is a number.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]any
	asked []string
}

func serve(t testing.TB) *server {
	s := &server{pages: map[string]any{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		page := s.pages[r.URL.Path]
		s.asked = append(s.asked, r.URL.Path)
		s.mu.Unlock()
		switch page := page.(type) {
		case string:
			fmt.Fprint(w, page)
		case int:
			w.WriteHeader(page)
		case func(http.ResponseWriter):
			page(w)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) put(path string, page any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path], s.asked = page, nil
}

func (s *server) metadata(issuer string) string {
	return fmt.Sprintf(`{"issuer":%q,"token_endpoint":"%s/token","code_challenge_methods_supported":["S256"]}`, issuer, s.URL)
}

const (
	rfc8414  = "/.well-known/oauth-authorization-server"
	oidc     = "/.well-known/openid-configuration"
	rfc9728  = "/.well-known/oauth-protected-resource"
	realm    = "/realms/a"
	megabyte = 1 << 20
)

// TestReadIssuer: each of the well-known URLs may have the document.
func TestReadIssuer(t *testing.T) {
	t.Parallel()
	for _, path := range []string{rfc8414 + realm, realm + oidc, oidc + realm} {
		s := serve(t)
		s.put(path, s.metadata(s.URL+realm))
		m, err := NewFetcher(false).Read(t.Context(), Source{Issuer: s.URL + realm})
		require.NoError(t, err)
		assert.Equal(t, s.URL+path, m.From)
		assert.Equal(t, path, s.asked[len(s.asked)-1])
	}
	// Another realm's document at the first place does not hide the right one.
	s := serve(t)
	s.put(rfc8414+realm, s.metadata(s.URL))
	s.put(realm+oidc, s.metadata(s.URL+realm))
	m, err := NewFetcher(false).Read(t.Context(), Source{Issuer: s.URL + realm})
	require.NoError(t, err)
	assert.Equal(t, s.URL+realm+oidc, m.From)
}

// TestReadProblems: a server that lies, leads elsewhere or sends too much gets no second
// request beyond its well-known URLs, and the error says what is wrong.
func TestReadProblems(t *testing.T) {
	t.Parallel()
	target := serve(t)
	for says, page := range map[string]any{
		"it redirects (HTTP 302), which is not followed": func(w http.ResponseWriter) {
			w.Header().Set("Location", target.URL+rfc8414)
			w.WriteHeader(http.StatusFound)
		},
		"it has more than 262144 bytes":    `{"x":"` + strings.Repeat("x", megabyte) + `"}`,
		"it answers HTTP 503":              503,
		"it is not a JSON object":          "<html>welcome</html>",
		"the issuer in it is":              `{"issuer":"https://other.example","token_endpoint":"https://other.example/token"}`,
		"they differ by a slash":           "SLASH",
		"it broke off, or took too long":   func(w http.ResponseWriter) { w.Header().Set("Content-Length", "99"); fmt.Fprint(w, "{") },
		"its token_endpoint must begin":    `{"issuer":"ISSUER","token_endpoint":"http://as.example/token"}`,
		"it names no token_endpoint":       `{"issuer":"ISSUER"}`,
		"it answers HTTP 204":              204,
		rfc8414 + ": it answers HTTP 401":  401,
		rfc8414 + ": it answers HTTP 4040": nil,
	} {
		s := serve(t)
		if page == "SLASH" {
			page = s.metadata(s.URL + "/")
		}
		if text, ok := page.(string); ok {
			page = strings.ReplaceAll(text, "ISSUER", s.URL)
		}
		if page == nil {
			says = "it answers HTTP 404"
		}
		s.put(rfc8414, page)
		_, err := NewFetcher(false).Read(t.Context(), Source{Issuer: s.URL})
		require.ErrorContains(t, err, says)
		assert.Equal(t, []string{rfc8414, oidc}, s.asked, says)
	}
	assert.Empty(t, target.asked, "no redirect is followed")
	gone := serve(t)
	gone.Close()
	_, err := NewFetcher(false).Read(t.Context(), Source{Issuer: gone.URL})
	require.ErrorContains(t, err, "it refuses connections")
}

// TestPrivateAddresses: nothing is read from a private network, unless the configuration
// allows it; from a cloud's metadata service never.
func TestPrivateAddresses(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"https://10.255.255.1", "https://[::ffff:192.168.0.1]", "https://[fd00::1]"} {
		_, err := NewFetcher(false).Read(t.Context(), Source{Issuer: u})
		require.ErrorContains(t, err, "its address is not public: discovery: allow_private", u)
	}
	for _, private := range []bool{false, true} {
		_, err := NewFetcher(private).Read(t.Context(), Source{Issuer: "https://169.254.169.254"})
		require.ErrorContains(t, err, map[bool]string{false: "not public", true: "no request goes there"}[private])
	}
}

// TestReadMCP: an MCP server's challenge, or its well-known paths, lead to its
// authorization server.
func TestReadMCP(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(s *server, document string){
		"its path": func(s *server, document string) { s.put(rfc9728+"/mcp", document) },
		"its host": func(s *server, document string) { s.put(rfc9728, document) },
		"its challenge": func(s *server, document string) {
			s.put("/meta", document)
			s.put("/mcp", func(w http.ResponseWriter) {
				w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", resource_metadata="`+s.URL+`/meta"`)
				w.WriteHeader(http.StatusUnauthorized)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, as := serve(t), serve(t)
			as.put(rfc8414, as.metadata(as.URL))
			put(s, fmt.Sprintf(`{"resource":"%s/mcp","authorization_servers":["%s"],"scopes_supported":["tools"]}`, s.URL, as.URL))
			m, err := NewFetcher(false).Read(t.Context(), Source{MCP: s.URL + "/mcp"})
			require.NoError(t, err)
			assert.Equal(t, []string{s.URL + "/mcp", as.URL, as.URL + "/token", "tools"}, []string{m.Resource, m.Issuer, m.TokenEndpoint, m.Scopes[0]})
			_, err = NewFetcher(false).Read(t.Context(), Source{MCP: s.URL + "/mcp", Issuer: as.URL})
			require.NoError(t, err)
			_, err = NewFetcher(false).Read(t.Context(), Source{MCP: s.URL + "/mcp", Issuer: as.URL + "/"})
			require.ErrorContains(t, err, `name the authorization servers `+as.URL+`, and the configuration has issuer "`+as.URL+`/"`)
		})
	}
}

// TestMCPThatLies: metadata at another origin, for another resource, of an authorization
// server inside of our network.
func TestMCPThatLies(t *testing.T) {
	t.Parallel()
	s, other := serve(t), serve(t)
	other.put("/meta", fmt.Sprintf(`{"resource":"%s/mcp","authorization_servers":["%s"]}`, s.URL, other.URL))
	s.put("/mcp", func(w http.ResponseWriter) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+other.URL+`/meta"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	_, err := NewFetcher(false).Read(t.Context(), Source{MCP: s.URL + "/mcp"})
	require.ErrorContains(t, err, "it answers HTTP 404")
	assert.Empty(t, other.asked, "metadata of another origin are not asked for")
	for says, document := range map[string]string{
		`the resource in it is "https://other.example", and the configuration has "`:         `{"resource":"https://other.example","authorization_servers":["https://as.example"]}`,
		`name no authorization_servers`:                                                      `{"resource":"RESOURCE"}`,
		`the authorization server that RESOURCE names, "http://as.example", must begin with`: `{"resource":"RESOURCE","authorization_servers":["http://as.example"]}`,
		`its address is not public`:                                                          `{"resource":"RESOURCE","authorization_servers":["https://10.0.0.1"]}`,
	} {
		s.put(rfc9728+"/mcp", strings.ReplaceAll(document, "RESOURCE", s.URL+"/mcp"))
		_, err := NewFetcher(false).Read(t.Context(), Source{MCP: s.URL + "/mcp"})
		require.ErrorContains(t, err, strings.ReplaceAll(says, "RESOURCE", s.URL+"/mcp"))
	}
	assert.Equal(t, "is on this machine, and the server that names it is not", checks{}.bad("http://127.0.0.1:1"))
	assert.Equal(t, "is not public: discovery: allow_private allows that", checks{}.bad("https://192.168.1.1/token"))
}
