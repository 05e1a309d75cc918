package direct

import (
	"context"
	"errors"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDisconnectGoesOn: a caller that leaves does not leave a grant that nobody
// revokes any more, and what Temporal is not told the row says.
func TestDisconnectGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	id := b.insertTo(revocable)
	ctx, leave := context.WithCancel(t.Context())
	b.onTell = func() error { leave(); return errors.New("Temporal is away") }
	r, err := b.Disconnect(ctx, id)
	require.NoError(t, err)
	assert.Equal(t, perennial.RevocationDone, r)
	assert.Equal(t, 1, b.revoked)
}

// TestNoEnder says what to configure, and ends nothing.
func TestNoEnder(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	config := b.Config
	config.Disconnector = nil
	bare, err := New(config)
	require.NoError(t, err)
	_, err = bare.Disconnect(t.Context(), b.id)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	assert.ErrorContains(t, err, "connect.Ender")
	assert.Equal(t, perennial.StatusActive, b.row().Status)
}
