// Package resource reads the replies of a provider's API, a resource server of RFC 6750:
// what a 401 means there, and which of its POSTs change nothing.
package resource

import (
	"cmp"
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strings"
)

// Unauthorized is the meaning of a 401 of a provider's API (RFC 6750 section 3.1).
type Unauthorized string

// The meanings. An unclear 401 counts as an expired token: RFC 6750 does not require an
// error code, and many providers send none.
const (
	UnauthorizedUnclear      Unauthorized = "unclear"
	UnauthorizedToken        Unauthorized = "token"         // expired, revoked or malformed: another token may help
	UnauthorizedNotPermitted Unauthorized = "not_permitted" // the token is valid but may not do this: no token helps
)

// Server is the API of one provider. The zero value has no spellings of its own.
type Server struct {
	_ struct{} `additionalProperties:"true"`

	// Spellings are its own ways to refuse a token; the first match counts.
	Spellings []Spelling `json:"spellings,omitempty" nullable:"false"`
	// ReadPosts are POSTs that change nothing: paths, * for one segment.
	ReadPosts []string `json:"read_posts,omitempty" nullable:"false"`
}

// Spelling is a provider's own way to express what a refusal means. Zero fields match
// anything. Without a status it is about a 401, and one of Code and Contains is set.
type Spelling struct {
	_ struct{} `additionalProperties:"true"`

	HTTPStatus int          `json:"http_status,omitempty" yaml:"http_status,omitempty" doc:"The HTTP status; 401 if it is left out. Another one is looked at only for means: token."`
	Code       string       `json:"code,omitempty" yaml:"code,omitempty" doc:"The error's code, compared without case."`
	Contains   string       `json:"contains,omitempty" yaml:"contains,omitempty" doc:"Part of the message, compared without case."`
	Means      Unauthorized `json:"means" yaml:"means" enum:"token,not_permitted" doc:"token: another token may help; not_permitted: the token is valid but may not do this."`
}

// ReadUnauthorized returns the meaning of a 401 of the provider's API: by the
// provider's own spelling in the body, which may be cut; otherwise by the error in
// WWW-Authenticate.
func (a Server) ReadUnauthorized(h http.Header, body []byte) Unauthorized {
	if means := a.spelled(http.StatusUnauthorized, body); means != "" {
		return means
	}
	for _, challenge := range h.Values("WWW-Authenticate") {
		switch bearerError(challenge) {
		case "invalid_token":
			return UnauthorizedToken
		case "insufficient_scope":
			return UnauthorizedNotPermitted
		}
	}
	return UnauthorizedUnclear
}

// RefusesBy reports whether the API may refuse a token by a status other than 401.
func (a Server) RefusesBy(status int) bool {
	return status != http.StatusUnauthorized && slices.ContainsFunc(a.Spellings, func(s Spelling) bool { return s.HTTPStatus == status })
}

// RefusesToken reports whether a reply of a status other than 401 refuses the token, by
// the provider's own spelling. The body may be cut.
func (a Server) RefusesToken(status int, body []byte) bool {
	return a.RefusesBy(status) && a.spelled(status, body) == UnauthorizedToken
}

// spelled returns what the first spelling that matches says, "" for none.
func (a Server) spelled(status int, body []byte) Unauthorized {
	if len(a.Spellings) == 0 {
		return ""
	}
	code, message := apiError(body)
	for _, s := range a.Spellings {
		if cmp.Or(s.HTTPStatus, http.StatusUnauthorized) == status && s.matches(code, message) {
			return s.Means
		}
	}
	return ""
}

func (s Spelling) matches(code, message string) bool {
	return (s.Code == "" || strings.EqualFold(s.Code, code)) &&
		(s.Contains == "" || strings.Contains(strings.ToLower(message), strings.ToLower(s.Contains)))
}

// maxText bounds how much of a code or a message is compared.
const maxText = 256

// apiError finds an error's code and message in a JSON object, or in the first object
// of an array, under the names that providers use.
func apiError(body []byte) (code, message string) {
	var object map[string]json.RawMessage
	var list []map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil && json.Unmarshal(body, &list) == nil && len(list) > 0 {
		object = list[0]
	}
	first := func(names ...string) string {
		for _, name := range names {
			var text string
			if json.Unmarshal(object[name], &text) == nil && text != "" {
				return text[:min(len(text), maxText)]
			}
		}
		return ""
	}
	return first("category", "errorCode", "code", "error"), first("message", "detail", "Detail", "error_description")
}

// bearerError returns the error parameter of a Bearer challenge, "" for none. Other
// schemes may stand before or after it in the same header. The bytes are the provider's
// and need not be UTF-8: nothing here changes their number.
func bearerError(challenge string) string {
	params, _ := Challenge(challenge, "Bearer")
	return Parameter(params, "error")
}

// Challenge finds the challenge of a scheme in a WWW-Authenticate header (RFC 9110
// section 11.6.1). params is the text after the scheme.
func Challenge(challenge, scheme string) (params string, ok bool) {
	for i := 0; i+len(scheme) <= len(challenge); i++ {
		before := strings.TrimRight(challenge[:i], " \t")
		after := challenge[i+len(scheme):]
		if strings.EqualFold(challenge[i:i+len(scheme)], scheme) &&
			(before == "" || strings.HasSuffix(before, ",")) &&
			(after == "" || after[0] == ' ' || after[0] == '\t') {
			return after, true
		}
	}
	return "", false
}

// Parameter finds name in the auth-params of one challenge (RFC 9110 section 11.2):
// token or quoted string, with commas between. It stops at the next scheme.
func Parameter(params, name string) string {
	for rest := params; ; {
		rest = strings.TrimLeft(rest, " \t,")
		key, after, ok := strings.Cut(rest, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" || strings.ContainsAny(key, " \t") {
			return "" // the end, or another scheme's name before its parameter
		}
		var value string
		value, rest = quotedOrToken(strings.TrimLeft(after, " \t"))
		if strings.EqualFold(key, name) {
			return value
		}
	}
}

func quotedOrToken(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:]
	}
	var out strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return out.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
			out.WriteByte(s[i])
		default:
			out.WriteByte(s[i])
		}
	}
	return out.String(), ""
}

// ReadsOnly reports whether a POST to urlPath is known to change nothing.
func (a Server) ReadsOnly(urlPath string) bool {
	for _, pattern := range a.ReadPosts {
		if ok, err := path.Match(pattern, urlPath); ok && err == nil {
			return true
		}
	}
	return false
}
