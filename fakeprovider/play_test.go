package fakeprovider

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// TestPlayedReplies: what is played has the sample's members, in its form and its units,
// and is read as it is meant.
func TestPlayedReplies(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		describe func(*provider.Entry)
		sample   string
		want     string
	}{
		"RFC 6749": {nil, `{"access_token":"x","token_type":"bearer","expires_in":5,"refresh_token":"y","scope":"a b"}`,
			`{"access_token":"A","expires_in":1800,"refresh_token":"R","scope":"one two","token_type":"bearer"}`},
		"nested, in minutes, as text": {func(e *provider.Entry) {
			e.TokensUnder, e.LifetimeUnit = "data.token", time.Minute
		}, `{"data":{"token":{"accessToken":"x","refreshToken":"y","expires_in":"60"}}}`,
			`{"data":{"token":{"accessToken":"A","expires_in":"30","refreshToken":"R"}}}`},
		"under other names": {func(e *provider.Entry) {
			e.MembersAt = map[string][]string{"access_token": {"key.now"}, "refresh_token": {"key.next"}, "expires_in": {"key.life"}}
		}, `{"key":{"now":"x","next":"y","life":7}}`, `{"key":{"life":1800,"next":"R","now":"A"}}`},
		"under its own name instead": {func(e *provider.Entry) { e.MembersAt = map[string][]string{"scope": {"scopes"}} },
			`{"access_token":"x","refresh_token":"y","scope":"a"}`, `{"access_token":"A","refresh_token":"R","scope":"one two"}`},
		"null":                  {nil, `{"access_token":"x","refresh_token":"y","expires_in":null,"scope":null}`, `{"access_token":"A","expires_in":null,"refresh_token":"R","scope":null}`},
		"an instant as a date":  {nil, `{"access_token":"x","refresh_token":"y","expires_at":"2020-01-01T00:00:00Z"}`, `{"access_token":"A","expires_at":"2026-03-01T12:30:00Z","refresh_token":"R"}`},
		"an instant in ms":      {nil, `{"access_token":"x","refresh_token":"y","expires_at":1577836800000}`, `{"access_token":"A","expires_at":1772368200000,"refresh_token":"R"}`},
		"scopes with commas":    {nil, `{"access_token":"x","refresh_token":"y","scope":"a,b"}`, `{"access_token":"A","refresh_token":"R","scope":"one,two"}`},
		"scopes in a list":      {nil, `{"access_token":"x","refresh_token":"y","scopes":["a"]}`, `{"access_token":"A","refresh_token":"R","scopes":["one","two"]}`},
		"a form":                {nil, `access_token=x&refresh_token=y&expires_in=5`, `access_token=A&expires_in=1800&refresh_token=R`},
		"behind a guard":        {nil, ")]}'\n{\"access_token\":\"x\",\"refresh_token\":\"y\"}", ")]}'\n{\"access_token\":\"A\",\"refresh_token\":\"R\"}"},
		"two objects of tokens": {nil, `{"access_token":"x","refresh_token":"y","user":{"access_token":"u","refresh_token":"v"}}`, `{"access_token":"A","refresh_token":"R","user":{"access_token":"u","refresh_token":"v"}}`},
	} {
		e := provider.Entry{Name: name, TokenURL: "https://p.example/token", AuthStyle: oauth2.AuthStyleInParams}
		if c.describe != nil {
			c.describe(&e)
		}
		sample := fixtures.Reply{Name: name, Status: 200, Body: c.sample, Outcome: perennial.OutcomeRefreshed}
		p, err := NewPlay(e, fixtures.File{Replies: []fixtures.Reply{sample}})
		require.NoError(t, err, name)
		p.Entry.MembersAt, p.Entry.TokensUnder, p.Entry.LifetimeUnit = e.MembersAt, e.TokensUnder, e.LifetimeUnit
		out := TokenReply{AccessToken: "A", RefreshToken: "R", ExpiresIn: int64(1800), Scope: "one two"}
		assert.Equal(t, c.want, strings.TrimSpace(string(p.tokens(fixtures.KindRefreshed, out, "", now).body)), name)
		assert.Empty(t, p.Check(), name)
	}
}

// TestCheck: a description that looks for a member where the sample has none is noticed.
func TestCheck(t *testing.T) {
	t.Parallel()
	sample := fixtures.Reply{Name: "one", Status: 200, Body: `{"data":{"access_token":"x","refresh_token":"y"},"org":{"id":7}}`, Outcome: perennial.OutcomeRefreshed, Exchange: true}
	for name, c := range map[string]struct {
		describe func(*provider.Entry)
		differs  bool
	}{
		"right":          {func(e *provider.Entry) { e.TokensUnder = "data" }, false},
		"another object": {func(e *provider.Entry) { e.TokensUnder = "elsewhere" }, true},
		"another member": {func(e *provider.Entry) { e.MembersAt = map[string][]string{"access_token": {"data.key"}} }, true},
		"another account's name": {func(e *provider.Entry) {
			e.Account = provider.AccountSource{From: provider.AccountFromReply, Name: "org.uuid"}
		}, true},
		"the account's name": {func(e *provider.Entry) {
			e.Account = provider.AccountSource{From: provider.AccountFromReply, Name: "org.id"}
		}, false},
	} {
		e := provider.Entry{Name: "p", TokenURL: "https://p.example/token"}
		c.describe(&e)
		p, err := NewPlay(e, fixtures.File{Replies: []fixtures.Reply{sample}})
		require.NoError(t, err)
		assert.Equal(t, c.differs, len(p.Check()) > 0, "%s: %v", name, p.Check())
	}
}

// played starts a server that plays an entry, with a grant.
func played(t *testing.T, e provider.Entry, f fixtures.File, now func() time.Time) (*Server, TokenReply) {
	t.Helper()
	p, err := NewPlay(e, f)
	require.NoError(t, err)
	s, err := New(Config{Play: p, Now: now, Clients: map[string]Client{"client": {Secrets: []string{"s:cret"}}}})
	require.NoError(t, err)
	out, err := s.Grant("client", "one", "read")
	require.NoError(t, err)
	return s, out
}

// TestPlayedRequests: a request in another form than the description's is refused.
func TestPlayedRequests(t *testing.T) {
	t.Parallel()
	entry := func(change func(*provider.Entry)) provider.Entry {
		e := provider.Entry{Name: "p", TokenURL: "https://p.example/token", AuthStyle: oauth2.AuthStyleInParams}
		change(&e)
		return e
	}
	facts := func(lines ...string) fixtures.File {
		f := fixtures.File{Facts: map[string]string{}}
		for _, line := range lines {
			key, value, _ := strings.Cut(line, ": ")
			f.Facts[key] = value
		}
		return f
	}
	plain := entry(func(*provider.Entry) {})
	params, header, inJSON, asUser := facts("auth_style: params"), facts("auth_style: header"), facts("auth_style: params", "json_body: true"), facts("auth_style: header", "secret_as_user: true")
	for name, c := range map[string]struct {
		provider fixtures.File
		asked    provider.Entry
		want     perennial.Outcome
	}{
		"params":                     {params, plain, perennial.OutcomeRefreshed},
		"a header instead":           {params, entry(func(e *provider.Entry) { e.AuthStyle = oauth2.AuthStyleInHeader }), perennial.OutcomeMisconfigured},
		"a header":                   {header, entry(func(e *provider.Entry) { e.AuthStyle = oauth2.AuthStyleInHeader }), perennial.OutcomeRefreshed},
		"params instead":             {header, plain, perennial.OutcomeMisconfigured},
		"JSON":                       {inJSON, entry(func(e *provider.Entry) { e.JSONBody = true }), perennial.OutcomeRefreshed},
		"a form instead":             {inJSON, plain, perennial.OutcomeRejected},
		"JSON instead":               {params, entry(func(e *provider.Entry) { e.JSONBody = true }), perennial.OutcomeRejected},
		"the secret as user":         {asUser, entry(func(e *provider.Entry) { e.SecretAsUser, e.AuthStyle = true, oauth2.AuthStyleInHeader }), perennial.OutcomeRefreshed},
		"the id as user":             {asUser, entry(func(e *provider.Entry) { e.AuthStyle = oauth2.AuthStyleInHeader }), perennial.OutcomeMisconfigured},
		"the secret as user instead": {header, entry(func(e *provider.Entry) { e.SecretAsUser, e.AuthStyle = true, oauth2.AuthStyleInHeader }), perennial.OutcomeMisconfigured},
	} {
		s, tokens := played(t, plain, c.provider, time.Now)
		assert.Equal(t, c.want, presents(t, s, c.asked, tokens.RefreshToken).Outcome, name)
	}
	apart := entry(func(e *provider.Entry) { e.RefreshURL = "https://p.example/refresh" })
	s, tokens := played(t, apart, params, time.Now)
	assert.Equal(t, perennial.OutcomeRejected, presents(t, s, plain, tokens.RefreshToken).Outcome, "at the endpoint of codes")
	assert.Equal(t, perennial.OutcomeRefreshed, presents(t, s, apart, tokens.RefreshToken).Outcome)
	wants := entry(func(e *provider.Entry) { e.RefreshParams = map[string]string{"expiring": "1"} })
	s, tokens = played(t, wants, params, time.Now)
	assert.Equal(t, perennial.OutcomeRejected, presents(t, s, plain, tokens.RefreshToken).Outcome, "without its own member")
	assert.Equal(t, perennial.OutcomeRefreshed, presents(t, s, wants, tokens.RefreshToken).Outcome)
}

// presents presents a refresh token as an entry says.
func presents(t *testing.T, s *Server, e provider.Entry, token string) provider.Reply {
	t.Helper()
	client := provider.NewClient(provider.ClientConfig{Transport: s.Transport()})
	return client.Refresh(t.Context(), provider.App{Name: "app", ClientID: "client", Provider: e}, perennial.NewSecret("s:cret"), perennial.NewSecret(token),
		func(context.Context) error { return nil })
}

// TestPlayedRefusals: a refusal is as a source shows it, or as the entry spells it, or
// RFC 6749's.
func TestPlayedRefusals(t *testing.T) {
	t.Parallel()
	e := provider.Entry{Name: "p", TokenURL: "https://p.example/token", AuthStyle: oauth2.AuthStyleInHeader, Spellings: []provider.Spelling{
		{Code: "busy", Outcome: perennial.OutcomeBusy}, {HTTPStatus: 403, Code: "gone", Contains: "for ever", Outcome: perennial.OutcomeRevoked}}}
	shown := fixtures.Reply{Name: "one", Status: 200, Body: `{"ok":false}`, Outcome: perennial.OutcomeRevoked}
	for name, c := range map[string]struct {
		file fixtures.File
		kind fixtures.Kind
		want answer
	}{
		"shown":    {fixtures.File{Replies: []fixtures.Reply{shown}}, fixtures.KindRevoked, answer{200, nil, []byte(`{"ok":false}`)}},
		"spelt":    {fixtures.File{}, fixtures.KindRevoked, answer{403, map[string]string{}, []byte(`{"error":"gone","error_description":"for ever"}`)}},
		"RFC 6749": {fixtures.File{}, fixtures.KindWrongClient, answer{401, map[string]string{"WWW-Authenticate": "Basic"}, []byte(`{"error":"invalid_client"}`)}},
	} {
		p, err := NewPlay(e, c.file)
		require.NoError(t, err)
		assert.Equal(t, c.want, p.refusal(c.kind), name)
	}
}

// TestPlayedClocks: a refresh that comes too early, a grant whose time is over, and a
// refresh token at another account's host are refused; a limit ends.
func TestPlayedClocks(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	e := provider.Entry{Name: "p", TokenURL: "https://p.example/token", AuthStyle: oauth2.AuthStyleInParams, RefreshWithin: time.Minute}
	f := fixtures.File{Facts: map[string]string{"default_lifetime": "10m", "grant_lifetime": "1d", "auth_style": "params", "replay_class": "reusable"}}
	s, tokens := played(t, e, f, func() time.Time { return now })
	ask := func() perennial.Outcome { return presents(t, s, e, tokens.RefreshToken).Outcome }
	assert.Equal(t, perennial.OutcomeTooEarly, ask())
	now = now.Add(9*time.Minute + time.Second)
	s.Limit("client", "one", time.Minute)
	reply := presents(t, s, e, tokens.RefreshToken)
	assert.Equal(t, perennial.OutcomeRateLimited, reply.Outcome)
	assert.Equal(t, time.Minute, reply.RetryAfter)
	now = now.Add(time.Minute)
	assert.Equal(t, perennial.OutcomeRefreshed, ask())
	s.grants["client/one"].Host = "other.example"
	assert.Equal(t, perennial.OutcomeRevoked, ask())
	s.grants["client/one"].Host = "p.example"
	now = now.Add(24 * time.Hour)
	assert.Equal(t, perennial.OutcomeRevoked, ask())
}

// TestPlayedLimits: a limit reaches the accounts that the provider counts together.
func TestPlayedLimits(t *testing.T) {
	t.Parallel()
	for scope, want := range map[string]map[string]bool{
		"connection": {"one": true, "same host": false, "other host": false},
		"host":       {"one": true, "same host": true, "other host": false},
		"app":        {"one": true, "same host": true, "other host": true},
	} {
		e := provider.Entry{Name: "p", TokenURL: "https://{host}/token", AuthStyle: oauth2.AuthStyleInParams}
		s, _ := played(t, e, fixtures.File{Facts: map[string]string{"rate_limit_scope": scope, "auth_style": "params"}}, time.Now)
		hosts := map[string]string{"one": "a.example", "same host": "a.example", "other host": "b.example"}
		for account, host := range hosts {
			_, err := s.Grant("client", account)
			require.NoError(t, err)
			s.grants["client/"+account].Host = host
		}
		s.Limit("client", "one", time.Minute)
		for account := range hosts {
			assert.Equal(t, want[account], s.limited(s.grants["client/"+account]) > 0, "%s: %s", scope, account)
		}
	}
}

// TestPlayedAddresses: the provider's own addresses lead to the server, and no others.
func TestPlayedAddresses(t *testing.T) {
	t.Parallel()
	p := &Play{Entry: provider.Entry{TokenURL: "https://{host}/token", AuthURL: "https://{host}/a/authorize", RevokeURL: "https://{host}/token/revoke",
		Account: provider.AccountSource{URL: "https://api.example/c/{account}/info?v=1"}}}
	for address, want := range map[string]string{
		"https://one.example/token":            "/token",
		"https://one.example/token/revoke":     "/revoke",
		"https://one.example/a/authorize?x=1":  "/authorize?x=1",
		"https://api.example/c/7%2F/info?v=1":  "/accounts/7%2F",
		"https://api.example/c/7/other":        "",
		"https://one.example/tokens":           "",
		"https://one.example/token/revoke/all": "",
		"http://one.example/token":             "",
	} {
		path, ok := p.route(address)
		assert.Equal(t, want, path, address)
		assert.Equal(t, want != "", ok, address)
	}
}

// TestFacts: a fact that is no key of a description, and a sample that is no reply, are
// told.
func TestFacts(t *testing.T) {
	t.Parallel()
	e := provider.Entry{Name: "p", TokenURL: "https://p.example/token"}
	_, err := NewPlay(e, fixtures.File{Facts: map[string]string{"replay_clas": "grace"}})
	require.ErrorContains(t, err, "replay_clas")
	_, err = NewPlay(e, fixtures.File{Replies: []fixtures.Reply{{Name: "a page", Body: "<html>", Outcome: perennial.OutcomeRefreshed}}})
	require.ErrorContains(t, err, "the reply a page")
}

// TestTransport: a request beside the provider is not found, a lost connection is an
// error.
func TestTransport(t *testing.T) {
	t.Parallel()
	e := provider.Entry{Name: "p", TokenURL: "https://p.example/token", AuthStyle: oauth2.AuthStyleInParams}
	s, tokens := played(t, e, fixtures.File{Facts: map[string]string{"auth_style": "params"}}, time.Now)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://p.example/_oracle", nil)
	require.NoError(t, err)
	resp, err := s.Transport().RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.NoError(t, s.SetKnobs("client", "one", Knobs{DropAfter: 1}))
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.RefreshToken}, "client_id": {"client"}, "client_secret": {"s:cret"}}
	req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, e.TokenURL, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, err = s.Transport().RoundTrip(req)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// FuzzSample: no sample makes the reading, the changing or the writing of a reply fail.
func FuzzSample(f *testing.F) {
	f.Add(`{"a":{"access_token":"x"},"expires_in":"60"}`, "a.access_token")
	f.Add(`access_token=x&scope=a`, "refresh_token")
	f.Add(`)]}'[{"access_token":1}]`, "0.*.x")
	f.Fuzz(func(t *testing.T, body, path string) {
		s := readShape(body)
		if s == nil {
			return
		}
		s.root = set(s.root, split(path), "value")
		if path != "" && !s.form {
			require.Equal(t, "value", get(s.root, split(path)))
		}
		readShape(string(s.write()))
		p := &Play{Entry: provider.Entry{TokensUnder: path}, File: fixtures.File{Replies: []fixtures.Reply{{Body: body, Outcome: perennial.OutcomeRefreshed}}}}
		p.Check()
	})
}
