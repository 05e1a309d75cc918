package activities

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/stretchr/testify/assert"
)

type pooledApp struct{}

func (pooledApp) App(string) (provider.App, error) {
	return provider.App{Pacers: 2, MaxRefreshesPerSecond: 5}, nil
}

// TestViewIsWhole: a workflow gets everything that its row says.
func TestViewIsWhole(t *testing.T) {
	t.Parallel()
	a := New(nil, nil, pooledApp{}, nil)
	c := fill.Of[perennial.Connection]()
	c.Status, c.Health, c.Generation = perennial.StatusActive, perennial.HealthFailing, 3
	now := c.NextAttemptAt.Add(-time.Minute)
	c.LastRefreshedAt, c.ExpiresAt = now, now.Add(time.Hour)
	// Gone, Tombstone and RowMissing are for a missing row. Pooled and Summary are for a healthy connection of a
	// pooled app. Load sets SlotGranted, Upsert, Missing, MoveTo and Revision.
	assert.Equal(t, []string{"Gone", "Tombstone", "RowMissing", "Pooled", "Summary", "SlotGranted", "Upsert", "Missing", "MoveTo", "Revision"}, fill.Zeros(a.view(c, now)))
}

// TestShownOfIsWhole: a workflow starts with the values of its row.
func TestShownOfIsWhole(t *testing.T) {
	t.Parallel()
	assert.Equal(t, map[string]string{AttributeStatus: "status", AttributeProvider: "provider", AttributeApp: "app", AttributeTenant: "tenant_id"},
		ShownOf(fill.Of[perennial.Connection]()))
}

// TestMissingViewIsWhole: the view of a missing row says all that the workflow knew.
func TestMissingViewIsWhole(t *testing.T) {
	t.Parallel()
	v := MissingView(fill.Of[Known]())
	for _, name := range fill.Names[Known]() {
		if name != "Looks" { // they are the wait
			assert.NotContains(t, fill.Zeros(v), name)
		}
	}
}

// TestPaceIsWhole: a pacer goes on with its shard, and claims with all that it knows.
func TestPaceIsWhole(t *testing.T) {
	t.Parallel()
	p := &Pacer{Timing: fill.Of[Pacer]().Timing, Apps: pooledApp{}}
	r := p.newPace(fill.Of[PaceRequest](), "run")
	assert.Empty(t, fill.Zeros(r.shard))
	assert.Equal(t, []string{"Done", "Refreshed", "HandedOver", "MarkedRolledBack", "Latest"}, fill.Zeros(r.out), "these are the results")
	r.late = time.Second
	assert.Empty(t, fill.Zeros(r.dueRequest(3)))
	assert.Empty(t, fill.Zeros(ReleaseRequest(pooledApp{}, "app")))
	p = &Pacer{Timing: timing.Config{}.WithDefaults(), Apps: graceApp{}}
	assert.Equal(t, 40*time.Second, p.newPace(fill.Of[PaceRequest](), "run").dueRequest(1).Lease, "it leaves time within the window")
}

// graceApp has an app whose provider takes an old refresh token for a minute.
type graceApp struct{}

func (graceApp) App(string) (provider.App, error) {
	return provider.App{Provider: provider.Entry{ReplayClass: perennial.ReplayGrace, GraceWindow: time.Minute}}, nil
}
