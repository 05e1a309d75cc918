package connectui_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/provider"
)

// TestForgedForm is about CSRF: a consent begins only with our own form in the same
// browser. A refused form changes nothing.
func TestForgedForm(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s, other := w.Link(t, connect.SessionRequest{}), w.Link(t, connect.SessionRequest{})
	victim, attacker := w.Browser(t), w.Browser(t)
	own := victim.Open(s.Link.Reveal()).FormToken()
	for name, c := range map[string]struct {
		form   url.Values
		header http.Header
	}{
		"no token":                {form: url.Values{}},
		"an empty token":          {form: url.Values{"form": {""}}},
		"another browser's token": {form: url.Values{"form": {attacker.Open(s.Link.Reveal()).FormToken()}}},
		"another link's token":    {form: url.Values{"form": {victim.Open(other.Link.Reveal()).FormToken()}}},
		"from another site":       {form: url.Values{"form": {own}}, header: http.Header{"Sec-Fetch-Site": {"cross-site"}}},
		"from a sister host":      {form: url.Values{"form": {own}}, header: http.Header{"Sec-Fetch-Site": {"same-site"}}},
	} {
		p := victim.Do(http.MethodPost, s.Link.Reveal(), c.form, c.header)
		assert.Equal(t, http.StatusForbidden, p.Status, name)
		assert.Empty(t, p.Header.Get("Refresh"), name)
		assert.Contains(t, p.Text(), "press the button once more", name)
		assert.Zero(t, session(t, w, s.ID).Starts, name)
	}
	p := victim.Do(http.MethodPost, s.Link.Reveal(), url.Values{"form": {own}}, http.Header{"Sec-Fetch-Site": {"same-origin"}})
	assert.NotEmpty(t, p.Header.Get("Refresh"), "our own form")

	// A browser without the cookie, such as an old one with a forged form.
	assert.Equal(t, http.StatusForbidden, w.Browser(t).Do(http.MethodPost, s.Link.Reveal(), url.Values{"form": {own}}, nil).Status)
}

// TestOpeningChangesNothing: scanners and previews open links.
func TestOpeningChangesNothing(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := w.Link(t, connect.SessionRequest{})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		assert.Equal(t, http.StatusOK, w.Browser(t).Do(method, s.Link.Reveal(), nil, nil).Status)
	}
	assert.Equal(t, s.ConnectSession, session(t, w, s.ID))
}

// TestSessionFixation: what an attacker prepares in one browser is useless in another,
// and no value that a browser brings is adopted.
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	s := w.Link(t, connect.SessionRequest{})
	attacker, victim := w.Browser(t), w.Browser(t)
	authorize := attacker.Begin(attacker.Open(s.Link.Reveal()))

	// The victim consents to the attacker's request: the response is refused.
	p := victim.Open(victim.Answer(authorize, Consent{Account: "victim"}))
	assert.Equal(t, "This sign-in began in another browser", p.Heading())
	// The victim opens the attacker's finished callback (login CSRF): refused too.
	p = victim.Open(attacker.Answer(authorize, Consent{Account: "attacker"}))
	assert.Equal(t, "This sign-in began in another browser", p.Heading())
	assert.Empty(t, all(t, w))
	assert.Zero(t, w.Provider.Oracle().TokenRequests)

	// The victim begins with the attacker's cookies: the cookie is replaced.
	at, err := url.Parse(w.URL)
	require.NoError(t, err)
	planted := map[string]string{}
	for _, c := range attacker.Jar.Cookies(at) {
		assert.True(t, strings.HasPrefix(c.Name, "__Host-"), c.Name)
		planted[c.Name] = c.Value
		victim.Jar.SetCookies(at, []*http.Cookie{{Name: c.Name, Value: c.Value, Secure: true, Path: "/"}})
	}
	victim.Begin(victim.Open(s.Link.Reveal()))
	changed := 0
	for _, c := range victim.Jar.Cookies(at) {
		if c.Value != planted[c.Name] {
			changed++
		}
	}
	assert.Equal(t, 1, changed, "the one that binds the state")
	p = attacker.Open(attacker.Answer(authorize, Consent{Account: "attacker"}))
	assert.Equal(t, "This sign-in cannot be continued", p.Heading(), "the attacker's own request has ended")
	assert.Empty(t, all(t, w))
}

// TestCookies: HttpOnly, Secure, SameSite=Lax, for this host only.
func TestCookies(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	p := b.Open(w.Link(t, connect.SessionRequest{}).Link.Reveal())
	set := append(p.Header.Values("Set-Cookie"), b.Press(p).Header.Values("Set-Cookie")...)
	require.Len(t, set, 2)
	for _, line := range set {
		c, err := http.ParseSetCookie(line)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(c.Name, "__Host-"), line)
		assert.Equal(t, "/", c.Path)
		assert.Empty(t, c.Domain)
		assert.True(t, c.Secure && c.HttpOnly && c.SameSite == http.SameSiteLaxMode, line)
		assert.GreaterOrEqual(t, len(c.Value), 43)
	}
}

// TestPKCE: the code alone is useless, because its verifier never leaves us.
func TestPKCE(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	s := w.Link(t, connect.SessionRequest{})
	callback, err := url.Parse(b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{}))
	require.NoError(t, err)
	app, err := w.Service.Apps.App(CRM)
	require.NoError(t, err)
	reply := provider.NewClient(provider.ClientConfig{}).Exchange(t.Context(), app, app.ClientSecrets[0], provider.AuthorizationCode{
		Code: perennial.NewSecret(callback.Query().Get("code")), Verifier: perennial.NewSecret(strings.Repeat("v", 43)), RedirectURI: w.Sessions.RedirectURI(CRM)})
	assert.Equal(t, perennial.OutcomeRevoked, reply.Outcome)
	assert.Equal(t, "That took too long", b.Open(callback.String()).Heading(), "a stolen and spent code")
	assert.Empty(t, all(t, w))
}

// TestPlantedCode: the provider refuses an attacker's own code in the victim's
// callback, because it was made for another challenge.
func TestPlantedCode(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	attacker, victim := w.Browser(t), w.Browser(t)
	theirs, err := url.Parse(attacker.Answer(attacker.Begin(attacker.Open(w.Link(t, connect.SessionRequest{Tenant: "evil"}).Link.Reveal())), Consent{Account: "attacker"}))
	require.NoError(t, err)
	mine, err := url.Parse(victim.Answer(victim.Begin(victim.Open(w.Link(t, connect.SessionRequest{}).Link.Reveal())), Consent{}))
	require.NoError(t, err)
	q := mine.Query()
	q.Set("code", theirs.Query().Get("code"))
	mine.RawQuery = q.Encode()
	assert.Equal(t, "That took too long", victim.Open(mine.String()).Heading())
	assert.Empty(t, all(t, w))
}

// TestOpenRedirect: the return URL is checked when the link is made, and again before
// anybody is sent there.
func TestOpenRedirect(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	for _, bad := range []string{"https://evil.example/settings", w.Product.URL + "/other", w.Product.URL + "/settings/../other", w.Product.URL + "@evil.example/settings",
		"//evil.example/settings", "/settings", "javascript:alert(1)"} {
		_, err := w.Sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), connect.SessionRequest{Tenant: Tenant, App: CRM, ReturnURL: bad})
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), bad)
	}
	s := w.Link(t, connect.SessionRequest{ReturnURL: w.Product.URL + "/settings"})
	w.Exec(t, "UPDATE connect_sessions SET return_url = 'https://evil.example/settings'") // or the list of allowed URLs became shorter
	b := w.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, s.Link.Reveal(), p.URL)
	assert.Equal(t, "Acme CRM is connected", p.Heading())
	assert.NotContains(t, strings.Join(b.Seen, "\n"), "evil.example")

	// Nothing that the browser sends decides where it goes.
	for _, query := range []string{"?return_url=https://evil.example", "?redirect_uri=https://evil.example", "?state=x&return=https://evil.example"} {
		assert.NotContains(t, b.Open(w.URL+"/connect/callback/crm"+query).Body, "evil.example")
		assert.NotContains(t, b.Open(w.URL+"/connect/problem/https:%2f%2fevil.example"+query).Body, "evil.example")
	}
}

// TestPathsLeadNowhereElse: no answer leads to another site, however a path is written
// and whichever host a request names.
func TestPathsLeadNowhereElse(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	s := w.Link(t, connect.SessionRequest{})
	link := strings.TrimPrefix(s.Link.Reveal(), w.URL)
	callback := strings.TrimPrefix(b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{}), w.URL)
	for _, path := range []string{link, callback, "/connect/callback/crm", "/connect/problem/state", "//evil.example", "//evil.example/connect/x", "/connect//evil.example", `/connect/\evil.example`, `/\evil.example/%2f..`, "/connect/%2f%2fevil.example",
		"/connect/callback//evil.example", "/connect/callback/crm/..//evil.example", "/connect/..//evil.example/..", "/connect/problem//evil.example", "/connect/%0d%0aLocation:%20https://evil.example",
		"/connect/.//evil.example/", "/connect/static//evil.example", "/connect/static/..%2f..%2fevil.example", link + "//evil.example", link + "?next=//evil.example", "//evil.example/..//" + callback} {
		for _, host := range []string{"", "evil.example"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				r := httptest.NewRequest(method, w.URL+"/", nil)
				r.URL.Path, r.URL.RawPath, r.RequestURI = path, "", path
				if u, err := url.ParseRequestURI(path); err == nil {
					r.URL = u
				}
				if host != "" {
					r.Host = host
					r.Header.Set("X-Forwarded-Host", host)
					r.Header.Set("Forwarded", "host="+host)
				}
				out := httptest.NewRecorder()
				w.Server.Config.Handler.ServeHTTP(out, r)
				to, err := url.Parse(out.Header().Get("Location"))
				require.NoError(t, err, path)
				assert.Empty(t, to.Host, "%s %s leads to %s", method, path, to)
				assert.NotRegexp(t, `^[/\\]{2}`, out.Header().Get("Location"), path)
				assert.Empty(t, out.Header().Get("Refresh"), path)
				assert.NotRegexp(t, `(href|action|src)="(https?:)?//evil`, out.Body.String(), path)
			}
		}
	}
}

// TestHeaders: the headers of every page and redirect.
func TestHeaders(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	link := w.Link(t, connect.SessionRequest{}).Link.Reveal()
	open := b.Open(link)
	pressed := b.Press(open)
	answered := b.Do(http.MethodGet, b.Answer(pressed.Refresh(), Consent{}), nil, nil)
	for name, p := range map[string]Page{"link": open, "pressed": pressed, "callback": answered, "end": b.Open(link),
		"problem": b.Open(w.URL + "/connect/problem/state"), "nothing": b.Open(w.URL + "/connect/cl_x"), "no route": b.Do(http.MethodDelete, link, nil, nil)} {
		assert.Equal(t, "no-store", p.Header.Get("Cache-Control"), name)
		assert.Equal(t, "no-referrer", p.Header.Get("Referrer-Policy"), name)
		assert.Equal(t, "nosniff", p.Header.Get("X-Content-Type-Options"), name)
		csp := p.Header.Get("Content-Security-Policy")
		assert.Equal(t, "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; script-src 'none'", csp, name)
		assert.NotEmpty(t, p.Header.Get("Strict-Transport-Security"), name)
		assert.NotRegexp(t, `<script|style=|<style| on[a-z]+=`, p.Body, name)
		for _, target := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(p.Body, -1) {
			local := strings.HasPrefix(target[1], "/connect/") || strings.HasPrefix(target[1], w.Product.URL) || strings.HasPrefix(target[1], w.URL)
			assert.True(t, local || name == "pressed", "%s: %s", name, target[1])
		}
	}
	for _, file := range []string{"connect.css", "popup.js"} {
		assert.Equal(t, http.StatusOK, b.Open(w.URL+"/connect/static/"+file).Status, file)
	}
}

// TestPopup: only the exact origin of the return URL receives the result, from a script
// in a file.
func TestPopup(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	s := w.Link(t, connect.SessionRequest{Mode: perennial.ConnectPopup, ReturnURL: w.Product.URL + "/settings?x=1"})
	p := b.Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, s.Link.Reveal(), p.URL)
	assert.Contains(t, p.Header.Get("Content-Security-Policy"), "script-src 'self'")
	assert.Contains(t, p.Body, `data-origin="`+w.Product.URL+`"`)
	assert.Contains(t, p.Text(), `{"type":"perennial.connect","outcome":"connected","session_id":"`+s.ID+`","connection_id":"`+only(t, w).ID+`"}`)
	assert.Contains(t, p.Body, " data-close>")
	assert.Contains(t, p.Text(), w.Product.URL+"/settings?", "the way back without JavaScript")

	denied := b.Go(w.Link(t, connect.SessionRequest{Mode: perennial.ConnectPopup, ReturnURL: w.Product.URL + "/settings"}).Link.Reveal(), Consent{Deny: true})
	assert.Contains(t, denied.Text(), `"outcome":"access_denied"`)
	assert.NotContains(t, denied.Body, "data-close", "the customer may try again")
}

// witness is between the sessions and the provider, and keeps every secret that passes.
type witness struct {
	connect.Authorizer
	mu      sync.Mutex
	secrets map[string]string
}

func (n *witness) note(what string, s perennial.Secret) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.secrets[what+" "+fmt.Sprint(len(n.secrets))] = s.Reveal()
}

func (n *witness) Exchange(ctx context.Context, app provider.App, secret perennial.Secret, code provider.AuthorizationCode) provider.Reply {
	n.note("code", code.Code)
	n.note("verifier", code.Verifier)
	reply := n.Authorizer.Exchange(ctx, app, secret, code)
	n.note("access token", reply.Tokens.AccessToken)
	n.note("refresh token", reply.Tokens.RefreshToken)
	return reply
}

// TestPlantedSecrets ends a consent in every way. Then it searches everything that is
// kept or shown for codes, tokens, verifiers, states, cookies and links.
func TestPlantedSecrets(t *testing.T) {
	t.Parallel()
	seen := &witness{secrets: map[string]string{"client secret": ClientSecret}}
	w := New(t, func(a connect.Authorizer) connect.Authorizer { seen.Authorizer = a; return seen })
	var shown []string
	var links []perennial.Secret
	states := map[string]string{}
	walk := func(req connect.SessionRequest, c Consent) {
		s := w.Link(t, req)
		links = append(links, s.Link)
		b := w.Browser(t)
		authorize := b.Begin(b.Open(s.Link.Reveal()))
		u, err := url.Parse(authorize)
		require.NoError(t, err)
		states["state "+s.ID] = u.Query().Get("state")
		b.Seen = nil // the URLs on the way to the provider have the state, as they must
		callback := b.Answer(authorize, c)
		b.Open(callback)
		b.Open(callback)
		w.Browser(t).Open(callback)
		shown = append(shown, b.Seen...)
		at, err := url.Parse(w.URL)
		require.NoError(t, err)
		for _, cookie := range b.Jar.Cookies(at) {
			secret, _, _ := strings.Cut(cookie.Value, ".")
			states["cookie "+cookie.Name+s.ID] = secret
		}
	}
	walk(connect.SessionRequest{}, Consent{})
	c := only(t, w)
	walk(connect.SessionRequest{ConnectionID: c.ID}, Consent{Account: "999"})
	walk(connect.SessionRequest{}, Consent{Account: "7", Without: []string{"contacts.read"}})
	walk(connect.SessionRequest{}, Consent{Deny: true})
	walk(connect.SessionRequest{App: Login}, Consent{})
	require.NoError(t, w.Provider.SetKnobs("client-"+CRM, "", fakeprovider.Knobs{InfoError: 5, Echo: true}))
	walk(connect.SessionRequest{}, Consent{Account: "8"}) // stays unfinished: its reply is in the row, sealed
	require.NoError(t, w.Provider.SetSecrets("client-"+Books, "another"))
	walk(connect.SessionRequest{App: Books}, Consent{})

	rows := ""
	for _, table := range []string{"connect_sessions", "connections", "outbox", "attempts"} {
		var text string
		require.NoError(t, w.Foreign.QueryRowContext(t.Context(), "SELECT coalesce(string_agg(row::text, E'\n'), '') FROM "+table+" row").Scan(&text))
		rows += text + "\n"
	}
	require.Contains(t, rows, "contacts.read")
	pages, logs := strings.Join(shown, "\n"), w.Logs.String()
	require.GreaterOrEqual(t, len(seen.secrets), 20)
	for _, all := range []map[string]string{seen.secrets, states} {
		for what, secret := range all {
			if secret == "" {
				continue
			}
			for _, form := range []string{secret, url.QueryEscape(secret), fmt.Sprintf("%x", secret)} {
				assert.NotContains(t, rows, form, "%s in the database", what)
				assert.NotContains(t, logs, form, "%s in the logs", what)
				if !strings.HasPrefix(what, "cookie") {
					assert.NotContains(t, pages, form, "%s on a page", what)
				}
			}
		}
	}
	for _, link := range links {
		token := link.Reveal()[strings.LastIndex(link.Reveal(), "/")+1:]
		assert.NotContains(t, logs, token)
		assert.NotContains(t, rows, token)
	}
	assert.NotContains(t, logs, "code=")
}
