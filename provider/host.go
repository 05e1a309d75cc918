package provider

import (
	"net"
	"regexp"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// hostPlaceholder stands in an entry's URLs where each account has a host of its
// own.
const hostPlaceholder = "{host}"

var hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// HostNeeded reports whether each account has a token endpoint of its own.
func (e Entry) HostNeeded() bool { return strings.Contains(e.TokenURL, hostPlaceholder) }

// At returns the app as it is at host: {host} in its URLs is replaced. An app
// whose token endpoint is the same for all accounts is returned unchanged. A host
// that the entry does not allow is an error of [perennial.CodeInvalid]: a refresh
// token must not be sent anywhere else.
func (a App) At(host string) (App, error) {
	if !a.Provider.HostNeeded() {
		return a, nil
	}
	if !a.Provider.allows(host) {
		return a, perennial.Errorf(perennial.CodeInvalid, "app %s: the account's host is not one of %s (allowed: %s); a port is allowed on this machine only",
			a.Name, a.Provider.Title, strings.Join(a.Provider.HostSuffixes, ", "))
	}
	fill := strings.NewReplacer(hostPlaceholder, host)
	for _, url := range []*string{&a.Provider.AuthURL, &a.Provider.TokenURL, &a.Provider.IntrospectURL, &a.Provider.RevokeURL} {
		*url = fill.Replace(*url)
	}
	return a, nil
}

// allows reports whether host is a plain name that one of the suffixes matches.
func (e Entry) allows(host string) bool {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if name = h; !hostForm.MatchString(port) || !isLoopback(h) {
			return false
		}
	}
	if !hostForm.MatchString(name) {
		return false
	}
	for _, suffix := range e.HostSuffixes {
		if name == suffix || strings.HasPrefix(suffix, ".") && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

func isLoopback(name string) bool {
	ip := net.ParseIP(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || ip != nil && ip.IsLoopback()
}
