package connecttest

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// Browser is a client with a cookie jar. It follows redirects as a browser does, but
// one at a time where a test must act between two.
type Browser struct {
	t      testing.TB
	client *http.Client
	Jar    *cookiejar.Jar
	Seen   []string // every body, and every URL of our pages after a callback
	base   string   // address of our pages
}

// Page is what a browser shows.
type Page struct {
	Status   int
	URL      string
	Body     string
	Header   http.Header
	Location string // target of a redirect that was not followed
}

// Browser returns a new browser without cookies.
func (w *World) Browser(t testing.TB) *Browser {
	t.Helper()
	return NewBrowser(t, w.URL, w.Server.Client().Transport.(*http.Transport).Clone())
}

// NewBrowser returns a browser without cookies, for pages below base.
func NewBrowser(t testing.TB, base string, transport http.RoundTripper) *Browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Browser{t: t, Jar: jar, base: base, client: &http.Client{Transport: transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Do sends one request and follows no redirect.
func (b *Browser) Do(method, target string, form url.Values, header http.Header) Page {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	p := Page{Status: resp.StatusCode, URL: target, Body: string(body), Header: resp.Header}
	if where, err := resp.Location(); err == nil {
		p.Location = where.String()
	}
	if strings.HasPrefix(target, b.base) {
		b.Seen = append(b.Seen, p.Body, p.Location)
	}
	return p
}

// Open gets a page and follows its redirects.
func (b *Browser) Open(target string) Page {
	b.t.Helper()
	p := b.Do(http.MethodGet, target, nil, nil)
	for range 5 {
		if p.Location == "" {
			return p
		}
		p = b.Do(http.MethodGet, p.Location, nil, nil)
	}
	b.t.Fatalf("too many redirects from %s", target)
	return p
}

var (
	formToken  = regexp.MustCompile(`name="form" value="([^"]*)"`)
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	heading    = regexp.MustCompile(`(?s)<h1>(.*?)</h1>`)
	spaces     = regexp.MustCompile(`\s+`)
)

// Heading returns the page's heading.
func (p Page) Heading() string {
	if m := heading.FindStringSubmatch(p.Body); m != nil {
		return html.UnescapeString(m[1])
	}
	return ""
}

// Text returns the body on one line, with its HTML entities decoded.
func (p Page) Text() string { return html.UnescapeString(spaces.ReplaceAllString(p.Body, " ")) }

// FormToken returns the token of the page's form, "" if there is none.
func (p Page) FormToken() string {
	if m := formToken.FindStringSubmatch(p.Body); m != nil {
		return m[1]
	}
	return ""
}

// Press sends the page's form and returns the reply. It follows no redirect.
func (b *Browser) Press(p Page) Page {
	b.t.Helper()
	m := formAction.FindStringSubmatch(p.Body)
	if m == nil {
		b.t.Fatalf("no form on %q: %s", p.Heading(), p.Text())
	}
	return b.Do(http.MethodPost, b.base+html.UnescapeString(m[1]), url.Values{"form": {p.FormToken()}}, nil)
}

// Begin presses the button of a link's page and returns the provider's URL.
func (b *Browser) Begin(p Page) string {
	b.t.Helper()
	p = b.Press(p)
	target := p.Refresh()
	if target == "" {
		b.t.Fatalf("not on the way to the provider but at %d %q", p.Status, p.Heading())
	}
	return target
}

// Refresh returns the URL that the page opens by itself, "" if it opens none.
func (p Page) Refresh() string {
	_, target, _ := strings.Cut(p.Header.Get("Refresh"), "; url=")
	return target
}

// Consent is what the user answers at the provider.
type Consent struct {
	Account string   // empty means 62515
	Deny    bool     //
	Without []string // scopes that the user deselects
}

// Answer answers the provider's page and returns the URL of the callback. It does not
// open that URL.
func (b *Browser) Answer(authorize string, c Consent) string {
	b.t.Helper()
	u, err := url.Parse(authorize)
	if err != nil {
		b.t.Fatal(err)
	}
	if p := b.Do(http.MethodGet, authorize, nil, nil); p.Location != "" {
		return p.Location // the provider did not ask
	}
	form := url.Values{"shown": {"yes"}, "account": {c.Account}, "answer": {"allow"}}
	if c.Account == "" {
		form.Set("account", "62515")
	}
	if c.Deny {
		form.Set("answer", "deny")
	}
	for scope := range strings.FieldsSeq(u.Query().Get("scope")) {
		kept := true
		for _, without := range c.Without {
			kept = kept && scope != without
		}
		if kept {
			form.Add("scope", scope)
		}
	}
	p := b.Do(http.MethodPost, authorize, form, nil)
	if p.Location == "" {
		b.t.Fatalf("the provider answers %d: %s", p.Status, p.Text())
	}
	return p.Location
}

// Go takes every step: the link, the button, the consent, the callback, and the page
// that follows.
func (b *Browser) Go(link string, c Consent) Page {
	b.t.Helper()
	return b.Open(b.Answer(b.Begin(b.Open(link)), c))
}

// Use makes the browser share another browser's cookies.
func (b *Browser) Use(jar *cookiejar.Jar) { b.Jar, b.client.Jar = jar, jar }
