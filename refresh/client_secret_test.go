package refresh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secretServer is a token endpoint that accepts one client secret. It may spend a refresh
// token before it refuses the client.
type secretServer struct {
	accepts  string
	spends   bool
	refuses  func(w http.ResponseWriter) // the client
	slow     chan struct{}               // not nil: each reply to the accepted secret waits for it
	mu       sync.Mutex
	shown    []string // secret and token of each request
	tokens   map[string]bool
	refreshs int
}

func (s *secretServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	secret, token := r.FormValue("client_secret"), r.FormValue("refresh_token")
	if strings.HasPrefix(token, "made-up-") {
		token = "made up"
	}
	s.shown = append(s.shown, secret+" "+token)
	known, good := s.tokens[token], secret == s.accepts
	if known && (good || s.spends) {
		delete(s.tokens, token)
	}
	s.refreshs++
	next := fmt.Sprintf("refresh-token-%04d", s.refreshs)
	if good && known {
		s.tokens[next] = true
	}
	s.mu.Unlock()
	switch {
	case !good:
		s.refuses(w)
	case !known:
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
	default:
		if s.slow != nil {
			<-s.slow
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"access-token-0001","refresh_token":%q,"expires_in":3600}`, next)
	}
}

func (s *secretServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.shown)
}

// invalidClient refuses a client in one of the ways that are in use.
func invalidClient(status int, body string, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// secretWorld has n connections, con_0 and on, of an app with the secrets "old" and "new"
// at such a server, and a second process.
func secretWorld(t *testing.T, s *secretServer, entry string, n int) (r *report, other *Engine) {
	t.Helper()
	r = newReport(t, entry)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	r.app.Provider.TokenURL = server.URL
	r.app.ClientSecrets = []perennial.Secret{perennial.NewSecret("old"), perennial.NewSecret("new")}
	s.tokens = map[string]bool{}
	for i := range n {
		c := perennial.Connection{ID: fmt.Sprint("con_", i), TenantID: fmt.Sprint("t", i), App: "app", Provider: r.app.Provider.Name, AccountID: fmt.Sprint(i)}
		set := fresh("1").Tokens
		set.RefreshToken = perennial.NewSecret(fmt.Sprintf("refresh of con_%d", i))
		s.tokens[set.RefreshToken.Reveal()] = true
		w, err := Tokens(r.keyring, r.app, c, 1, set, set.RefreshToken, time.Now())
		require.NoError(t, err)
		if i == 1 { // setup made con_1
			_, err = r.db.SetStatus(t.Context(), perennial.WorkerAccess(), "con_1", perennial.Statuses, 1, perennial.StatusDisconnected, "")
			require.NoError(t, err)
			c.ID = "con_one"
		}
		_, err = r.db.Insert(t.Context(), perennial.WorkerAccess(), c, w)
		require.NoError(t, err)
	}
	return r, New(r.Engine.Config)
}

// TestClientSecretIsLearntOnce: after the provider has dropped the first secret, one
// connection finds the next one. All others, of every process, then use that, for every
// spelling of a wrong client; none of their tokens is shown with a wrong secret, which
// some servers spend.
func TestClientSecretIsLearntOnce(t *testing.T) {
	t.Parallel()
	for name, refuses := range map[string]struct {
		entry string
		by    func(http.ResponseWriter)
	}{
		"RFC 6749":             {"generic", invalidClient(401, `{"error":"invalid_client"}`)},
		"HubSpot":              {"hubspot", invalidClient(400, `{"status":"BAD_CLIENT_SECRET","message":"x"}`)},
		"GitHub":               {"github", invalidClient(200, `{"error":"incorrect_client_credentials"}`)},
		"Slack":                {"slack", invalidClient(200, `{"ok":false,"error":"bad_client_secret"}`)},
		"Microsoft":            {"microsoft", invalidClient(401, `{"error":"invalid_request","error_description":"AADSTS7000215: x"}`)},
		"a bare 401 for Basic": {"generic", invalidClient(401, ``, "WWW-Authenticate", "Basic realm=x")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &secretServer{accepts: "new", refuses: refuses.by}
			r, other := secretWorld(t, s, refuses.entry, 5)
			assert.Equal(t, perennial.OutcomeRefreshed, r.refreshed(t, "con_0", perennial.TriggerTimer).Outcome)
			assert.Equal(t, []string{"old refresh of con_0", "new refresh of con_0"}, s.requests())
			assert.Equal(t, perennial.OutcomeRefreshed, r.refreshed(t, "con_2", perennial.TriggerTimer).Outcome)
			res, err := other.Refresh(t.Context(), Request{ConnectionID: "con_3", Generation: 1, App: "app", Trigger: perennial.TriggerTimer})
			require.NoError(t, err)
			assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
			assert.Equal(t, []string{"new refresh of con_2", "new refresh of con_3"}, s.requests()[2:])
			known, err := r.db.ClientSecret(t.Context(), "app")
			require.NoError(t, err)
			assert.Equal(t, store.ClientSecret{Digest: perennial.NewSecret("new").Digest()}, known)

			s.accepts = "old" // the operator takes it back
			assert.Equal(t, perennial.OutcomeRefreshed, r.refreshed(t, "con_0", perennial.TriggerTimer).Outcome)
			assert.Equal(t, perennial.OutcomeRefreshed, r.refreshed(t, "con_2", perennial.TriggerTimer).Outcome)
			assert.Equal(t, []string{"new", "old", "old"}, secretsOf(s.requests()[4:]))
		})
	}
}

func secretsOf(requests []string) (out []string) {
	for _, r := range requests {
		secret, _, _ := strings.Cut(r, " ")
		out = append(out, secret)
	}
	return out
}

// TestSpendingServer: where a refused client costs the token, one connection pays for
// what the app learns. The others wait meanwhile, without a request.
func TestSpendingServer(t *testing.T) {
	t.Parallel()
	s := &secretServer{accepts: "new", spends: true, refuses: invalidClient(401, `{"error":"invalid_client"}`)}
	r, other := secretWorld(t, s, "generic", 6)
	assert.Equal(t, perennial.OutcomeRevoked, r.refreshed(t, "con_0", perennial.TriggerTimer).Outcome, "its token is spent")
	for i, e := range []*Engine{r.Engine, other, r.Engine, other} {
		id := fmt.Sprint("con_", i+2)
		res, err := e.Refresh(t.Context(), Request{ConnectionID: id, Generation: 1, Trigger: perennial.TriggerTimer})
		require.NoError(t, err)
		assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome, id)
	}
}

// TestOthersWaitForTheTrial: while one connection tries the secrets, the others present no
// token, in any process, and none of them fails.
func TestOthersWaitForTheTrial(t *testing.T) {
	t.Parallel()
	s := &secretServer{accepts: "new", refuses: invalidClient(401, `{"error":"invalid_client"}`), slow: make(chan struct{})}
	r, other := secretWorld(t, s, "generic", 4)
	var first Result
	done := make(chan struct{})
	go func() {
		defer close(done)
		first, _ = r.Engine.Refresh(context.WithoutCancel(t.Context()), Request{ConnectionID: "con_0", Generation: 1, Trigger: perennial.TriggerTimer})
	}()
	require.Eventually(t, func() bool { return len(s.requests()) == 2 }, 5*time.Second, time.Millisecond)
	for _, e := range []*Engine{r.Engine, other} {
		res, err := e.Refresh(t.Context(), Request{ConnectionID: "con_2", Generation: 1, Trigger: perennial.TriggerTimer})
		require.NoError(t, err)
		if res.Code == string(store.VerdictWait) {
			continue // of the answer before
		}
		assert.Equal(t, perennial.OutcomeThrottled, res.Outcome)
		assert.Equal(t, codeSecretTrial, res.Code)
		assert.LessOrEqual(t, res.RetryAt.Sub(res.Now), 2*time.Second)
	}
	assert.Len(t, s.requests(), 2, "nobody else asked")
	c := r.row(t, "con_2")
	assert.Zero(t, c.FailureCount)
	assert.Equal(t, perennial.HealthHealthy, c.Health)
	close(s.slow)
	<-done
	assert.Equal(t, perennial.OutcomeRefreshed, first.Outcome)
	assert.Equal(t, perennial.OutcomeRefreshed, r.refreshed(t, "con_2", perennial.TriggerTimer).Outcome)
	assert.Equal(t, []string{"old", "new", "new"}, secretsOf(s.requests()))
}

// TestMadeUpToken: where the provider checks the client first, a made-up refresh token
// finds the secret. Where a refused token costs something, none is made up.
func TestMadeUpToken(t *testing.T) {
	t.Parallel()
	for class, want := range map[perennial.ReplayClass][]string{
		perennial.ReplayUnknown:      {"old refresh of con_0", "new made up", "new refresh of con_0"},
		perennial.ReplaySingleUse:    {"old refresh of con_0", "new made up", "new refresh of con_0"},
		perennial.ReplayReuseRevokes: {"old refresh of con_0", "new refresh of con_0"},
	} {
		s := &secretServer{accepts: "new", refuses: invalidClient(401, `{"error":"invalid_client"}`)}
		r, _ := secretWorld(t, s, "generic", 1)
		r.app.Provider.ChecksClientFirst, r.app.Provider.ReplayClass = true, class
		assert.Equal(t, perennial.OutcomeRefreshed, r.refreshed(t, "con_0", perennial.TriggerTimer).Outcome)
		assert.Equal(t, want, s.requests(), class)
	}
	s := &secretServer{accepts: "none of them", refuses: invalidClient(401, `{"error":"invalid_client"}`)}
	r, _ := secretWorld(t, s, "generic", 1)
	r.app.Provider.ChecksClientFirst = true
	res := r.refreshed(t, "con_0", perennial.TriggerTimer)
	assert.Equal(t, perennial.OutcomeMisconfigured, res.Outcome)
	assert.Equal(t, "invalid_client", res.Code)
	assert.Equal(t, []string{"old refresh of con_0", "new made up"}, s.requests(), "the customer's token is not shown with it")
	known, err := r.db.ClientSecret(t.Context(), "app")
	require.NoError(t, err)
	assert.Zero(t, known)
	for entry, want := range map[*provider.Entry]bool{
		{ChecksClientFirst: true}: true, {}: false,
		{ChecksClientFirst: true, Renewal: provider.RenewalAccessToken}: false, // none could be made up
		{ChecksClientFirst: true, Grant: provider.GrantJWTBearer}:       false,
	} {
		assert.Equal(t, want, (&attempt{app: provider.App{Provider: *entry}}).asksWithMadeUp(), entry)
	}
	assert.NotEqual(t, madeUpToken().Reveal(), madeUpToken().Reveal())
	assert.Greater(t, len(madeUpToken().Reveal()), 30)
}

// TestBare401: a 401 without a reason is about the client only if two connections got
// one. Until then it is the connection's.
func TestBare401(t *testing.T) {
	t.Parallel()
	s := &secretServer{accepts: "new", refuses: invalidClient(401, `no`)}
	r, _ := secretWorld(t, s, "generic", 3)
	assert.Equal(t, perennial.OutcomeRejected, r.refreshed(t, "con_0", perennial.TriggerTimer).Outcome)
	assert.Equal(t, []string{"old"}, secretsOf(s.requests()))
	assert.Equal(t, perennial.OutcomeRefreshed, r.refreshed(t, "con_2", perennial.TriggerTimer).Outcome)
	assert.Equal(t, []string{"old", "old", "new"}, secretsOf(s.requests()))
	r.overWait(t)
	assert.Equal(t, perennial.OutcomeRefreshed, r.refreshed(t, "con_0", perennial.TriggerTimer).Outcome)
}

// TestSecretsUnknown: if the store does not say which secret is accepted, the configured
// order counts, and no other is tried than by one who may.
func TestSecretsUnknown(t *testing.T) {
	t.Parallel()
	s := &secretServer{accepts: "old", refuses: invalidClient(401, `{"error":"invalid_client"}`)}
	r, _ := secretWorld(t, s, "generic", 3)
	r.Engine.Store = silentSecrets{r.db}
	assert.Equal(t, perennial.OutcomeRefreshed, r.refreshed(t, "con_0", perennial.TriggerTimer).Outcome)
	s.accepts = "new"
	assert.Equal(t, perennial.OutcomeMisconfigured, r.refreshed(t, "con_2", perennial.TriggerTimer).Outcome)
	assert.Equal(t, []string{"old", "old"}, secretsOf(s.requests()))
}

type silentSecrets struct{ *store.Store }

var errSilent = errors.New("away")

func (silentSecrets) ClientSecret(context.Context, string) (store.ClientSecret, error) {
	return store.ClientSecret{}, errSilent
}

func (silentSecrets) BeginSecretTrial(context.Context, store.SecretTrialRequest) (store.SecretTrial, error) {
	return store.SecretTrial{}, errSilent
}
