package direct

import (
	"context"
	"errors"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDisconnectGoesOn: even if the caller leaves, the grant is revoked. If Temporal
// cannot be told, the row still has the new status.
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

// TestNoDisconnector: without a disconnector the error says what to configure, and
// nothing is ended.
func TestNoDisconnector(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	config := b.Config
	config.Disconnector = nil
	bare, err := New(config)
	require.NoError(t, err)
	_, err = bare.Disconnect(t.Context(), b.id)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	assert.ErrorContains(t, err, "connect.Disconnector")
	assert.Equal(t, perennial.StatusActive, b.row().Status)
}
