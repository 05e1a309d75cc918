package store

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// CodeSetAside is the failing code of a connection whose newest token set was received
// and cannot be stored now: no key here opens it, or the database refuses it.
const CodeSetAside = "set_aside"

const (
	// setAsideLook is how often the workflow of such a connection tries to store the set.
	setAsideLook = 10 * time.Minute
	// setAsideGrace is how long after the access token's end the set counts as lost, and
	// its connection's refresh token is presented again.
	setAsideGrace = 24 * time.Hour
	// maxSetAside bounds that time for an access token that lives for years.
	maxSetAside = 90 * 24 * time.Hour
)

// SetAsideRequest names a token set that cannot be stored now.
type SetAsideRequest struct {
	ID            string
	Generation    int64 // that the set replaces
	NewGeneration int64
}

// MarkSetAside records that a token set of the connection was received and cannot be
// stored now. From then on nobody presents the refresh token before the set (see
// [decideClaim]), and an active connection is failing with [CodeSetAside]. It changes
// nothing if the row has moved past the set, or has the mark already. The caller has
// checked that the set is the connection's: a mark for a foreign one would stop a
// healthy connection.
func (s *Store) MarkSetAside(ctx context.Context, req SetAsideRequest) (c perennial.Connection, err error) {
	found, err := s.locked(ctx, perennial.WorkerAccess(), req.ID, func(tx *gorm.DB, row perennial.Connection, now time.Time) error {
		c = row
		set := setAsideColumns(row, req, now)
		if len(set) == 0 {
			return nil
		}
		var err error
		c, err = change(tx, row, set, now)
		return err
	})
	if err == nil && !found {
		err = notFound(req.ID)
	}
	return c, err
}

// setAsideColumns returns what MarkSetAside writes. It is pure. now is the database's
// clock.
func setAsideColumns(c perennial.Connection, req SetAsideRequest, now time.Time) columns {
	useless := c.Status == perennial.StatusDisconnected || c.Generation > req.Generation || c.CheckNext(req.NewGeneration) != nil
	if useless || c.SetAsideGeneration >= req.NewGeneration {
		return nil
	}
	until := earliest(latest(c.ExpiresAt, now).Add(setAsideGrace), now.Add(maxSetAside))
	set := columns{"set_aside_generation": req.NewGeneration, "set_aside_until": db.Nullable(until)}
	set.hardWait(latest(c.WaitsUntil(now), now.Add(setAsideLook)))
	if c.Status == perennial.StatusActive {
		set.failing(c, CodeSetAside, now)
	}
	return set
}

// setAsideWait returns when to look again at a connection whose set aside bars its
// refresh token, or zero if nothing bars it: the set counts as lost, or the token of its
// class stays good. now is the database's clock.
func setAsideWait(c perennial.Connection, class perennial.ReplayClass, now time.Time) time.Time {
	over := !c.SetAsideUntil.After(now) || c.SetAsideUntil.After(now.Add(maxSetAside)) // a later time was written by mistake
	if !c.HasSetAside() || class == perennial.ReplayReusable || over {
		return time.Time{}
	}
	return earliest(c.SetAsideUntil, now.Add(setAsideLook))
}

// GiveUpSetAside lets the connection go on without the token set that was set aside, or
// without the reply that is kept: its refresh token is presented again. It is spent already if the provider rotated it,
// so a refusal then counts as our loss. Signal its workflow afterwards. Without either
// it returns an error of [perennial.CodeConflict].
func (s *Store) GiveUpSetAside(ctx context.Context, access perennial.Access, id string) (c perennial.Connection, err error) {
	found, err := s.locked(ctx, access, id, func(tx *gorm.DB, row perennial.Connection, now time.Time) error {
		_, kept, err := readKept(tx, id)
		if err != nil {
			return err
		}
		if !row.HasSetAside() && !kept {
			return perennial.Errorf(perennial.CodeConflict, "no token set of connection %s is set aside, and no reply is kept: there is nothing to give up", id)
		}
		if err := giveUpKept(tx, id); err != nil {
			return err
		}
		c, err = change(tx, row, columns{"set_aside_until": nil}.hardWait(time.Time{}), now)
		return err
	})
	if err == nil && !found {
		err = notFound(id)
	}
	return c, err
}
