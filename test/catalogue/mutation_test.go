package catalogue

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// mutation is one mistake in an entry.
type mutation struct {
	name  string // "class reusable"
	entry provider.Entry
	// lived are the scenarios that must notice it without the sources' facts; none: the
	// facts and the replies of the sources may do so.
	lived []string
}

// mutations returns an entry with every mistake that its fixtures should notice.
func mutations(e provider.Entry) (all []mutation) {
	add := func(name string, change func(*provider.Entry), lived ...string) {
		m := e
		m.Spellings = slices.Clone(e.Spellings)
		change(&m)
		all = append(all, mutation{name, m, lived})
	}
	add("auth_style", func(m *provider.Entry) {
		m.SecretAsUser = false
		if m.AuthStyle == oauth2.AuthStyleInHeader {
			m.AuthStyle = oauth2.AuthStyleInParams
		} else {
			m.AuthStyle = oauth2.AuthStyleInHeader
		}
	}, "life")
	for _, class := range perennial.ReplayClasses {
		if class == e.ReplayClass {
			continue
		}
		lived := []string{}
		if class == perennial.ReplayReusable && e.Rotation != provider.RotationNever {
			lived = append(lived, "lost-reply", "lost-window") // the mistake that costs most
		}
		add("class "+string(class), func(m *provider.Entry) { m.ReplayClass, m.GraceWindow = class, windowOf(class) }, lived...)
	}
	for _, unit := range []time.Duration{time.Millisecond, time.Second, time.Minute} {
		if unit != cmp.Or(e.LifetimeUnit, time.Second) && e.Renewal != provider.RenewalNone {
			add("unit "+unit.String(), func(m *provider.Entry) { m.LifetimeUnit = unit })
		}
	}
	for i, s := range e.Spellings {
		add("spelling "+strconv.Quote(strings.TrimSpace(s.Code+" "+s.Contains)), func(m *provider.Entry) { m.Spellings[i] = misread(s) })
	}
	if e.TokensUnder != "" {
		add("tokens_under", func(m *provider.Entry) { m.TokensUnder = "elsewhere" })
	}
	for name := range e.MembersAt {
		if !slices.Contains([]string{"access_token", "refresh_token", "expires_in"}, name) {
			continue
		}
		add("members_at "+name, func(m *provider.Entry) {
			m.MembersAt = map[string][]string{name: {"elsewhere." + name}}
			for other, paths := range e.MembersAt {
				if other != name {
					m.MembersAt[other] = paths
				}
			}
		})
	}
	return all
}

func windowOf(class perennial.ReplayClass) time.Duration {
	if class == perennial.ReplayGrace {
		return time.Hour
	}
	return 0
}

// misread returns a spelling with another outcome.
func misread(s provider.Spelling) provider.Spelling {
	s.Fault = ""
	if s.Outcome == perennial.OutcomeRevoked {
		s.Outcome = perennial.OutcomeRejected
	} else {
		s.Outcome = perennial.OutcomeRevoked
	}
	return s
}

// TestMutations: a mistake in an entry is noticed by its sources, or by a connection's
// life at the provider that they describe. Mistakes that nothing notices are listed in
// testdata/thin.txt; a mistake that only a new entry has may be added to it, and whoever
// finds a source for one takes its line away.
func TestMutations(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	var thin []string
	type result struct {
		name string
		thin []string
	}
	found := make(chan result, len(consents()))
	t.Run("entries", func(t *testing.T) {
		for _, name := range consents() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				k, err := lookup(name)
				require.NoError(t, err)
				var lines []string
				for _, m := range mutations(k.entry) {
					if !noticed(t, database, k, m) {
						lines = append(lines, name+": "+m.name)
					}
				}
				found <- result{name, lines}
			})
		}
	})
	close(found)
	var ran []string
	for r := range found {
		ran, thin = append(ran, r.name), append(thin, r.thin...)
	}
	slices.Sort(thin)
	compareThin(t, ran, thin)
}

// thinFile lists what no source shows.
const thinFile = "testdata/thin.txt"

// compareThin compares what nothing noticed with the list, for the entries that ran: -run may have left some out.
func compareThin(t *testing.T, ran, thin []string) {
	t.Helper()
	raw, err := os.ReadFile(thinFile)
	require.NoError(t, err)
	listed := strings.Split(strings.TrimSpace(string(raw)), "\n")
	without := func(list, others []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(line string) bool { return slices.Contains(others, line) })
	}
	outdated := slices.DeleteFunc(without(listed, thin), func(line string) bool {
		name, _, _ := strings.Cut(line, ":")
		return slices.Contains(consents(), name) && !slices.Contains(ran, name)
	})
	unlisted := without(thin, listed)
	if len(unlisted) > 0 {
		t.Errorf("nothing notices these mistakes. Add a reply to the fixtures that shows what is right, from a source. Only of a new entry, and if there is no source, add the line to %s:\n%s", thinFile, strings.Join(unlisted, "\n"))
	}
	if os.Getenv("PERENNIAL_UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile(thinFile, []byte(strings.Join(without(listed, outdated), "\n")+"\n"), 0o644))
	} else if len(outdated) > 0 {
		t.Errorf("these mistakes are noticed now. Take them away with PERENNIAL_UPDATE_GOLDEN=1 go test -run TestMutations ./test/catalogue:\n%s", strings.Join(outdated, "\n"))
	}
}

// noticed reports whether anything notices a mistake.
func noticed(t *testing.T, database []byte, k known, m mutation) bool {
	t.Helper()
	var lived []scenario
	for _, s := range scenariosOf(k.entry) {
		if slices.Contains(m.lived, s.name) || len(m.lived) == 0 && slices.Contains([]string{"life", "odd-lifetime"}, s.name) {
			lived = append(lived, s)
		}
	}
	if len(m.lived) > 0 {
		return len(run(t, database, k, m.entry, lived)) > 0
	}
	return len(contradictions(k.file, m.entry)) > 0 || len(run(t, database, k, m.entry, lived)) > 0
}

// TestSources: each entry agrees with its sources.
func TestSources(t *testing.T) {
	t.Parallel()
	for _, name := range consents() {
		k, err := lookup(name)
		require.NoError(t, err)
		assert.Empty(t, contradictions(k.file, k.entry), name)
	}
}

// contradictions lists in what an entry says something else than its sources: in a fact,
// in the places where a token reply has its members, or in what a reply means.
func contradictions(f fixtures.File, e provider.Entry) (found []string) {
	play, err := fakeprovider.NewPlay(e, f)
	if err != nil {
		return []string{err.Error()}
	}
	for _, c := range provider.Diff(play.Entry, e) {
		if c.Key != "replay_source" {
			found = append(found, c.Key+" is "+c.From+", not "+c.To)
		}
	}
	found = append(found, play.Check()...)
	for _, r := range f.Replies {
		if what := misunderstood(e, r); what != "" {
			found = append(found, "the reply "+strconv.Quote(r.Name)+" "+what)
		}
	}
	return found
}

// misunderstood says how an entry reads a reply otherwise than its sources do, "" if it
// does not.
func misunderstood(e provider.Entry, r fixtures.Reply) string {
	e.TokenURL = "https://provider.example/token"
	app := provider.App{Name: "app", ClientID: "client", Provider: e}
	client := provider.NewClient(provider.ClientConfig{Transport: fixed(r)})
	token, secret := perennial.NewSecret("presented"), perennial.NewSecret("secret")
	if stored, err := e.Stored(perennial.TokenSet{AccessToken: token}); err == nil && e.Renewal != provider.RenewalRefreshToken {
		token = stored.RefreshToken
	}
	var got provider.Reply
	if r.Exchange {
		got = client.Exchange(context.Background(), app, secret, provider.AuthorizationCode{Code: token, Verifier: token, RedirectURI: baseURL})
	} else {
		got = client.Refresh(context.Background(), app, secret, token, func(context.Context) error { return nil })
	}
	account := ""
	if len(got.Accounts) > 0 {
		account = got.Accounts[0].ID
	}
	switch life := got.Tokens.ExpiresIn; {
	case got.Outcome != r.Outcome:
		return "is read as " + string(got.Outcome)
	case account != r.Account:
		return "is read as of account " + strconv.Quote(account)
	case provider.Span(r.Lifetime).Duration() != life:
		return "is read to live for " + life.String()
	}
	return ""
}

// fixed is a transport that always gives this reply.
type fixed fixtures.Reply

func (f fixed) RoundTrip(req *http.Request) (*http.Response, error) {
	header := http.Header{}
	for name, value := range f.Headers {
		header.Set(name, value)
	}
	return &http.Response{StatusCode: f.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Request: req,
		Body: io.NopCloser(bytes.NewReader([]byte(f.Body))), ContentLength: int64(len(f.Body))}, nil
}

// TestThinIsSorted: a line for each mistake, each once.
func TestThinIsSorted(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.FromSlash(thinFile))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	assert.True(t, slices.IsSorted(lines))
	assert.Len(t, slices.Compact(slices.Clone(lines)), len(lines))
}
