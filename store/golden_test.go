package store

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
)

// TestGoldenColumns: the columns that each row type reads and writes, and the JSON in
// columns.
func TestGoldenColumns(t *testing.T) {
	t.Parallel()
	tables := golden.Tags(firstRefusal{}, circuitRow{}, appRow{}, failureRow{}, cohortHold{}, clientSecretRow{})
	tables[connections.name], tables[attempts.name] = connections.names(), attempts.names()
	golden.Columns(t, tables)
	golden.JSON(t, "json", map[string]any{
		"outbox.data":        fill.Of[perennial.EventData](),
		"app state":          fill.Of[AppState](),
		"ledger summary":     fill.Of[LedgerSummary](),
		"release cursor":     fill.Of[ReleaseCursor](),
		"connections.scopes": scopesText([]string{"a", "c"}),
		"connections.metadata": metadataText(map[string]string{
			"b": "2", "a": "1",
		}),
	})
}
