package provider

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// TestEntries: every entry is complete, and says how its replay class is known.
func TestEntries(t *testing.T) {
	t.Parallel()
	require.True(t, slices.IsSorted(Names()), Names())
	require.Len(t, slices.Compact(Names()), len(Names()))
	for _, name := range Names() {
		e := entry(t, name)
		assert.NotEmpty(t, e.Title, name)
		assert.NotEmpty(t, e.ReplaySource, name)
		if e.ReplayClass == perennial.ReplayUnknown {
			assert.Regexp(t, "not documented|third party", e.ReplaySource, name)
		}
		assert.Equal(t, e.ReplayClass == perennial.ReplayGrace, e.GraceWindow > 0, name)
		for _, s := range e.Spellings {
			assert.NotZero(t, s.Code+s.Contains, "%s: a spelling that matches anything", name)
			assert.Contains(t, perennial.Outcomes, s.Outcome, name)
			if s.Code != "" && !numberCode.MatchString(s.Code) {
				assert.Equal(t, s.Code, codeOf(s.Code), "%s: a code that is never kept is never matched", name)
			}
		}
		if name == "generic" {
			continue // the configuration completes it
		}
		assert.NoError(t, e.placed().Validate(), name)
		if e.unplaced() {
			assert.ErrorContains(t, e.Validate(), "token_url is needed", name)
		} else {
			assert.Equal(t, e.Grant.FromCredentials(), e.AuthURL == "", name)
		}
		for _, raw := range []string{e.AuthURL, e.TokenURL, e.RefreshURL, e.IntrospectURL, e.RevokeURL} {
			u, err := url.Parse(strings.ReplaceAll(raw, "{host}", "host.example"))
			require.NoError(t, err, name)
			assert.True(t, raw == "" || u.Scheme == "https" && u.Host != "", raw)
		}
	}
}

// TestReplaySources: what only a third party says is marked as such.
func TestReplaySources(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"atlassian", "salesforce"} {
		assert.Contains(t, entry(t, name).ReplaySource, "third party", name)
	}
}

// TestLookupCopies: settings that the configuration adds to an entry do not change the
// catalogue.
func TestLookupCopies(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"slack", "zoho", "zendesk"} {
		one := entry(t, name)
		for i := range one.Spellings {
			one.Spellings[i] = Spelling{}
		}
		for i := range one.HostSuffixes {
			one.HostSuffixes[i] = "evil.com"
		}
		for i := range one.MetadataFields {
			one.MetadataFields[i] = ""
		}
		clear(one.RefreshParams)
		other := entry(t, name)
		assert.NotContains(t, other.Spellings, Spelling{})
		assert.NotContains(t, other.HostSuffixes, "evil.com")
		assert.NotContains(t, other.MetadataFields, "")
		assert.Equal(t, name == "zendesk", len(other.RefreshParams) > 0)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Entry)
		want   string
	}{
		"no endpoint":                  {func(e *Entry) { e.TokenURL = "" }, "token_url is needed"},
		"an auth style to be guessed":  {func(e *Entry) { e.AuthStyle = oauth2.AuthStyleAutoDetect }, "auth_style must be one of header, params, none, private_key_jwt, client_secret_jwt, tls_client_auth: probing"},
		"a secret as user in the form": {func(e *Entry) { e.SecretAsUser, e.AuthStyle = true, oauth2.AuthStyleInParams }, "auth_style must be header"},
		"a certificate without TLS":    {func(e *Entry) { e.AuthStyle, e.TokenURL = AuthStyleTLS, "http://localhost/t" }, "needs a token_url with https"},
		"any host":                     {func(e *Entry) { e.TokenURL = "https://{host}/token" }, "say in hosts which there may be"},
		"no such class":                {func(e *Entry) { e.ReplayClass = "maybe" }, "replay_class"},
		"a class from nowhere":         {func(e *Entry) { e.ReplaySource = "" }, "where its replay class is documented"},
		"a grace without an end":       {func(e *Entry) { e.GraceWindow = 0 }, "needs a grace_window"},
	} {
		e := entry(t, "xero")
		require.NoError(t, e.Validate())
		c.change(&e)
		err := e.Validate()
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), name)
		assert.Contains(t, err.Error(), c.want, name)
	}
}

// TestEvidenceHasAddresses: whoever doubts a fact that the catalogue has from the
// provider can look it up.
func TestEvidenceHasAddresses(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		for _, found := range entry(t, name).Evidence {
			if found.By == "provider" {
				u, err := url.Parse(found.Source)
				assert.True(t, err == nil && u.Scheme == "https" && u.Host != "", "%s: %s has no https address: %s", name, found.Facts, found.Source)
			}
		}
	}
}

// tenFacts are the facts that each entry says the source of, or that nobody documents.
var tenFacts = []string{"rotation", "replay", "lifetime", "idle_clock", "hard_clock", "refusal", "wrong_client", "rate_limit", "account", "revocation"}

// TestEvidenceIsWhole: no fact of an entry is without a source, and what nobody
// documents has none.
func TestEvidenceIsWhole(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		if name == "generic" {
			continue
		}
		known := map[string][]string{}
		for _, found := range entry(t, name).Evidence {
			for _, fact := range found.Facts {
				known[fact] = append(known[fact], found.By)
			}
		}
		for _, fact := range tenFacts {
			assert.NotEmpty(t, known[fact], "%s: evidence for %s", name, fact)
			assert.False(t, len(known[fact]) > 1 && slices.Contains(known[fact], "not_documented"), "%s: %s is documented and is not", name, fact)
		}
	}
}
