package providerpages

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

const folder = "../../docs/providers"

// generic has no facts: the configuration completes it.
const generic = "generic"

func entries(t testing.TB) []provider.Entry {
	t.Helper()
	var all []provider.Entry
	for _, name := range provider.Names() {
		if name == generic {
			continue
		}
		e, ok := provider.Lookup(name)
		require.True(t, ok)
		all = append(all, e)
	}
	return all
}

// TestGoldenPages: docs/providers is what the catalogue says, and nothing else is there.
func TestGoldenPages(t *testing.T) {
	t.Parallel()
	want := map[string]string{"README.md": Index(entries(t))}
	for _, e := range entries(t) {
		want[e.Name+".md"] = Page(e)
	}
	there, err := filepath.Glob(filepath.Join(folder, "*"))
	require.NoError(t, err)
	update := os.Getenv("PERENNIAL_UPDATE_GOLDEN") != ""
	for _, file := range there {
		if _, ok := want[filepath.Base(file)]; !ok && update {
			require.NoError(t, os.Remove(file))
		} else {
			assert.True(t, ok, "%s is of no provider: run `make pages`", file)
		}
	}
	for name, text := range want {
		file := filepath.Join(folder, name)
		if update {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
			continue
		}
		raw, err := os.ReadFile(file)
		assert.NoError(t, err, "run `make pages`")
		assert.True(t, text == string(raw), "%s is stale: run `make pages`", file)
	}
}

// TestPageIsWhole: whatever a description says to people is on its page. A description that
// says nothing has no blank cell.
func TestPageIsWhole(t *testing.T) {
	t.Parallel()
	full := fill.Of[provider.Entry]()
	full.AuthStyle, full.Rotation, full.ReplayClass, full.SecretAsUser, full.RefreshWithin = oauth2.AuthStyleInHeader, provider.RotationSometimes, perennial.ReplayGrace, true, time.Minute
	full.TokenURL, full.Account.From = "https://{host}/token", provider.AccountFromURL
	full.Spellings = []provider.Spelling{{HTTPStatus: 418, Code: "code of death", Contains: "the word", Outcome: perennial.OutcomeRevoked}}
	full.Evidence = []provider.Evidence{{Facts: []string{"revocation"}, By: "provider", Source: "https://p.example/revoke", Date: "2026-11-28"}}
	full.Grant = provider.GrantAuthorizationCode
	page := Page(full)
	for _, text := range []string{full.Title, full.Notes, full.Revocation, full.RateLimit, full.ReplaySource, full.RemoveAccess, full.AccountField, full.Account.URL, full.RequestIDHeader,
		full.Setup.Register, full.Setup.RedirectURIs, full.Setup.RefreshToken, full.Setup.Sandbox, full.APIHosts[0], full.HostSuffixes[0],
		fmt.Sprint(full.GrantsPerUser), span(full.GraceWindow), span(full.IdleLifetime), span(full.GrantLifetime), span(full.DefaultLifetime), "last 1 minute", "user name", "JSON",
		"ends with the refresh", "checks the client before", "code of death", "status 418", "the word", "https://p.example/revoke", "2026-11-28", "sometimes"} {
		assert.Contains(t, page, text)
	}
	for _, e := range append(entries(t), full, provider.Entry{Name: "new", Title: "New"}) {
		for _, text := range []string{Page(e), Index([]provider.Entry{e})} {
			for _, cell := range cells(text) {
				assert.NotEmpty(t, strings.TrimSpace(cell), e.Name)
			}
			assert.NotContains(t, text, "%!", e.Name)
			assert.NotContains(t, text, "****", e.Name)
		}
	}
	given := full
	given.Grant, given.AuthStyle, given.SecretAsUser = provider.GrantJWTBearer, provider.AuthStyleNone, false
	for _, text := range []string{full.Credentials[0], full.CredentialsOptional[0], "client_key_file", "no consent"} {
		assert.Contains(t, Page(given), text)
	}
	assert.NotContains(t, Page(given), "client_secret_env")
	empty := Page(provider.Entry{Name: "new", Title: "New"})
	assert.Contains(t, empty, "How ten facts are known: 0 from New itself, 0 measured, 0 from third parties, 0 looked for and not documented, 10 not looked up.")
	assert.Contains(t, empty, "| rotation, replay of an old refresh token, life of the access token, unused refresh token, hard end of the grant, refusal of a dead grant, refusal of a wrong client, rate limit, account, revocation | *not looked up* | - | - |")
}

// TestLinks: a link within the repository leads to a file.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, e := range entries(t) {
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(Page(e)+Index([]provider.Entry{e}), -1) {
			if _, page := provider.Lookup(strings.TrimSuffix(link[1], ".md")); !page {
				_, err := os.Stat(filepath.Join(folder, link[1]))
				assert.NoError(t, err, e.Name)
			}
		}
	}
}

// TestNoSilence: where no value is known, the page says whether the provider has none,
// nobody wrote it down, or nobody looked.
func TestNoSilence(t *testing.T) {
	t.Parallel()
	for by, want := range map[string]string{"provider": "never", "third_party": seeSource, "measured": seeSource, "not_documented": "*not documented*", "": "*not looked up*"} {
		e := provider.Entry{}
		if by != "" {
			e.Evidence = []provider.Evidence{{Facts: []string{"idle_clock", "hard_clock", "rate_limit"}, By: by}}
		}
		assert.Equal(t, want, value(e, "idle_clock", ""), by)
		assert.Equal(t, want, value(e, "hard_clock", ""), by)
		assert.Equal(t, "after 60 days", value(e, "idle_clock", "after 60 days"), by)
		if by == "provider" {
			want = seeSource // that there is a limit, and not which
		}
		assert.Equal(t, want, value(e, "rate_limit", ""), by)
	}
}

// TestSpan writes durations in their largest whole unit.
func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{5 * 365 * day: "5 years", 60 * day: "60 days", day: "1 day", 36 * time.Hour: "36 hours", 90 * time.Minute: "90 minutes", time.Minute: "1 minute", 30 * time.Second: "30 seconds", 1500 * time.Millisecond: "1.5s"} {
		assert.Equal(t, want, span(d))
	}
}

// FuzzPage: no text of a description, which people write, breaks a page: it opens no
// element of HTML, and every row of a table has the cells of its head.
func FuzzPage(f *testing.F) {
	f.Add("<server>/realms/<realm> | `x`\n\n# y *z* [a](b)")
	f.Add("https://p.example/a|b?(c)")
	f.Add("\\| \xff")
	f.Fuzz(func(t *testing.T, text string) {
		e := provider.Entry{Name: "p", Title: text, Notes: text, ReplaySource: text, Revocation: text, RateLimit: text, RemoveAccess: text, AccountField: text,
			RequestIDHeader: text, APIHosts: []string{text}, Setup: provider.Setup{Register: text, RedirectURIs: text, RefreshToken: text, Sandbox: text},
			AuthParams: map[string]string{text: text}, Account: provider.AccountSource{From: provider.AccountFromURL, Name: text, URL: text},
			Spellings: []provider.Spelling{{Code: text, Contains: text}}, Evidence: []provider.Evidence{{Facts: []string{"replay"}, By: "third_party", Source: text, Date: text}}}
		for _, page := range []string{Page(e), Index([]provider.Entry{e})} {
			columns := 0
			for line := range strings.Lines(page) {
				if !strings.HasPrefix(line, "|") {
					columns = 0
					continue
				}
				n := pipes(line)
				if columns == 0 {
					columns = n
				}
				require.Equal(t, columns, n, line)
			}
		}
	})
}

// pipes counts the bars of a row that part its cells.
func pipes(line string) (n int) {
	for i := range len(line) {
		if line[i] == '|' && (i == 0 || line[i-1] != '\\') {
			n++
		}
	}
	return n
}

// cells returns every cell of every table of a page.
func cells(page string) []string {
	var out []string
	for line := range strings.Lines(page) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "|") && line != "|  |  |" && !strings.HasPrefix(line, "|---") && !strings.HasPrefix(line, "|  |  | who") {
			line = strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "/")
			out = append(out, strings.Split(line, "|")...)
		}
	}
	return out
}
