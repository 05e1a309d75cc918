package connect

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOlderProgramsCannotChoose: a program that knows no choices cannot open a grant that
// waits for one, or it would store it for the first account of the list.
func TestOlderProgramsCannotChoose(t *testing.T) {
	t.Parallel()
	keys, err := seal.NewEphemeral()
	require.NoError(t, err)
	s := &Sessions{SessionsConfig{Service: &Service{Config: Config{Sealer: keys}}}}
	c := perennial.ConnectSession{ID: "s", TenantID: "t", Outcome: perennial.ConnectChooseAccount}
	k := pendingReply{TokenSet: perennial.TokenSet{AccessToken: perennial.NewSecret("a"), RefreshToken: perennial.NewSecret("r")}, Choices: []provider.Choice{{ID: "a"}, {ID: "b", Title: "B"}}}
	for _, chosen := range []string{"", "b"} {
		k.Chosen = chosen
		c.ReplySealed, err = s.sealed(c, k)
		require.NoError(t, err)
		_, err = keys.Open(sessionBinding(c, seal.FieldTokenReply, c.Starts), c.ReplySealed)
		assert.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
		got, err := s.opened(c)
		require.NoError(t, err)
		assert.Equal(t, k, got)
	}
	k.Choices, k.Chosen = nil, ""
	c.ReplySealed, err = s.sealed(c, k)
	require.NoError(t, err)
	_, err = keys.Open(sessionBinding(c, seal.FieldTokenReply, c.Starts), c.ReplySealed)
	assert.NoError(t, err, "any other is opened as ever")
}
