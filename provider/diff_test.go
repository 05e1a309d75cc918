package provider

import (
	"reflect"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
)

// TestDiff: what one side has alone, what both have otherwise, and an order that counts.
func TestDiff(t *testing.T) {
	t.Parallel()
	from := entry(t, "zoho")
	assert.Empty(t, Diff(from, from))
	to := entry(t, "zoho")
	to.ReplayClass, to.RevokeURL = perennial.ReplaySingleUse, ""
	to.AuthParams = map[string]string{"access_type": "offline", "x": "1"}
	to.HostSuffixes = append(to.HostSuffixes, "accounts.zoho.example")
	to.Spellings[0], to.Spellings[1] = to.Spellings[1], to.Spellings[0]
	to.Account = AccountSource{From: AccountFromHost}
	var got []string
	for _, c := range Diff(from, to) {
		got = append(got, c.Key+": "+c.From+" -> "+c.To)
		top, _, _ := strings.Cut(c.Key, ".")
		assert.Equal(t, effects[top], c.Effect)
		assert.NotEmpty(t, c.Effect, c.Key)
	}
	assert.Equal(t, []string{
		"revoke_url: https://{host}/oauth/v2/token/revoke -> ",
		"hosts:  -> accounts.zoho.example",
		"auth_params.prompt: consent -> ",
		"auth_params.x:  -> 1",
		"replay_class: reusable -> single_use",
		"account.from:  -> host",
		"spellings: {code: Access Denied, contains: too many requests, outcome: rate_limited}, {code: invalid_code, outcome: revoked} -> {code: invalid_code, outcome: revoked}, {code: Access Denied, contains: too many requests, outcome: rate_limited}",
	}, got)
}

// TestEveryKeyHasItsEffect: diff says of each key what a change means, but of those that
// are for people only.
func TestEveryKeyHasItsEffect(t *testing.T) {
	t.Parallel()
	people := map[string]bool{"title": true, "notes": true, "replay_source": true, "account_field": true, "remove_access": true, "evidence": true,
		"rotation": true, "grants_per_user": true, "revocation": true, "rate_limit": true, "api_hosts": true, "setup": true}
	for field := range reflect.TypeFor[Description]().Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		assert.Equal(t, !people[key], effects[key] != "", key)
	}
}
