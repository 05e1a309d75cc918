package provider

import (
	"net"
	"net/url"
	"regexp"
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
	for _, address := range []*string{&a.Provider.AuthURL, &a.Provider.TokenURL, &a.Provider.IntrospectURL, &a.Provider.RevokeURL, &a.Provider.Account.URL, &a.Provider.Account.SandboxURL} {
		*address = fill.Replace(*address)
	}
	return a, nil
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

func (e Entry) allowedHosts() string {
	if len(e.HostSuffixes) == 0 {
		return "localhost"
	}
	var hosts []string
	for _, suffix := range e.HostSuffixes {
		if strings.HasPrefix(suffix, ".") {
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
