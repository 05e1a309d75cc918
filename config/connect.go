package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// connect checks the settings of connect links. All are optional: without a
// base_url no link is made.
func (l *loader) connect(f fileConnect) Connect {
	c := Connect{BaseURL: strings.TrimSuffix(f.BaseURL, "/"), ReturnURLs: f.ReturnURLs, Product: f.Product, HelpURL: f.HelpURL}
	type named struct{ key, value string }
	urls := []named{{"base_url", f.BaseURL}, {"help_url", f.HelpURL}}
	for i, u := range f.ReturnURLs {
		urls = append(urls, named{fmt.Sprintf("return_urls.%d", i), u})
	}
	for _, u := range urls {
		if u.value == "" && !strings.HasPrefix(u.key, "return_urls") {
			continue
		}
		why := badPlainURL(u.value)
		if parsed, err := url.Parse(u.value); why == "" && err == nil && u.key != "help_url" && parsed.RawQuery != "" {
			why = "must not hold a query"
		}
		if why != "" {
			key, _, _ := strings.Cut(u.key, ".")
			l.at("connect."+u.key, "connect: %s %s", key, why)
		}
	}
	c.Lifetime = l.duration("connect.lifetime", "connect: lifetime", f.Lifetime)
	if c.Lifetime != 0 && (c.Lifetime < time.Minute || c.Lifetime > 24*time.Hour) {
		l.at("connect.lifetime", "connect: lifetime must be from 1m to 24h")
	}
	return c
}
