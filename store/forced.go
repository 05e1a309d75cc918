package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
)

// A caller may ask for a refresh although the access token lives, because an API refused
// it. Each such refresh costs the provider a request and spends a refresh token, so a
// caller that asks again and again waits: forcedFloor after the first, twice as long
// after each further one, forcedCap at most. Two that are more than forcedApart apart
// have nothing to do with each other.
const (
	forcedFloor = 10 * time.Second
	forcedCap   = 10 * time.Minute
	forcedApart = 2 * forcedCap
)

// ForcedUntil returns until when a connection whose access token lives is not refreshed
// at a caller's request. The ledger says how often that was done lately.
func (s *Store) ForcedUntil(ctx context.Context, c perennial.Connection, now time.Time) (time.Time, error) {
	const enough = 8 // doublings reach forcedCap before
	var at []time.Time
	err := s.db.With(ctx).Table("attempts").
		Where("connection_id = ? AND started_at > ? AND trigger_name = ? AND outcome = ? AND life_left_ms > 0",
			c.ID, db.Nullable(now.Add(-enough*forcedApart)), string(perennial.TriggerRequest), string(perennial.OutcomeRefreshed)).
		Order("started_at DESC").Limit(enough).Pluck("started_at", &at).Error
	if err != nil {
		return time.Time{}, fmt.Errorf("read the forced refreshes of connection %s: %w", c.ID, err)
	}
	return forcedUntil(at, now), nil
}

// forcedUntil is pure. at has the times of forced refreshes, newest first.
func forcedUntil(at []time.Time, now time.Time) time.Time {
	wait, next := time.Duration(0), now
	for _, t := range at {
		if next.Sub(t) > forcedApart {
			break
		}
		wait, next = min(max(2*wait, forcedFloor), forcedCap), t
	}
	if wait == 0 {
		return time.Time{}
	}
	return at[0].Add(wait).UTC()
}
