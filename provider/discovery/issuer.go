package discovery

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/perennial-oauth/perennial/internal/printable"
)

// metadataURLs returns where an issuer's document may be, in the order of the tries: RFC
// 8414 section 3 puts its well-known path before the issuer's own, OpenID Connect
// Discovery section 4 behind it, and RFC 8414 section 5 that one's name before it.
func metadataURLs(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	all := []string{origin + "/.well-known/oauth-authorization-server" + path, origin + path + "/.well-known/openid-configuration"}
	if path != "" {
		all = append(all, origin+"/.well-known/openid-configuration"+path)
	}
	return all
}

// resourceURLs returns where the document of a protected resource may be (RFC 9728
// section 3.1): below its own path, then that of the whole host.
func resourceURLs(at string) []string {
	u, err := url.Parse(at)
	if err != nil {
		return nil
	}
	root := u.Scheme + "://" + u.Host + "/.well-known/oauth-protected-resource"
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	if path == "" && u.RawQuery == "" {
		return []string{root}
	}
	own := root + path
	if u.RawQuery != "" {
		own += "?" + u.RawQuery
	}
	return []string{own, root}
}

// local reports whether a URL's host is a name or an address of this machine.
func local(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// mismatchError is the error of a document that names something else than was configured.
type mismatchError struct{ text string }

func (e *mismatchError) Error() string { return e.text }

func otherIssuer(named, configured string) error {
	if named == "" {
		return &mismatchError{fmt.Sprintf("it names no issuer, and the configuration has %q", configured)}
	}
	return &mismatchError{fmt.Sprintf("the issuer in it is %q, and the configuration has %q%s", shown(named), configured, difference(named, configured, "issuer"))}
}

func otherResource(named, configured string) error {
	if named == "" {
		return &mismatchError{fmt.Sprintf("it names no resource, and the configuration has %q", configured)}
	}
	return &mismatchError{fmt.Sprintf("the resource in it is %q, and the configuration has %q%s", shown(named), configured, difference(named, configured, "mcp"))}
}

// difference names the small difference of two URLs, with what to do about it.
func difference(named, configured, key string) string {
	a, b := strings.TrimSuffix(named, "/"), strings.TrimSuffix(configured, "/")
	_, withoutA, _ := strings.Cut(a, "://")
	_, withoutB, _ := strings.Cut(b, "://")
	how := ""
	switch {
	case a == b:
		how = "a slash at the end"
	case withoutA == withoutB:
		how = "http:// and https://"
	case strings.EqualFold(a, b):
		how = "upper and lower case"
	default:
		return ""
	}
	return ": they differ by " + how + ", and " + key + " must be written as the provider writes it"
}

// maxShown bounds a foreign value in a text, in bytes.
const maxShown = 200

func shown(s string) string {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "..."
	}
	return printable.Escape(s)
}
