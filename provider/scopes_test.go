package provider

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestMissingScopes: a scope counts as granted if the reply names it, or one that the
// entry says to mean it; nothing else does.
func TestMissingScopes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ required, granted, want string }{
		"generic: one of two":             {"a b", "b c", "a"},
		"generic: another case":           {"a b", "A b", "a"},
		"generic: nothing granted":        {"a b", " ", "a b"},
		"generic: what asks for a token":  {"a openid offline_access", "a", ""},
		"generic: its resource in front":  {"User.Read", "https://graph.example/User.Read", ""},
		"generic: the end of another":     {"Read", "https://graph.example/User.Read", "Read"},
		"generic: a path, no URL":         {"read", "contacts/read", "read"},
		"generic: nothing is implied":     {"read_orders", "write_orders", "read_orders"},
		"shopify: write implies read":     {"read_inventory write_inventory read_orders", "write_inventory read_orders", ""},
		"shopify: of the same noun only":  {"read_products", "write_inventory", "read_products"},
		"shopify: read implies nothing":   {"write_orders", "read_orders", "write_orders"},
		"shopify: of the storefront":      {"unauthenticated_read_checkouts read_checkouts", "unauthenticated_write_checkouts", "read_checkouts"},
		"shopify: the star is not empty":  {"read_", "write_", "read_"},
		"microsoft: another case":         {"user.read Mail.Read", "User.Read mail.read", ""},
		"microsoft: a prefix of ours":     {"https://graph.microsoft.com/User.Read", "User.Read", ""},
		"microsoft: a prefix of theirs":   {"user.read", "https://graph.microsoft.com/User.Read", ""},
		"microsoft: everything consented": {"https://graph.microsoft.com/.default", "User.Read", ""},
		"microsoft: another one":          {"User.ReadWrite", "User.Read", "User.ReadWrite"},
		"google: under other names":       {"openid email https://www.googleapis.com/auth/drive", "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/drive", ""},
		"google: a permission refused":    {"https://www.googleapis.com/auth/drive", "openid", "https://www.googleapis.com/auth/drive"},
	} {
		of, _, _ := strings.Cut(name, ":")
		assert.Equal(t, strings.Fields(c.want), append([]string{}, entry(t, of).MissingScopes(strings.Fields(c.required), strings.Fields(c.granted))...), name)
	}
	assert.Nil(t, Entry{}.MissingScopes([]string{"a"}, nil), "a reply without scopes grants those that were asked for")
}

// TestScopeRulesOfTheConfiguration: stars have their places.
func TestScopeRulesOfTheConfiguration(t *testing.T) {
	t.Parallel()
	for wide, narrow := range map[string]string{"*_*": "x", "write": "read_*", "write_*": "*_*"} {
		n := 0
		Description{ScopesImply: map[string][]string{wide: {narrow}}}.Over(Entry{}, false, func(key, text string) {
			n++
			assert.Equal(t, "scopes_imply."+wide, key)
			assert.Contains(t, text, "one * on each side")
		})
		assert.Equal(t, 1, n, wide)
	}
	e := Entry{ScopesImply: map[string][]string{"admin": {"read", "write"}, "write_*": {"read_*", "list"}}}
	assert.Equal(t, []string{"other"}, e.MissingScopes([]string{"read", "write", "read_x", "list", "other"}, []string{"admin", "write_x"}))
}
