package connect

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReplyIsKeptWhole: a token reply that waits sealed in its session comes back
// unchanged.
func TestReplyIsKeptWhole(t *testing.T) {
	t.Parallel()
	keys, err := seal.NewEphemeral()
	require.NoError(t, err)
	s := &Sessions{SessionsConfig{Service: &Service{Config{Sealer: keys}}}}
	k := fill.Of[pendingReply]()
	k.AccessToken, k.RefreshToken, k.ExpiresIn = perennial.NewSecret("access"), perennial.NewSecret("refresh"), time.Hour
	require.Empty(t, fill.Zeros(k))
	c := fill.Of[perennial.ConnectSession]()
	c.ReplySealed, err = s.sealed(c, k)
	require.NoError(t, err)
	got, err := s.opened(c)
	require.NoError(t, err)
	assert.Equal(t, k, got)
}

// TestRowsBecomeSessions: every column of a row arrives in the session.
func TestRowsBecomeSessions(t *testing.T) {
	t.Parallel()
	assert.Empty(t, fill.Zeros(fill.Of[sessionRow]().session()))
}
