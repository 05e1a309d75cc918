package wiring

import (
	"context"
	"fmt"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
)

// Setup writes the missing ids, in the database first. If both are there, it changes
// nothing. It refuses with an error of [perennial.CodeConflict] what only a person may
// decide, see [Binding.Adopt]. It may be repeated.
func (b *Binding) Setup(ctx context.Context) (f Found, wrote bool, err error) {
	if f, err = b.lookAtBoth(ctx); err != nil {
		return f, false, err
	}
	switch {
	case f.State == Unbound:
		f, err = b.write(ctx, f, false)
		return f, err == nil, err
	case !f.State.Presents():
		return f, false, perennial.Errorf(perennial.CodeConflict, "%s", f.Reason)
	}
	return f, false, nil
}

// Adopt binds the database to this Temporal. Unless beside, the database gets a new id,
// so that another Temporal's workers, which know it by the old one, present nothing any
// more. replace is the id of the database that the task queue belonged to, if to another.
// Adopt may be repeated.
func (b *Binding) Adopt(ctx context.Context, beside bool, replace string) (f Found, wrote bool, err error) {
	if f, err = b.lookAtBoth(ctx); err != nil {
		return f, false, err
	}
	switch {
	case f.State == Bound:
		return f, false, nil
	case f.State == Behind, f.State == Foreign && replace != f.Record.Database:
		return f, false, perennial.Errorf(perennial.CodeConflict, "%s", f.Reason)
	case f.State == Unbound:
		beside = true // the database keeps its id
	}
	f, err = b.write(ctx, f, !beside)
	return f, err == nil, err
}

// Restored marks every row as one that may have gone backwards, and lets the processes
// go on.
func (b *Binding) Restored(ctx context.Context) (f Found, marked int64, err error) {
	if f, err = b.lookAtBoth(ctx); err != nil {
		return f, 0, err
	}
	var seen int64
	if f.Record != nil && f.Record.Database == f.Installation.DatabaseID {
		seen = f.Record.Number
	}
	if marked, err = b.rows.MarkRestored(ctx, seen); err != nil {
		return f, marked, err
	}
	f, err = b.lookAtBoth(ctx)
	return f, marked, err
}

// EndMissing lets the workflow of a connection end whose row is gone for good, and
// signals it. It fails unless the last look found database and Temporal bound; see
// [store.Store.EndMissing].
func (b *Binding) EndMissing(ctx context.Context, id string) error {
	f := b.found.Load()
	if f == nil || f.State != Bound {
		return b.refusal()
	}
	if err := b.rows.EndMissing(ctx, id, f.Installation.DatabaseID, f.Installation.Number); err != nil {
		return err
	}
	if err := b.Place.Client.SignalWorkflow(ctx, workflows.ID(id), "", workflows.SignalNudge, nil); err != nil {
		return fmt.Errorf("signal workflow %s, which looks for its row again within the hour: %w", workflows.ID(id), err)
	}
	return nil
}

// lookAtBoth looks, and fails if Temporal does not answer.
func (b *Binding) lookAtBoth(ctx context.Context) (Found, error) {
	if _, err := b.Place.Identity(ctx); err != nil {
		return Found{}, perennial.Errorf(perennial.CodeUnavailable, "Temporal must answer for this: %w", err)
	}
	return b.look(ctx)
}

func recordOf(i store.Installation) workflows.Record {
	return workflows.Record{Database: i.DatabaseID, Number: i.Number}
}

func (b *Binding) write(ctx context.Context, f Found, adopt bool) (Found, error) {
	before := f.Record
	installed, err := b.rows.Bind(ctx, f.binding(), adopt)
	if err != nil {
		return f, err
	}
	err = b.Place.Write(ctx, func(old workflows.Record, found bool) (workflows.Record, error) {
		if found && (before == nil || old.Database != before.Database) && old.Database != installed.DatabaseID {
			return old, perennial.Errorf(perennial.CodeConflict, "task queue %s was given to database %s at this moment: look again", f.TaskQueue, old.Database)
		}
		return recordOf(installed), nil
	})
	if err != nil {
		return f, err
	}
	return b.look(ctx)
}
