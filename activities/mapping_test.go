package activities

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
)

type pooledApp struct{}

func (pooledApp) App(string) (provider.App, error) { return provider.App{Pacers: 2}, nil }

// TestViewIsWhole: a workflow gets everything that its row says.
func TestViewIsWhole(t *testing.T) {
	t.Parallel()
	a := New(nil, nil, pooledApp{}, nil)
	c := fill.Of[perennial.Connection]()
	c.Status, c.Health, c.Generation = perennial.StatusActive, perennial.HealthFailing, 3
	now := c.NextAttemptAt.Add(-time.Minute)
	c.LastRefreshedAt, c.ExpiresAt = now, now.Add(time.Hour)
	// Gone, Tombstone and RowMissing are for a missing row. Pooled and Summary are for a healthy connection of a
	// pooled app. Load sets SlotGranted, Upsert, Missing and MoveTo.
	assert.Equal(t, []string{"Gone", "Tombstone", "RowMissing", "Pooled", "Summary", "SlotGranted", "Upsert", "Missing", "MoveTo"}, fill.Zeros(a.view(c, now)))
}

// TestShownOfIsWhole: a workflow starts with the values of its row.
func TestShownOfIsWhole(t *testing.T) {
	t.Parallel()
	assert.Equal(t, map[string]string{AttributeStatus: "status", AttributeProvider: "provider", AttributeApp: "app", AttributeTenant: "tenant_id"},
		ShownOf(fill.Of[perennial.Connection]()))
}
