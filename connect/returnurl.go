package connect

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// maxReturnURL bounds a return URL in bytes.
const maxReturnURL = 2048

// ReturnURLs are the places to which a connect page may send the customer: whole URLs
// without a query. Each allows itself and every path below it, with exactly the same
// scheme, host and port. Anything else would be an open redirector (RFC 9700 section
// 4.11).
type ReturnURLs []string

// Check parses raw, or returns an error of [perennial.CodeInvalid].
func (r ReturnURLs) Check(raw string) (*url.URL, error) {
	u, ok := plainURL(raw)
	if ok {
		ok = slices.ContainsFunc(r, func(allowed string) bool { return below(u, allowed) })
	}
	if !ok {
		return nil, perennial.Errorf(perennial.CodeInvalid, "the return URL is not below one of connect.return_urls in the configuration (%s)", strings.Join(r, ", "))
	}
	return u, nil
}

// plainURL parses a URL that every program reads alike: no user, no fragment, no
// backslash, no dots or escaped slashes in its path, however often escaped.
func plainURL(raw string) (*url.URL, bool) {
	if len(raw) > maxReturnURL || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == '\\' || r >= 0x7f }) {
		return nil, false
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Opaque != "" || strings.Contains(raw, "#") {
		return nil, false
	}
	escaped := strings.ToLower(u.EscapedPath())
	for _, hidden := range []string{"%2f", "%5c", "%2e", "%25", "//"} {
		if strings.Contains(escaped, hidden) {
			return nil, false
		}
	}
	if clean := path.Clean("/" + u.Path); u.Path != "" && strings.TrimSuffix(u.Path, "/") != strings.TrimSuffix(clean, "/") {
		return nil, false
	}
	return u, true
}

func below(u *url.URL, allowed string) bool {
	a, ok := plainURL(allowed)
	if !ok || a.RawQuery != "" || u.Scheme != a.Scheme || !strings.EqualFold(u.Host, a.Host) {
		return false
	}
	root := strings.TrimSuffix(a.Path, "/")
	return u.Path == root || strings.HasPrefix(u.Path, root+"/")
}
