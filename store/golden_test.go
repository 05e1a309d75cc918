package store

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
)

// TestGoldenColumns: the columns that each row type reads and writes, and the JSON in
// columns. Package schema has the tables.
func TestGoldenColumns(t *testing.T) {
	t.Parallel()
	columns := map[string][]string{}
	for _, r := range []any{row{}, answeredRow{}, outboxRow{}, attemptRow{}, sessionRow{}, keyRow{}, firstRefusal{}, circuitRow{}, appRow{}, deliveryRow{}, endpointRow{}} {
		table := r.(interface{ TableName() string }).TableName()
		for i := range reflect.TypeOf(r).NumField() {
			for part := range strings.SplitSeq(reflect.TypeOf(r).Field(i).Tag.Get("gorm"), ";") {
				if name, ok := strings.CutPrefix(part, "column:"); ok {
					columns[table] = append(columns[table], name)
				}
			}
		}
		slices.Sort(columns[table])
	}
	golden.JSON(t, "columns", columns)
	golden.JSON(t, "json", map[string]any{
		"outbox.data":        fill.Of[perennial.EventData](),
		"app state":          fill.Of[AppState](),
		"ledger summary":     fill.Of[LedgerSummary](),
		"release cursor":     fill.Of[ReleaseCursor](),
		"connections.scopes": listText([]string{"a b", "c"}),
		"connections.metadata": metadataText(map[string]string{
			"b": "2", "a": "1",
		}),
	})
}
