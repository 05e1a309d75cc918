package fakeprovider

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOracleIsWhole: the oracle says everything that the provider knows of a grant.
func TestOracleIsWhole(t *testing.T) {
	t.Parallel()
	g := fill.Of[grant]()
	assert.Equal(t, []string{"LiveAccessTokens"}, fill.Zeros(g.oracle()), "the tokens are counted")
}

// TestBooksAreWhole: the server takes over its whole configuration, and its reply to a
// presentation and its note of it are whole.
func TestBooksAreWhole(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	c := fill.Of[Config]()
	c.StateFile, c.Now = filepath.Join(t.TempDir(), "state"), func() time.Time { return now }
	s, err := New(c)
	require.NoError(t, err)
	assert.Equal(t, []string{"mu", "requests", "customers", "keys", "jtis", "presented"}, fill.AllZeros(s))
	assert.Equal(t, now, s.now())

	g, k := fill.Of[grant](), fill.Of[Knobs]()
	key := grantKey(g.Client, g.Account)
	s.grants[key] = &g
	out := s.issue(&g, k, "")
	assert.Equal(t, []string{"IDToken", "HubID", "Scopes"}, fill.Zeros(out), "only an authorization, or HubSpot, brings these")
	token := s.refresh[out.RefreshToken]
	assert.Equal(t, []string{"Presented", "Consumed", "Dead", "Reply", "First"}, fill.Zeros(token), "it is new")
	token.Consumed, token.Reply = now.Add(time.Second), &out
	_, no := s.work(g.Client, out.RefreshToken, token, &g, k)
	assert.NotNil(t, no)
	assert.Equal(t, []string{"Undelivered", "Left", "After"}, fill.Zeros(s.presented[0]), "they come with the answer")
	s.requests = []request{{At: now}}
	assert.Empty(t, fill.Zeros(s.Oracle()))
}
