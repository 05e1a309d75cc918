package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/activity"
)

// Binding knows which database this process was bound to; wiring.Binding in production.
type Binding interface {
	// Confirms returns an error unless this is the database that the process has
	// verified, and it did not go backwards since.
	Confirms(databaseID string, number int64) error
	// MovedTo returns the task queue to which workflows should move; empty: none.
	MovedTo() string
}

// StatusMissing is the status in a [View] without a row. No row ever has it.
const StatusMissing perennial.Status = "missing"

// Known holds the facts that a workflow has of a connection beside its row.
type Known struct {
	Tenant     string `json:"tenant,omitempty"`
	App        string `json:"app,omitempty"`
	Provider   string `json:"provider,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	Looks      int    `json:"looks,omitempty"` // how often in a row it did not find the row
}

// A workflow whose row is missing looks again after firstLook, and then after twice the
// time before, up to lastLook.
const (
	firstLook = 10 * time.Second
	lastLook  = time.Hour
)

// MissingView is the view of a connection whose row is missing although nobody ended the
// connection. It has all that an older program's workflow needs to sleep meanwhile.
func MissingView(k Known) View {
	wait := lastLook
	if k.Looks < 10 {
		wait = min(firstLook<<max(k.Looks, 0), lastLook) // a start may say anything
	}
	return View{RowMissing: true, Status: StatusMissing, Tenant: k.Tenant, App: k.App, Provider: k.Provider, Generation: k.Generation, Wait: wait,
		Words: "The connection's row is not in the database"}
}

// absent returns the view of a connection without a row. Its workflow may end only if
// the statement that did not find the row saw the right database, and a tombstone.
func (a *Activities) absent(ctx context.Context, id string, known *Known, shown Shown) (View, error) {
	absence, missing, err := a.Store.Absence(ctx, id)
	if err != nil {
		return View{}, err
	}
	if !missing {
		return View{}, fmt.Errorf("read connection %s: its row has just been written", id)
	}
	var unbound error
	if a.Binding != nil {
		unbound = a.Binding.Confirms(absence.DatabaseID, absence.Number)
	}
	if absence.Tombstone != "" && unbound == nil {
		return View{Gone: true, Tombstone: absence.Tombstone}, nil
	}
	if a.RowMissing != nil {
		a.RowMissing()
	}
	if known == nil {
		known = &Known{}
	}
	if known.Looks == 0 {
		activity.GetLogger(ctx).Error("a connection's row is missing and nothing says that it was ended: its workflow goes on looking", "connection_id", id,
			"tombstone", absence.Tombstone, "database_id", absence.DatabaseID, "error", unbound)
	}
	v := MissingView(*known)
	v.Upsert, v.Missing = a.upsert(ctx, shown, v), a.missing(ctx, shown)
	return v, nil
}

var _ Store = (*store.Store)(nil)
