package provider

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

const (
	maxHeaders     = 16
	maxHeaderValue = 256 // bytes
	// clientIDPlaceholder is the only place in a header's value: some APIs want the client
	// id, which is public, beside the token.
	clientIDPlaceholder = "{" + credentialClientID + "}"
)

// reservedHeaders are those that Perennial or HTTP itself sets, and those that would
// change what a request or its reply means: a part of a reply, another method, or the
// stored reply to another customer's request.
var reservedHeaders = []string{"Authorization", "Host", "Cookie", "Cookie2", "Dpop", "Accept-Encoding", "Connection", "Date", "Expect", "Keep-Alive",
	"Forwarded", "Idempotency-Key", "Origin", "Prefer", "Range", "Referer", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Via",
	"X-Http-Method", "X-Http-Method-Override", "X-Idempotency-Key", "X-Method-Override"}

// reservedHeaderPrefixes are those of whole groups of such headers.
var reservedHeaderPrefixes = []string{"Content-", "If-", "Proxy-", "Sec-", "X-Forwarded-"}

// secretHeaderParts occur in the names of headers that hold a secret.
var secretHeaderParts = []string{"secret", "token", "passw", "credential", "apikey", "accesskey", "signature", "auth"}

// headers reads the headers of a description.
func (o overlay) headers() {
	byName := map[string]string{}
	for _, name := range sortedKeys(o.d.RequestHeaders) {
		text, plain := headerProblem(name, o.d.RequestHeaders[name])
		canonical := http.CanonicalHeaderKey(name)
		if text == "" && byName[canonical] != "" {
			text = "is given twice: the case of a header's name does not count"
		}
		byName[canonical] = name
		switch key := "request_headers"; {
		case text == "":
		case plain:
			o.report(key+"."+name, text)
		default:
			o.report(key, "has a name (not shown) that "+text)
		}
	}
	if len(o.d.RequestHeaders) > maxHeaders {
		o.report("request_headers", "has more than "+strconv.Itoa(maxHeaders)+" headers")
	}
	var merged map[string]string
	for _, from := range []map[string]string{o.e.RequestHeaders, o.d.RequestHeaders} {
		if o.replace && from != nil {
			merged = nil
		}
		for name, value := range from {
			merge(&merged, map[string]string{http.CanonicalHeaderKey(name): value}, false)
		}
	}
	o.e.RequestHeaders = merged
}

// headerProblem says why a description cannot have a header, "" if it can. plain says
// that the name may be shown.
func headerProblem(name, value string) (text string, plain bool) {
	canonical := http.CanonicalHeaderKey(name)
	folded := strings.ReplaceAll(strings.ToLower(name), "-", "")
	switch {
	case !httpguts.ValidHeaderFieldName(name) || len(name) > 64 || longRun.MatchString(strings.ReplaceAll(name, "-", " ")):
		return "is no header's name", false
	case slices.Contains(reservedHeaders, canonical), slices.ContainsFunc(reservedHeaderPrefixes, func(p string) bool { return strings.HasPrefix(canonical, p) }):
		return "is set by Perennial or by HTTP itself: leave it out", true
	case value != clientIDPlaceholder && slices.ContainsFunc(secretHeaderParts, func(part string) bool { return strings.Contains(folded, part) }):
		return "is for a secret, and a description is shown to people: only " + clientIDPlaceholder + " may stand there", true
	case value == "" || len(value) > maxHeaderValue || strings.TrimSpace(value) != value || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
		return "must be one line of printable ASCII, at most " + strconv.Itoa(maxHeaderValue) + " characters, without space at its ends", true
	case longRun.MatchString(strings.NewReplacer("/", " ", ".", " ", "+", " ", "-", " ", ";", " ", "=", " ").Replace(value)):
		return "looks like a secret, and a description is shown to people: secrets do not belong here", true
	}
	return "", true
}

// setHeaders sets the description's headers in a request to the provider.
func (a App) setHeaders(h http.Header) {
	for name, value := range a.Provider.RequestHeaders {
		h.Set(name, strings.ReplaceAll(value, clientIDPlaceholder, a.ClientID))
	}
}
