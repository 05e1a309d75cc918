package cli

import (
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCredentialsFromInput: credentials come from standard input alone, and not beside
// tokens.
func TestCredentialsFromInput(t *testing.T) {
	t.Parallel()
	var g connect.Grant
	s := &shell{in: strings.NewReader(`{"installation_id":"1"}`)}
	require.NoError(t, s.readGrant(nil, "app", &g, grantInput{credentials: "-"}))
	assert.Equal(t, `{"installation_id":"1"}`, g.Credentials.Reveal())
	for _, from := range []grantInput{{}, {credentials: `{"client_secret":"planted"}`}, {tokens: "-", credentials: "-"}, {tokens: "planted"}} {
		err := s.readGrant(nil, "app", &g, from)
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
		assert.NotContains(t, err.Error(), "planted")
		assert.Contains(t, err.Error(), "--credentials -")
	}
}
