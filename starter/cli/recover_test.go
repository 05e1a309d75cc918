package cli

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMembersAt(t *testing.T) {
	t.Parallel()
	got, err := membersAt([]string{"access_token=auth.key", "access_token=key", "expires_in=ttl"})
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"access_token": {"auth.key", "key"}, "expires_in": {"ttl"}}, got)
	for _, bad := range []string{"", "access_token", "access_token=", "grant_type=x", "=x"} {
		_, err := membersAt([]string{bad})
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), bad)
	}
}
