package store_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

const gap = perennial.MaxGenerationGap

// testFloor: a claim believes a generation above the row's, up to the bound.
func testFloor(t *testing.T, b *bundle) {
	for asked, floor := range map[int64]int64{0: 0, 1: 0, 2: 2, 1 + gap: 1 + gap, 2 + gap: 0, 1 << 62: 0, math.MaxInt64: 0} {
		c := b.connect(t)
		ahead := c
		ahead.Generation = asked
		got := b.claim(t, ahead, lease, single)
		require.Equal(t, floor > 0, got.RolledBack, asked)
		row := b.row(t, c.ID)
		require.Equal(t, floor, row.GenerationFloor, asked)
		require.Equal(t, max(floor, 1)+1, row.NextGeneration(), asked)
	}
}

// testSaveBounded: the store refuses a generation that no refresh of the row can have.
func testSaveBounded(t *testing.T, b *bundle) {
	for _, number := range []int64{math.MinInt64, -1, 0, 1, gap + 3, 1 << 53, 1 << 62, math.MaxInt64} {
		for name, claimed := range map[string]bool{"in one statement": true, "under the lock": false} {
			c := b.claimed(t, b.connect(t), lease, single)
			req := saveRequest(c, "2")
			req.NewGeneration = number
			if !claimed {
				req.Claimed = perennial.Connection{}
			}
			_, err := b.Save(t.Context(), req)
			requireCode(t, perennial.CodeInvalid, err)
			require.Equal(t, c, b.row(t, c.ID), "%d %s", number, name)
			require.Empty(t, b.outcomes(t, c.ID), "nothing of it is written")
		}
		c := b.connect(t)
		_, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, tokens(number, "2"))
		requireCode(t, perennial.CodeInvalid, err)
	}
	c := b.claimed(t, b.connect(t), lease, single)
	req := saveRequest(c, "2")
	req.NewGeneration = gap + 2 // one more than the highest floor
	saved, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.True(t, saved.Stored)

	_, err = b.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: "new", TenantID: "t", App: "a", Provider: "p", AccountID: "new"}, tokens(0, "1"))
	requireCode(t, perennial.CodeInvalid, err)
}

// testHarmedRow: an earlier program may have stored the largest generation, which has
// no successor. A new grant mends such a row, and so does the next refresh.
func testHarmedRow(t *testing.T, b *bundle) {
	for _, columns := range []string{"generation = %[1]d", "generation_floor = %[1]d", "generation = %[1]d, generation_floor = %[1]d"} {
		for _, number := range []int64{perennial.MaxGeneration, math.MaxInt64 - 1, math.MaxInt64} {
			harmed := func() perennial.Connection {
				c := b.connect(t)
				b.Exec(t, fmt.Sprintf("UPDATE connections SET "+columns+" WHERE id = '"+c.ID+"'", number))
				return b.row(t, c.ID)
			}
			c := harmed()
			got, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", c.Generation, tokens(c.NextGeneration(), "2"))
			require.NoError(t, err, columns)
			require.Positive(t, got.Generation)
			require.Less(t, got.NextGeneration(), int64(perennial.MaxGeneration))

			c = b.claimed(t, harmed(), lease, single)
			req := saveRequest(c, "2")
			req.NewGeneration = c.NextGeneration()
			saved, err := b.Save(t.Context(), req)
			require.NoError(t, err, columns)
			require.True(t, saved.Stored)
			again, err := b.Save(t.Context(), req)
			require.NoError(t, err)
			require.True(t, again.Stored, "the answer was lost")
			require.Equal(t, store.VerdictClaimed, b.claim(t, saved.Connection, lease, single).Verdict)
		}
	}
}
