package wiring

import (
	"context"
	"errors"
	"testing"

	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type moves struct {
	left  int
	hosts []string
	err   error
}

func (m *moves) MoveHost(_ context.Context, _, host string, limit int) (int, error) {
	m.hosts = append(m.hosts, host)
	moved := min(limit, m.left)
	m.left -= moved
	return moved, m.err
}

// TestMoveHost: the connections of an app move to its endpoint's host, in steps. Accounts
// with hosts of their own do not.
func TestMoveHost(t *testing.T) {
	t.Parallel()
	app := func(url string) provider.App { return provider.App{Name: "a", Provider: provider.Entry{TokenURL: url}} }
	m := &moves{left: movedAtOnce + 1}
	require.NoError(t, moveHost(t.Context(), m, app("https://new.test:8443/token")))
	assert.Zero(t, m.left)
	assert.Equal(t, []string{"new.test:8443", "new.test:8443", "new.test:8443"}, m.hosts)
	for _, none := range []string{"https://{host}/token", "", "%"} {
		m = &moves{left: 1}
		require.NoError(t, moveHost(t.Context(), m, app(none)))
		assert.Empty(t, m.hosts, none)
	}
	require.Error(t, moveHost(t.Context(), &moves{left: 1, err: errors.New("away")}, app("https://new.test/token")))
}
