package outbox

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGoldenColumns(t *testing.T) {
	t.Parallel()
	golden.Columns(t, golden.Tags(Row{}))
}

// TestRowsBecomeEvents: every column that an event shows arrives in it.
func TestRowsBecomeEvents(t *testing.T) {
	t.Parallel()
	r := fill.Of[Row]()
	r.Body = `{"provider":"hubspot"}`
	e, err := r.Event()
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(e))
}

// TestEventsBecomeRows: an event is read as it was written, but for its id and its time.
func TestEventsBecomeRows(t *testing.T) {
	t.Parallel()
	e := fill.Of[perennial.Event]()
	r, err := rowOf(e, time.Now())
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(r))
	got, err := r.Event()
	require.NoError(t, err)
	got.ID, got.CreatedAt = e.ID, e.CreatedAt
	assert.Equal(t, e, got)
}
