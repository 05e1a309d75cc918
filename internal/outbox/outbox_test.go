package outbox

import (
	"testing"

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
