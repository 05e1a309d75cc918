package store

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
)

// unforced matches a row c without a forced refresh on record. For a row that has one,
// the fence must decide about a caller's claim: see [perennial.Floor].
const unforced = `c.forced_at IS NULL`

// forced reports whether a refresh that begins at at has no reason but its caller: c is well,
// not due, and its access token lives. A failing health does not count: tokens that
// work, with a fault, would be refreshed without end.
func forced(c perennial.Connection, trigger perennial.Trigger, at time.Time) bool {
	return trigger.ByCaller() && well(c) && !needed(c, at)
}

// needed reports whether c must be refreshed at at, also without a caller.
func needed(c perennial.Connection, at time.Time) bool {
	return !c.NextRefreshAt.After(at) || !c.ExpiresAt.IsZero() && !c.ExpiresAt.After(at)
}

// maxForced bounds the count of forced refreshes. No wait grows as far, and no number in
// a row may make the save of a token set fail.
const maxForced = 100

// forcedColumns returns what a refresh of c that began at at writes about forced
// refreshes. A forced one counts. One that was needed begins the count anew. The retry
// of a forced one that failed does neither: a failure now and then must not make room
// for a loop.
func forcedColumns(c perennial.Connection, trigger perennial.Trigger, at time.Time) columns {
	switch {
	case forced(c, trigger, at):
		count := 1
		if !c.ForcedAt.IsZero() && !c.ForcedAt.After(at) && at.Sub(c.ForcedAt) < perennial.ForcedForgotten {
			count = min(max(c.ForcedCount, 0)+1, maxForced)
		}
		return columns{"forced_at": db.Nullable(at), "forced_count": count}
	case needed(c, at) && (!c.ForcedAt.IsZero() || c.ForcedCount != 0): // only if set: the steady save names no more columns
		return neverForced
	}
	return nil
}

// neverForced has the columns of a connection without a forced refresh. Do not change it.
var neverForced = columns{"forced_at": nil, "forced_count": 0}
