package provider

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/netguard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	local := Entry{Name: "generic", TokenURL: "http://{host}/token", RefreshURL: "http://{host}/refresh"}
	suffixed := Entry{Name: "generic", TokenURL: "https://{host}/token", HostSuffixes: []string{".localhost", "127.0.0.1"}}
	for _, c := range []struct {
		entry Entry
		good  []string
		bad   []string
	}{
		{entry(t, "shopify"), []string{"my-shop.myshopify.com", "a.b.myshopify.com"},
			[]string{"", "myshopify.com", ".myshopify.com", "evil.com", "evilmyshopify.com", "evil.com/.myshopify.com", "evil.com?.myshopify.com", "evil.com#.myshopify.com",
				`evil.com\.myshopify.com`, "a@b.myshopify.com", "a:b@x.myshopify.com", "x.myshopify.com:8080", "x.myshopify.com:", "x.myshopify.com/", "x.myshopify.com.", "x.myshopify.com.evil.com",
				"X.myshopify.com", "x..myshopify.com", "-x.myshopify.com", "x-.myshopify.com", "x_y.myshopify.com", "x%2f.myshopify.com", "x\u3002myshopify.com", "x\uff0emyshopify.com", "ⅹ.myshopify.com",
				" x.myshopify.com", "x.myshopify.com\n", "x\r\n.myshopify.com", "x\x00.myshopify.com", "{host}.myshopify.com", "[::1].myshopify.com", "localhost", "127.0.0.1:80",
				strings.Repeat("a.", 130) + "myshopify.com"}},
		{entry(t, "zoho"), []string{"accounts.zoho.com", "accounts.zoho.eu", "accounts.zoho.in", "accounts.zoho.com.au", "accounts.zoho.jp"},
			[]string{"zoho.com", "x.accounts.zoho.com", "accounts.zoho.com.evil.com", "accounts.zoho.co", "xaccounts.zoho.com"}},
		{entry(t, "zendesk"), []string{"acme.zendesk.com"}, []string{"zendesk.com", "acme.zendesk.com.evil.com"}},
		{entry(t, "salesforce"), []string{"login.salesforce.com", "acme.my.salesforce.com"}, []string{"salesforce.com", "acme.force.com"}},
		{local, []string{"localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:1", "x.localhost:65535"},
			[]string{"evil.com", "evil.com:80", "127.0.0.1.evil.com", "10.0.0.1", "0.0.0.0", "localhost:", "localhost:0", "localhost:65536", "localhost:http", "localhost:-1", "localhost:+1", "[::1]:80", "xlocalhost"}},
		{suffixed, []string{"x.localhost", "x.localhost:80", "127.0.0.1:80"}, []string{"localhost", "127.0.0.2", "x.example.com"}},
	} {
		for _, host := range c.good {
			at, err := App{Name: "app", Provider: c.entry}.At(host)
			require.NoError(t, err, host)
			assert.Equal(t, strings.ReplaceAll(c.entry.TokenURL, "{host}", host), at.Provider.TokenURL)
			for _, u := range []string{at.Provider.AuthURL, at.Provider.RefreshURL, at.Provider.RevokeURL, at.Provider.IntrospectURL} {
				assert.NotContains(t, u, "{host}")
			}
		}
		for _, host := range c.bad {
			at, err := App{Name: "app", Provider: c.entry}.At(host)
			require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), "%q", host)
			assert.Contains(t, err.Error(), "give the account's host")
			assert.Contains(t, at.Provider.TokenURL, "{host}", "%q", host)
		}
	}
}

func TestHostIsNotNeeded(t *testing.T) {
	t.Parallel()
	plain := App{Provider: entry(t, "google")}
	for _, host := range []string{"", "whatever", "evil.com/"} {
		same, err := plain.At(host)
		require.NoError(t, err)
		assert.Equal(t, plain, same)
	}
}

// FuzzHost: whatever the host, the token goes to the host that was checked, at the
// entry's own path.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"my-shop.myshopify.com", "evil.com/.myshopify.com", "a@b.zendesk.com", "accounts.zoho.com", "x\u3002salesforce.com", "localhost:80", "localhost:80@evil.com", "127.0.0.1:1#", "[::1]:80"} {
		f.Add(host)
	}
	entries := []Entry{{Name: "generic", TokenURL: "https://{host}/token"}}
	for _, name := range Names() {
		if e, _ := Lookup(name); e.HostNeeded() {
			entries = append(entries, e)
		}
	}
	f.Fuzz(func(t *testing.T, host string) {
		for _, e := range entries {
			at, err := App{Provider: e}.At(host)
			if err != nil {
				continue
			}
			template, err := url.Parse(strings.ReplaceAll(e.TokenURL, "{host}", "host"))
			require.NoError(t, err)
			req, err := http.NewRequest(http.MethodPost, at.Provider.TokenURL, nil)
			require.NoError(t, err, host)
			require.Equal(t, host, req.URL.Host)
			require.Equal(t, host, req.Host)
			template.Host = host
			require.Equal(t, template, req.URL)
			require.True(t, allowed(e, req.URL.Hostname()), host)
			require.True(t, req.URL.Port() == "" || isLoopback(req.URL.Hostname()), host)
		}
	})
}

// TestNamedHost: an authorization response may name a host that is listed as a whole
// name, and no other.
func TestNamedHost(t *testing.T) {
	t.Parallel()
	app := App{Provider: Entry{Name: "zoho", TokenURL: "https://{host}/token", HostSuffixes: []string{"accounts.zoho.com", "accounts.zoho.eu", ".zoho.example"}, HostFrom: "accounts-server"}}
	for named, want := range map[string]string{
		"https://accounts.zoho.eu": "accounts.zoho.eu", "https://Accounts.Zoho.EU/oauth": "accounts.zoho.eu", "accounts.zoho.eu": "accounts.zoho.eu",
		"": "", "https://evil.example": "", "a.zoho.example": "", "https://accounts.zoho.eu.evil.example": "", "https://accounts.zoho.eu:8443": "",
		"https://accounts.zoho.eu@evil.example": "", "//accounts.zoho.eu": "accounts.zoho.eu", "https://accounts.zoho.eu%00": "", "\x00": "", "localhost:1": "",
	} {
		host, listed := app.NamedHost(url.Values{"accounts-server": {named}})
		assert.Equal(t, want != "", listed, named)
		if listed {
			assert.Equal(t, want, host)
		}
	}
	app.Provider.HostFrom = ""
	_, listed := app.NamedHost(url.Values{"accounts-server": {"accounts.zoho.eu"}, "": {"accounts.zoho.eu"}})
	assert.False(t, listed)
}

func allowed(e Entry, name string) bool {
	if len(e.HostSuffixes) == 0 {
		return isLoopback(name)
	}
	for _, suffix := range e.HostSuffixes {
		if name == suffix || suffix[0] == '.' && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// TestNoMetadata: no token goes to a cloud's metadata service, whatever a host's name
// resolves to.
func TestNoMetadata(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/latest", nil)
		require.NoError(t, err)
		_, err = NewClient(ClientConfig{}).transport.RoundTrip(req)
		require.ErrorIs(t, err, netguard.ErrForbidden, at)
	}
}
