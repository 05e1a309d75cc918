package activities

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
)

// hanging is a Temporal, or a payload codec in front of it, that answers nothing.
type hanging struct{}

func (hanging) Unsaved(ctx context.Context, _ perennial.Connection, _ store.SaveRequest) error {
	<-ctx.Done()
	return ctx.Err()
}

type savedOnce struct{ saved []store.SaveRequest }

func (s *savedOnce) Persist(ctx context.Context, req store.SaveRequest) (refresh.Result, error) {
	if ctx.Err() != nil {
		return refresh.Result{}, ctx.Err()
	}
	s.saved = append(s.saved, req)
	return refresh.Result{}, nil
}

// TestKeepWhileNobodyAnswers: a call that hangs before the store takes nothing of its time.
func TestKeepWhileNobodyAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s savedOnce
		unsaved := store.SaveRequest{ID: "con_1", NewGeneration: 2}
		keep(t.Context(), hanging{}, &s, perennial.Connection{ID: "con_1"}, unsaved)
		assert.Equal(t, []store.SaveRequest{unsaved}, s.saved)
	})
}
