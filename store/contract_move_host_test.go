package store_test

import (
	"context"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const movedTo = "api.moved.test"

// testMoveHost: an app whose endpoint moved has one circuit. An open one stays open, is
// probed at the new endpoint, and is released there.
func testMoveHost(t *testing.T, b *bundle) {
	cs, bystander := b.app(t, 5), b.app(t, 2)
	app := cs[0].App
	for _, c := range cs[:2] {
		b.note(t, c, perennial.OutcomeMisconfigured, "endpoint_not_found")
	}
	require.True(t, b.open(t, app))
	opened := b.circuit(t, app)
	b.together(t, func(ctx context.Context, s *store.Store, _ int) error {
		for {
			moved, err := s.MoveHost(ctx, app, movedTo, 2)
			if moved == 0 || err != nil {
				return err
			}
		}
	})
	circuits := b.state(t, app).Circuits
	require.Len(t, circuits, 1)
	opened.Host = movedTo
	assert.Equal(t, opened, circuits[0])
	for _, c := range cs {
		assert.Equal(t, movedTo, b.row(t, c.ID).Host)
	}
	assert.Equal(t, "api.hubapi.com", b.row(t, bystander[0].ID).Host, "another app")
	assert.Equal(t, movedTo, b.state(t, app).Evidence[0].Host)
	b.note(t, b.row(t, cs[0].ID), perennial.OutcomeRefreshed, "")
	assert.True(t, b.releasing(t, app), "a success at the new endpoint begins the release")

	moved, err := b.MoveHost(t.Context(), app, movedTo, 2)
	require.NoError(t, err)
	assert.Zero(t, moved)
}

// testMoveHostBoth: with a circuit at either host, that of the new one counts.
func testMoveHostBoth(t *testing.T, b *bundle) {
	cs := b.app(t, 4)
	app := cs[0].App
	for _, c := range cs[:2] {
		b.note(t, c, perennial.OutcomeMisconfigured, "endpoint_not_found")
	}
	fresh := cs[3]
	fresh.Host = movedTo
	b.note(t, fresh, perennial.OutcomeUnknown, "timeout") // a connection that was made since
	for {
		moved, err := b.MoveHost(t.Context(), app, movedTo, 100)
		require.NoError(t, err)
		if moved == 0 {
			break
		}
	}
	state := b.state(t, app)
	require.Len(t, state.Circuits, 1)
	assert.Equal(t, movedTo, state.Circuits[0].Host)
	assert.False(t, state.Circuits[0].Open)
	require.Len(t, state.Evidence, 1)
	assert.Equal(t, "timeout", state.Evidence[0].Code)
}
