package discovery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/internal/netguard"
	"github.com/perennial-oauth/perennial/internal/plainurl"
)

const (
	maxDocument  = 256 << 10 // bytes, after decompression
	fetchTimeout = 5 * time.Second
	readTimeout  = 15 * time.Second // of all requests for one source
)

// Fetcher reads documents. It follows no redirect, and connects to no private address
// unless it may, except those of this machine for a source on this machine. It is safe
// for concurrent use.
type Fetcher struct {
	allowPrivate bool
	public, near *http.Client
}

// NewFetcher returns a fetcher. allowPrivate lets it read from private networks.
func NewFetcher(allowPrivate bool) *Fetcher {
	f := &Fetcher{allowPrivate: allowPrivate, near: newClient(http.ProxyFromEnvironment, netguard.Control)}
	f.public = f.near
	if !allowPrivate {
		f.public = newClient(nil, netguard.PublicControl) // a proxy would dial past the check
	}
	return f
}

func newClient(proxy func(*http.Request) (*url.URL, error), control func(string, string, syscall.RawConn) error) *http.Client {
	return &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			Proxy:                  proxy,
			DialContext:            (&net.Dialer{Timeout: fetchTimeout, Control: control}).DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    fetchTimeout,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: 64 << 10,
			DisableKeepAlives:      true, // it asks once a day
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Source is where an app's description comes from: an issuer, or an MCP server.
type Source struct {
	Issuer string
	MCP    string // empty: the issuer alone
}

// String returns the source as its pin names it.
func (s Source) String() string {
	if s.MCP == "" {
		return s.Issuer
	}
	return strings.TrimSpace(s.MCP + " " + s.Issuer)
}

// Read reads the documents of a source. The error says which document is wrong, with both
// values if they differ, and repeats nothing else of it.
func (f *Fetcher) Read(ctx context.Context, s Source) (Metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if s.MCP == "" {
		return f.issuer(ctx, s.Issuer)
	}
	return f.mcp(ctx, s)
}

// issuer tries an issuer's well-known URLs until one has its document.
func (f *Fetcher) issuer(ctx context.Context, issuer string) (Metadata, error) {
	var worst error
	for _, at := range metadataURLs(issuer) {
		raw, err := f.get(ctx, at)
		if err == nil {
			var m Metadata
			if m, err = ParseMetadata(raw, issuer, f.allowPrivate); err == nil {
				m.From = at
				return m, nil
			}
		}
		worst = moreTelling(worst, fmt.Errorf("%s: %w", at, err))
	}
	if worst == nil {
		worst = errors.New("the issuer is not a whole URL")
	}
	return Metadata{}, worst
}

// mcp finds an MCP server's authorization server and reads its document.
func (f *Fetcher) mcp(ctx context.Context, s Source) (Metadata, error) {
	r, err := f.resource(ctx, s.MCP)
	if err != nil {
		return Metadata{}, err
	}
	issuer, err := s.choose(r)
	if err != nil {
		return Metadata{}, err
	}
	if why := (checks{allowPrivate: f.allowPrivate, local: local(s.MCP)}).bad(issuer); why != "" {
		return Metadata{}, fmt.Errorf("the authorization server that %s names, %q, %s", s.MCP, shown(issuer), why)
	}
	m, err := f.issuer(ctx, issuer)
	if err != nil {
		return Metadata{}, err
	}
	m.Resource = r.Resource
	if len(r.Scopes) > 0 {
		m.Scopes = r.Scopes
	}
	return m, nil
}

// choose returns the issuer of the authorization server to use: the configured one, which
// the resource must list, or the first.
func (s Source) choose(r Resource) (string, error) {
	switch {
	case len(r.Servers) == 0:
		return "", fmt.Errorf("the metadata of %s name no authorization_servers", s.MCP)
	case s.Issuer == "":
		return r.Servers[0], nil
	}
	for _, issuer := range r.Servers {
		if issuer == s.Issuer {
			return issuer, nil
		}
	}
	return "", &mismatchError{fmt.Sprintf("the metadata of %s name the authorization servers %s, and the configuration has issuer %q", s.MCP, shown(strings.Join(r.Servers, ", ")), s.Issuer)}
}

// resource reads the metadata of an MCP server: those that its challenge names, if they
// are at the same origin, else those at the well-known paths.
func (f *Fetcher) resource(ctx context.Context, at string) (Resource, error) {
	urls := resourceURLs(at)
	if named := f.challenged(ctx, at); sameOrigin(named, at) {
		urls = append([]string{named}, urls...)
	}
	var worst error
	for _, u := range urls {
		raw, err := f.get(ctx, u)
		if err == nil {
			var r Resource
			if r, err = ParseResource(raw, at); err == nil {
				return r, nil
			}
		}
		worst = moreTelling(worst, fmt.Errorf("%s: %w", u, err))
	}
	if worst == nil {
		worst = errors.New("mcp is not a whole URL")
	}
	return Resource{}, worst
}

// challenged returns the resource_metadata of the server's answer to a request without a
// token (RFC 9728 section 5.1), "" for none.
func (f *Fetcher) challenged(ctx context.Context, at string) string {
	resp, err := f.do(ctx, at, "application/json, text/event-stream")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	for _, challenge := range resp.Header.Values("WWW-Authenticate") {
		if params, ok := resource.Challenge(challenge, "Bearer"); ok {
			if u := resource.Parameter(params, "resource_metadata"); len(u) <= maxURL {
				return u
			}
		}
	}
	return ""
}

func sameOrigin(a, b string) bool {
	u, err := url.Parse(a)
	if err != nil || a == "" || plainurl.Bad(a) != "" {
		return false
	}
	v, err := url.Parse(b)
	return err == nil && u.Scheme == v.Scheme && u.Host == v.Host
}

// statusError is the error of an answer that is no document.
type statusError struct{ status int }

func (e *statusError) Error() string {
	if e.status/100 == 3 {
		return fmt.Sprintf("it redirects (HTTP %d), which is not followed: write the URL to which it leads", e.status)
	}
	return fmt.Sprintf("it answers HTTP %d", e.status)
}

// moreTelling returns the error that says more: another issuer than the configured one
// says more than a server that does not answer, and that more than a missing page.
func moreTelling(a, b error) error {
	weight := func(err error) int {
		var mismatch *mismatchError
		var status *statusError
		switch {
		case err == nil:
			return -1
		case errors.As(err, &mismatch):
			return 3
		case errors.As(err, &status) && status.status == http.StatusNotFound:
			return 0
		case errors.As(err, &status), errors.Is(err, errNoObject): // some servers show a page for every path
			return 1
		}
		return 2
	}
	if weight(b) > weight(a) {
		return b
	}
	return a
}

// get reads one document.
func (f *Fetcher) get(ctx context.Context, at string) ([]byte, error) {
	resp, err := f.do(ctx, at, "application/json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{resp.StatusCode}
	}
	return readBody(resp)
}

func readBody(resp *http.Response) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, errors.New("it broke off, or took too long")
	case len(raw) > maxDocument:
		return nil, fmt.Errorf("it has more than %d bytes", maxDocument)
	}
	return raw, nil
}

func (f *Fetcher) do(ctx context.Context, at, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, errors.New("it is not a whole URL")
	}
	req.Header.Set("Accept", accept)
	return f.send(req)
}

// send sends a request. The error is in our own words.
func (f *Fetcher) send(req *http.Request) (*http.Response, error) {
	req.Header.Set("User-Agent", "perennial")
	client := f.public
	if local(req.URL.String()) {
		client = f.near
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, errors.New(plain(err))
	}
	return resp, nil
}

// plain names the cause of a failed request in fixed words.
func plain(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return "it did not answer in time"
		}
		err = u.Err
	}
	_, dns := errors.AsType[*net.DNSError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, netguard.ErrNotPublic):
		return "its address is not public: discovery: allow_private allows that"
	case errors.Is(err, netguard.ErrForbidden):
		return netguard.ErrForbidden.Error()
	case dns:
		return "its name does not resolve"
	case certificate:
		return "its certificate is not valid"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refuses connections"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "it did not answer in time"
	}
	return "the connection failed"
}
