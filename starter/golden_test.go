package main

import (
	"testing"

	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/perennial-oauth/perennial/internal/version"
)

// TestGoldenJSON compares the output of --json.
func TestGoldenJSON(t *testing.T) {
	t.Parallel()
	golden.JSON(t, "json", map[string]any{
		"app":        fill.Of[shownApp](),
		"connection": fill.Of[shown](),
		"version":    fill.Of[version.Info](),
	})
}
