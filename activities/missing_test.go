package activities_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
)

// bound stands for the database that the process was bound to.
type bound struct{ id, movedTo string }

func (b bound) Confirms(id string, _ int64) error {
	if id != b.id {
		return errors.New("another database")
	}
	return nil
}

func (b bound) MovedTo() string { return b.movedTo }

// TestMissingRow: a workflow may end only if its row is missing in the right database,
// and somebody ended the connection.
func TestMissingRow(t *testing.T) {
	t.Parallel()
	known := activities.Known{Tenant: "t", App: "app", Provider: "quickbooks", Generation: 7}
	for name, c := range map[string]struct {
		absence store.Absence
		gone    bool
	}{
		"deleted by hand":                {store.Absence{DatabaseID: "ours"}, false},
		"disconnected":                   {store.Absence{DatabaseID: "ours", Tombstone: store.TombstoneDisconnected}, true},
		"disconnected in another one":    {store.Absence{DatabaseID: "theirs", Tombstone: store.TombstoneDisconnected}, false},
		"another one, which has no id":   {store.Absence{Tombstone: store.TombstoneErased}, false},
		"never heard of in another one.": {store.Absence{DatabaseID: "theirs"}, false},
	} {
		f := &fake{absent: c.absence, err: perennial.Errorf(perennial.CodeNotFound, "none"), result: refresh.Result{Outcome: perennial.OutcomeNotFound}}
		missed := 0
		a := activities.New(f, f, f, f)
		a.Binding, a.RowMissing = bound{id: "ours"}, func() { missed++ }
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()
		env.RegisterActivity(a)
		loaded, err := env.ExecuteActivity(a.Load, activities.LoadRequest{ConnectionID: "con_1", Known: &known})
		require.NoError(t, err, name)
		var v activities.View
		require.NoError(t, loaded.Get(&v))
		f.err = nil
		refreshed, err := env.ExecuteActivity(a.Refresh, activities.RefreshRequest{ConnectionID: "con_1", Known: &known})
		require.NoError(t, err, name)
		var out activities.RefreshResult
		require.NoError(t, refreshed.Get(&out))
		assert.Equal(t, v, out.View, name)
		if c.gone {
			assert.Equal(t, activities.View{Gone: true, Tombstone: c.absence.Tombstone}, v, name)
			continue
		}
		assert.Equal(t, activities.MissingView(known), v, name)
		assert.Equal(t, 2, missed, name)
	}
}

// TestMissingView: an older program sleeps for as long as the view says, ever longer,
// and keeps the search attributes.
func TestMissingView(t *testing.T) {
	t.Parallel()
	assert.Equal(t, activities.MissingView(activities.Known{}), activities.MissingView(activities.Known{Looks: math.MinInt}), "a start may say any number")
	before := time.Duration(0)
	for looks := range 100 {
		v := activities.MissingView(activities.Known{Tenant: "t", App: "app", Provider: "p", Generation: 7, Looks: looks})
		assert.False(t, v.Gone)
		assert.Equal(t, []any{activities.StatusMissing, "t", "app", "p", int64(7), perennial.Trigger("")}, []any{v.Status, v.Tenant, v.App, v.Provider, v.Generation, v.Trigger})
		assert.True(t, v.Wait > before || v.Wait == time.Hour, "%d: %s", looks, v.Wait)
		assert.LessOrEqual(t, v.Wait, time.Hour)
		before = v.Wait
	}
}
