// Package plainurl checks URLs to which tokens and secrets are sent.
package plainurl

import (
	"net"
	"net/url"
)

// Bad says what is wrong with a URL, "" if nothing is. Tokens may travel only over TLS,
// except within this machine. The text does not repeat the URL.
func Bad(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "":
		return "is not a whole URL"
	case u.User != nil || u.Fragment != "":
		return "must not hold credentials or a fragment"
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return ""
	default:
		return "must begin with https:// (http:// only on this machine)"
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
