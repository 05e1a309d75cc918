package api

import (
	"github.com/perennial-oauth/perennial"
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
	row := fill.Of[keyRow]()
	assert.Equal(t, []string{"TenantID"}, fill.Zeros(row.key()), "a key of every tenant has none")
	row.Every = false
	assert.Equal(t, []string{"EveryTenant"}, fill.Zeros(row.key()))
	assert.Equal(t, []string{"Now"}, fill.Zeros(fill.Of[requestRow]().request()))
}

// TestSessionOf: only the fields of our own pages are left out.
func TestSessionOf(t *testing.T) {
	t.Parallel()
	got := sessionOf(fill.Of[perennial.ConnectSession]())
	assert.Equal(t, []string{"Link"}, fill.Zeros(got), "the link is shown once, by who made it")
}
