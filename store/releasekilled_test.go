package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// TestReleaseKilledAnywhere: whichever statement of a step is a process's last, the
// next process goes on, and each waiting connection is refreshed exactly once.
func TestReleaseKilledAnywhere(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		b := &bundle{Database: d, Store: store.New(d.DB)}
		cs := b.app(t, 12)
		app := cs[0].App
		for _, c := range cs[:2] {
			b.note(t, c, perennial.OutcomeMisconfigured, "invalid_client")
		}
		for _, c := range cs[2:] {
			require.False(t, b.admitted(t, c).Admitted)
		}
		b.note(t, cs[0], perennial.OutcomeRefreshed, "")
		// dies runs a step whose process ends after its nth statement: a cancelled
		// context rolls back what is not committed.
		dies := func(n int) {
			t.Helper()
			process := d.Open(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ran := 0
			dbtest.OnStatement(t, process, func(string, string) {
				if ran++; ran == n {
					cancel()
				}
			})
			_, _, _ = store.New(process).Release(ctx, store.ReleaseRequest{App: app})
		}
		deadline := time.Now().Add(2 * time.Minute)
		for n := 1; b.open(t, app); n = n%30 + 1 {
			require.True(t, time.Now().Before(deadline), "it never ends")
			dies(n)
			for _, c := range cs[2:] {
				row := b.row(t, c.ID)
				if now, err := b.Now(t.Context()); err == nil && row.Generation == 1 && !row.NextAttemptAt.After(now) && b.admitted(t, row).Admitted {
					req := saveRequest(b.claimed(t, row, lease, single), fmt.Sprint(n, c.ID))
					req.NextRefreshAt = time.Now().Add(time.Hour)
					_, err := b.Save(t.Context(), req)
					require.NoError(t, err)
				}
			}
		}
		for _, c := range cs[2:] {
			require.EqualValues(t, 2, b.row(t, c.ID).Generation)
		}
	})
}
