package provider

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// hostPlaceholder stands in an entry's URLs if each account has its own host.
const hostPlaceholder = "{host}"

// maxHost is the longest name in the DNS (RFC 1035 section 2.3.4).
const maxHost = 253

var hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// HostNeeded reports whether each account has its own token endpoint.
func (e Entry) HostNeeded() bool { return strings.Contains(e.TokenURL, hostPlaceholder) }

// Host returns the host of the token endpoint, with its port if it names one. It is empty
// if each account has its own.
func (e Entry) Host() string {
	u, err := url.Parse(e.TokenURL)
	if err != nil || e.HostNeeded() {
		return ""
	}
	return u.Host
}

// At returns the app for an account at host: it replaces {host} in the URLs. If the
// token endpoint is the same for all accounts, it returns the app unchanged. A host
// that the entry does not allow is an error of [perennial.CodeInvalid], because a
// refresh token must not go anywhere else. If the entry names no hosts, only those of
// this machine are allowed.
func (a App) At(host string) (App, error) {
	if !a.Provider.HostNeeded() {
		return a, nil
	}
	if !a.Provider.allows(host) {
		return a, perennial.Errorf(perennial.CodeInvalid, "app %s: give the account's host at %s in lower case and without a path, as one of: %s; a port is allowed on this machine only",
			a.Name, a.Provider.Title, a.Provider.allowedHosts())
	}
	fill := strings.NewReplacer(hostPlaceholder, host)
	for _, address := range []*string{&a.Provider.AuthURL, &a.Provider.TokenURL, &a.Provider.RefreshURL, &a.Provider.IntrospectURL, &a.Provider.RevokeURL, &a.Provider.Account.URL, &a.Provider.Account.SandboxURL, &a.Provider.Assertion.Audience,
		&a.Provider.Exchange.URL, &a.Provider.FirstExchange.URL, &a.Provider.CheckURL} {
		*address = fill.Replace(*address)
	}
	return a, nil
}

// NamedHost returns the host that an authorization response names for the account, and
// whether it names one. The response comes through a browser, so a name counts only if
// it stands in the entry's hosts as a whole: another one is returned with false. A code
// must never go to a server that somebody else may own.
func (a App) NamedHost(response url.Values) (host string, listed bool) {
	if a.Provider.HostFrom == "" {
		return "", false
	}
	named := response.Get(a.Provider.HostFrom)
	if u, err := url.Parse(named); err == nil && u.Host != "" {
		named = u.Host
	}
	host = strings.ToLower(named)
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	return host, a.Provider.allows(host) && slices.Contains(a.Provider.HostSuffixes, name)
}

// allows reports whether host is a plain name that one of the suffixes matches. Only a
// host of this machine may have a port.
func (e Entry) allows(host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	} else if !isPort(port) || !isLoopback(name) {
		return false
	}
	if len(name) > maxHost || !hostForm.MatchString(name) {
		return false
	}
	if len(e.HostSuffixes) == 0 {
		return isLoopback(name)
	}
	for _, suffix := range e.HostSuffixes {
		if name == suffix || strings.HasPrefix(suffix, ".") && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// isWholeName reports whether an element of an entry's hosts stands for one host only.
func isWholeName(host string) bool { return !strings.HasPrefix(host, ".") }

func (e Entry) allowedHosts() string {
	if len(e.HostSuffixes) == 0 {
		return "localhost"
	}
	var hosts []string
	for _, suffix := range e.HostSuffixes {
		if !isWholeName(suffix) {
			suffix = "<account>" + suffix
		}
		hosts = append(hosts, suffix)
	}
	return strings.Join(hosts, ", ")
}

func isPort(s string) bool {
	port, err := strconv.ParseUint(s, 10, 16)
	return err == nil && port > 0
}

func isLoopback(name string) bool {
	ip := net.ParseIP(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || ip != nil && ip.IsLoopback()
}
