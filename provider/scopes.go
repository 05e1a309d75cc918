package provider

import (
	"slices"
	"strings"
)

// protocolScopes ask for a token instead of a permission: an ID token (OpenID Connect
// Core section 3.1.2.1) and a refresh token (section 11). Many replies do not name them.
// A missing token has an outcome of its own.
var protocolScopes = []string{"openid", "offline_access"}

// MissingScopes returns the required scopes that were not granted. A nil granted means
// that the reply named none: the grant then has the requested scopes (RFC 6749 section
// 5.1). A provider may write a scope with its resource in front
// (https://graph.microsoft.com/User.Read), in another case, or as a wider one that
// implies it; the entry says which.
func (e Entry) MissingScopes(required, granted []string) []string {
	if granted == nil {
		return nil
	}
	var missing []string
	for _, want := range required {
		named := slices.ContainsFunc(granted, func(have string) bool { return e.covers(e.plainScope(have), e.plainScope(want)) })
		if !named && !e.unnamed(want) {
			missing = append(missing, want)
		}
	}
	return missing
}

// plainScope returns a scope in the form in which scopes are compared.
func (e Entry) plainScope(scope string) string {
	for _, prefix := range e.ScopePrefixes {
		if rest, ok := strings.CutPrefix(scope, prefix); ok && rest != "" {
			scope = rest
			break
		}
	}
	if e.ScopesIgnoreCase {
		return strings.ToLower(scope)
	}
	return scope
}

// covers reports whether the granted scope is the wanted one, or implies it.
func (e Entry) covers(have, want string) bool {
	if have == want || strings.Contains(have, "://") && strings.HasSuffix(have, "/"+want) {
		return true
	}
	for wide, narrow := range e.ScopesImply {
		star, ok := matchScope(e.plainScope(wide), have)
		if ok && slices.ContainsFunc(narrow, func(n string) bool { return strings.Replace(e.plainScope(n), "*", star, 1) == want }) {
			return true
		}
	}
	return false
}

func (e Entry) unnamed(want string) bool {
	return slices.ContainsFunc(slices.Concat(protocolScopes, e.ScopesUnnamed), func(pattern string) bool {
		_, ok := matchScope(pattern, want)
		return ok
	})
}

// matchScope matches a scope with a pattern in which one * stands for any text that is
// not empty, which it returns.
func matchScope(pattern, scope string) (star string, ok bool) {
	before, after, found := strings.Cut(pattern, "*")
	if !found {
		return "", pattern == scope
	}
	if len(scope) <= len(before)+len(after) || !strings.HasPrefix(scope, before) || !strings.HasSuffix(scope, after) {
		return "", false
	}
	return scope[len(before) : len(scope)-len(after)], true
}
