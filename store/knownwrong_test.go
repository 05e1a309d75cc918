package store

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/knownwrong"
	"github.com/stretchr/testify/require"
)

// TestFloorLearntMeanwhile: while an attempt is open after a restore, the workflow
// tells the row that generation 5 was used. The attempt's set is still saved as 4.
func TestFloorLearntMeanwhile(t *testing.T) {
	t.Parallel()
	s, db := fleetOfOne(t)
	exec(t, db, "UPDATE connections SET generation = 3, last_refreshed_at = clock_timestamp() - interval '1 day'")
	claim, ok, err := s.FastClaim(t.Context(), "hubspot", ClaimRequest{ID: "first", Generation: 3, AttemptID: "a1", Lease: time.Minute, Trigger: perennial.TriggerFallback})
	require.NoError(t, err)
	require.True(t, ok)
	told, err := s.Claim(t.Context(), ClaimRequest{ID: "first", Generation: 5, AttemptID: "a2", Lease: time.Minute, Trigger: perennial.TriggerTimer})
	require.NoError(t, err)
	require.True(t, told.RolledBack)
	c := claim.Connection
	saved, err := s.Save(t.Context(), SaveRequest{ID: "first", AttemptID: "a1", Generation: 3, Digest: c.RefreshTokenDigest, NewGeneration: c.NextGeneration(),
		SealedTokens: SealedTokens{AccessTokenSealed: []byte("x"), RefreshTokenSealed: []byte("y"), RefreshTokenDigest: "2"}, Claimed: c,
		Ledger: perennial.Attempt{ID: "a1", ConnectionID: "first", Generation: 3, Outcome: perennial.OutcomeRefreshed, StartedAt: c.Open.StartedAt}})
	require.NoError(t, err)
	require.True(t, saved.Stored)
	knownwrong.Check(t, saved.Connection.Generation > saved.Connection.GenerationFloor, true, false)
}
