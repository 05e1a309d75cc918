package workflows

import (
	"maps"
	"slices"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/internal/golden"
	"github.com/perennial-oauth/perennial/store"
)

// TestGoldenMessages: what other processes send to workflows and read from them, with
// the names that they use. Package wiring has the same for what is registered with a
// worker.
func TestGoldenMessages(t *testing.T) {
	t.Parallel()
	c := fill.Of[perennial.Connection]()
	var attributes []string
	for key := range SearchAttributes(c).GetUntypedValues() {
		attributes = append(attributes, key.GetName())
	}
	slices.Sort(attributes)
	golden.JSON(t, "messages", map[string]any{
		"signals":                Signals,
		"continue_as_new signal": SignalContinueAsNew,
		"unsaved signal":         SignalUnsaved,
		"unsaved":                fill.Of[store.SaveRequest](),
		"refresh_now update":     UpdateRefreshNow,
		"refresh_now":            fill.Of[RefreshNow](),
		"refresh_now reply":      fill.Of[RefreshNowReply](),
		"status query":           QueryStatus,
		"status":                 fill.Of[StatusReply](),
		"search attributes":      attributes,
		"memo":                   slices.Sorted(maps.Keys(Memo(c))),
		"connection workflow id": ID("con_1"),
		"app workflow id":        AppID("q", "crm"),
		"app workflow state":     fill.Of[AppTrouble](),
		"delivery workflow id":   DeliveryID("q", "evt_1", "ep_1"),
		"pacer workflow id":      PacerID("q", "crm", 1, 2),
		"release workflow id":    ReleaseID("q", "crm"),
		"sweep workflow id":      SweepID("q"),
	})
}
