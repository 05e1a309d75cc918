package provider

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"

	"github.com/perennial-oauth/perennial/internal/plainurl"
	"golang.org/x/net/publicsuffix"
)

// endpoints lays the description's URLs and hosts over the entry's.
func (o overlay) endpoints() {
	if o.d.TokenURL != "" && hostOf(o.d.TokenURL) != hostOf(o.e.TokenURL) {
		// The entry's endpoints must not get another server's tokens.
		o.e.RefreshURL, o.e.IntrospectURL, o.e.RevokeURL = "", "", ""
		o.e.Exchange, o.e.FirstExchange, o.e.CheckURL = TokenExchange{}, TokenExchange{}, ""
	}
	if o.d.Hosts != nil {
		o.hosts("hosts", o.d.Hosts)
		o.e.HostSuffixes = o.d.Hosts
	}
	o.e.HostFrom = cmp.Or(o.d.HostFrom, o.e.HostFrom)
	for _, u := range []struct {
		key, value string
		to         *string
	}{
		{"auth_url", o.d.AuthURL, &o.e.AuthURL},
		{"token_url", o.d.TokenURL, &o.e.TokenURL},
		{"refresh_url", o.d.RefreshURL, &o.e.RefreshURL},
		{"introspect_url", o.d.IntroURL, &o.e.IntrospectURL},
		{"revoke_url", o.d.RevokeURL, &o.e.RevokeURL},
	} {
		if u.value != "" {
			o.url(u.key, u.value, o.e.HostSuffixes)
			*u.to = u.value
		}
	}
}

// refreshURL returns where refreshes go. If the token endpoint alone is at another host,
// they go there too: no other host may get its tokens.
func (e Entry) refreshURL() string {
	if e.RefreshURL == "" || hostOf(e.RefreshURL) != hostOf(e.TokenURL) {
		return e.TokenURL
	}
	return e.RefreshURL
}

// hostOf returns a URL's host and port, "" if the URL cannot be parsed.
func hostOf(raw string) string {
	u, err := url.Parse(strings.ReplaceAll(raw, hostPlaceholder, "host.invalid"))
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}

// hosts refuses what is no host's name, and a domain below which anybody can have a name:
// the client's secret would go there.
func (o overlay) hosts(at string, hosts []string) {
	for i, host := range hosts {
		key := at + "." + strconv.Itoa(i)
		domain := strings.TrimPrefix(host, ".")
		suffix, icann := publicsuffix.PublicSuffix(domain)
		switch {
		case len(domain) > maxHost || !hostForm.MatchString(domain):
			o.report(key, "must be a host's name in lower case, without a scheme, a port and a path")
		case domain != host && suffix == domain && (icann || !strings.Contains(domain, ".")) && !isLoopback(domain):
			o.report(key, "is open to everybody: name a domain of the provider")
		}
	}
}

// url reports what is wrong with a URL. {host} in it stands for each of hosts.
func (o overlay) url(key, raw string, hosts []string) {
	if !strings.Contains(raw, hostPlaceholder) {
		hosts = []string{""}
	}
	if len(hosts) == 0 {
		o.report(key, "has a {host}: say in hosts which there may be")
	}
	for _, host := range hosts {
		if strings.HasPrefix(host, ".") {
			host = "x" + host
		}
		if why := plainurl.Bad(strings.ReplaceAll(raw, hostPlaceholder, host)); why != "" {
			o.report(key, why)
			return
		}
	}
}
