package store

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"gorm.io/gorm"
)

// EndBackoff ends a wait of the connection that is our own, on an operator's word, and
// returns the row. The next forced refresh does not wait for those before it. Signal its
// workflow afterwards: its app's circuit and limits are asked as ever. A wait that is not ours is an error of [perennial.CodeUnavailable] that says
// until when, and why; nothing is changed then. So is a status other than active an error
// of [perennial.CodeConflict].
func (s *Store) EndBackoff(ctx context.Context, access perennial.Access, id string) (c perennial.Connection, err error) {
	found, err := s.locked(ctx, access, id, func(tx *gorm.DB, row perennial.Connection, now time.Time) error {
		c = row
		if row.Status != perennial.StatusActive {
			return perennial.Errorf(perennial.CodeConflict, "connection %s is %s: only an active one is refreshed", id, row.Status)
		}
		if until := row.NotBefore(now); until.After(now) {
			return perennial.Errorf(perennial.CodeUnavailable, "connection %s is not presented before %s, whoever asks: %s", id, until.Format(time.RFC3339), hardReason(row, now))
		}
		set := columns{}
		if row.NextAttemptAt.After(now) {
			set.endedWait(now)
		}
		if !row.ForcedAt.IsZero() {
			set.with(neverForced)
		}
		if len(set) == 0 {
			return nil
		}
		var err error
		c, err = change(tx, row, set, now)
		return err
	})
	if err == nil && !found {
		err = notFound(id)
	}
	return c, err
}

// endedWait ends a wait of our own. It leaves queued_at: a connection that has waited for
// its app keeps its place at the app's limit.
func (set columns) endedWait(now time.Time) columns { return set.ownWait(now) }

// hardReason says why nobody may shorten the connection's wait. now is the database's
// clock.
func hardReason(c perennial.Connection, now time.Time) string {
	switch {
	case c.ConfirmAt.After(now):
		return "its token was refused once, and is presented once more after a minute to make sure"
	case c.HasSetAside() && c.FailingCode == CodeReplyKept:
		return "its provider sent a reply that could not be read and is kept: `perennial recover`"
	case c.HasSetAside():
		return "a newer token set of it waits to be stored"
	case c.Ambiguous() && c.ExpiresAt.After(now):
		return "its refresh token may be spent, so its access token is served first"
	}
	return "its provider asked for this wait"
}
