package refresh

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// maxReply is the longest reply that package provider reads.
const maxReply = 256 << 10

// TestLargestReply: the set of the longest reply that is read, which could not be
// stored, has less than 1 MiB, as the workflow expects, goes through the spool and is
// stored whole. A longer reply is not read.
func TestLargestReply(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body    func(n int) string // of n bytes beside its fixed text
		old     string             // the refresh token before
		dropped bool
	}{
		"a long access token": {body: func(n int) string {
			return fmt.Sprintf(`{"access_token":"%s","refresh_token":"r"}`, strings.Repeat("a", n))
		}},
		"a long refresh token": {body: func(n int) string {
			return fmt.Sprintf(`{"access_token":"a","refresh_token":"%s"}`, strings.Repeat("r", n))
		}},
		"a long access token and an old long one": {body: func(n int) string { return fmt.Sprintf(`{"access_token":"%s"}`, strings.Repeat("a", n)) }, old: strings.Repeat("o", maxReply)},
		"long scopes": {body: func(n int) string {
			return fmt.Sprintf(`{"access_token":"a","refresh_token":"r","scope":"%s"}`, strings.Repeat("<", n))
		}, dropped: true},
		"many scopes": {body: func(n int) string {
			return fmt.Sprintf(`{"access_token":"a","refresh_token":"r","scope":"%s"}`, (strings.Repeat(strings.Repeat("<", 199)+" ", n/200+1))[:n])
		}, dropped: true},
		"short scopes": {body: func(n int) string {
			return fmt.Sprintf(`{"access_token":"a","refresh_token":"r","scope":"%s"}`, strings.Repeat("s ", n/2)+strings.Repeat("s", n%2))
		}},
		"a long token in a form": {body: func(n int) string {
			return "refresh_token=r&access_token=" + strings.Repeat("\xff", n-20) + strings.Repeat("a", 20)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := c.body(maxReply - len(c.body(100)) + 100)
			require.Len(t, body, maxReply)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
			t.Cleanup(server.Close)
			b := setup(t, fresh("2"))
			if c.old != "" {
				b.newGrant(t, c.old)
			}
			b.app.Provider.TokenURL, b.app.Provider.AuthStyle = server.URL, oauth2.AuthStyleInParams
			b.Presenter = provider.NewClient(provider.ClientConfig{})
			b.Timing.HTTPTimeout, b.Timing.AttemptDeadline = 20*time.Second, time.Minute
			generation := b.c.Generation
			b.Timing.SaveTimeout = 100 * time.Millisecond
			b.Store = &flakySave{Store: b.db, fails: 1 << 30}
			kept, err := spool.Open(t.TempDir(), 0)
			require.NoError(t, err)
			b.Spool = kept
			req := b.refresh(t, t.Context(), generation).Unsaved
			require.NotNil(t, req)
			raw, err := json.Marshal(req)
			require.NoError(t, err)
			assert.Less(t, len(raw), 1<<20)

			b.Engine = New(b.Config) // another process, with the same spool
			b.Store, b.Timing.SaveTimeout = b.db, time.Minute
			require.NoError(t, b.StoreUnsaved(t.Context()))
			row, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
			require.NoError(t, err)
			assert.Equal(t, generation+1, row.Generation)
			assert.Equal(t, c.dropped, len(row.Scopes) == 0 && strings.Contains(body, "scope"))
		})
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"access_token":"%s"}`, strings.Repeat("a", maxReply))
	}))
	t.Cleanup(server.Close)
	b := setup(t, fresh("2"))
	b.app.Provider.TokenURL, b.Presenter = server.URL, provider.NewClient(provider.ClientConfig{})
	assert.Equal(t, perennial.OutcomeUnknown, b.refresh(t, t.Context(), 1).Outcome)
}

// newGrant gives con_1 a grant with the given refresh token.
func (b *bundle) newGrant(t *testing.T, refreshToken string) {
	t.Helper()
	tokens := fresh("1").Tokens
	w, err := Tokens(b.keyring, b.app, b.c, 2, tokens, perennial.NewSecret(refreshToken), time.Now())
	require.NoError(t, err)
	b.c, err = b.db.ReplaceTokens(t.Context(), perennial.WorkerAccess(), "con_1", "", 1, w)
	require.NoError(t, err)
}
