package api

import (
	"testing"

	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/stretchr/testify/assert"
)

func TestGoldenColumns(t *testing.T) {
	t.Parallel()
	golden.Columns(t, golden.Tags(keyRow{}, requestRow{}))
}

// TestRowsBecomeKeys: every column of a row arrives in the key or the request.
func TestRowsBecomeKeys(t *testing.T) {
	t.Parallel()
	assert.Empty(t, fill.Zeros(fill.Of[keyRow]().key()))
	assert.Equal(t, []string{"Now"}, fill.Zeros(fill.Of[requestRow]().request()))
}
