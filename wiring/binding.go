package wiring

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/sdk/client"
)

// Binding knows whether this process's database and Temporal belong together. It is
// safe for concurrent use. It holds the result of the last look; no refresh waits for it.
type Binding struct {
	Place   workflows.Place
	address string
	rows    *store.Store
	log     *slog.Logger
	found   atomic.Pointer[Found] // nil before the first look
	foreign chan struct{}         // closed once the task queue belongs to another database
	once    sync.Once
}

const (
	// bindingEvery is how often the database's number is read, which is one small row;
	// and how often all is looked at while nothing may be presented.
	bindingEvery = 5 * time.Second
	// bindingAskEvery is how often Temporal is asked.
	bindingAskEvery = time.Minute
	bindingTimeout  = 10 * time.Second
)

// BindingFor returns the binding of the database to the Temporal that t leads to, by the
// TEMPORAL_* settings in environ and customize, as in [Dial]. It has not looked yet, and
// changes nothing in d.
func (d *Deps) BindingFor(ctx context.Context, t client.Client, environ []string, customize ...Customize) (*Binding, error) {
	options, err := ClientOptions(ctx, d.Config, environ, customize...)
	if err != nil {
		return nil, err
	}
	namespace := cmp.Or(options.Namespace, client.DefaultNamespace)
	address := options.HostPort
	if address == "" {
		address = client.DefaultHostPort
	}
	return &Binding{Place: workflows.Place{Client: t, Namespace: namespace, TaskQueue: d.Config.TaskQueue}, address: address, rows: d.Store, log: d.Log, foreign: make(chan struct{})}, nil
}

// Bind looks whether the database and the Temporal that t leads to belong together, and
// goes on looking until ctx ends. From then on the engines of this process present
// nothing while they do not. Call it before EngineConfig; Register calls it too. If the
// task queue belongs to another database, the error has [perennial.CodeConflict]. t was
// dialed with customize.
func (d *Deps) Bind(ctx context.Context, t client.Client, customize ...Customize) (*Binding, error) {
	if d.binding != nil {
		return d.binding, nil
	}
	environ := d.environ
	if environ == nil {
		environ = os.Environ()
	}
	b, err := d.BindingFor(ctx, t, environ, customize...)
	if err != nil {
		return nil, err
	}
	look, cancel := context.WithTimeout(ctx, bindingTimeout)
	defer cancel()
	found, err := b.Look(look)
	if err != nil {
		return nil, err
	}
	if found.State == Foreign && !found.State.Presents() {
		return nil, b.refusal()
	}
	d.binding = b
	d.stopBinding = inBackground(context.WithoutCancel(ctx), b.watch)
	return b, nil
}

// Look asks the database and Temporal, and remembers the result. If Temporal does not
// answer, the last verified pair decides.
func (b *Binding) Look(ctx context.Context) (Found, error) {
	f, err := b.look(ctx)
	if err != nil {
		return f, err
	}
	before := b.found.Swap(&f)
	if f.State == Foreign && !f.State.Presents() {
		b.once.Do(func() { close(b.foreign) })
	}
	switch changed := before == nil || before.State != f.State; {
	case !changed:
	case f.State == Unbound:
		b.log.Warn("the database is not bound to Temporal", "what_to_do", f.Reason)
	case !f.State.Presents():
		b.log.Error("nothing is presented", "binding", f.State, "what_to_do", f.Reason)
	case before != nil:
		b.log.Info("database and Temporal belong together again", "database_id", f.Installation.DatabaseID)
	}
	return f, nil
}

// Inspect asks the database and Temporal, and changes and remembers nothing. It fails if
// one of them does not answer.
func (b *Binding) Inspect(ctx context.Context) (f Found, err error) {
	f, away, err := b.ask(ctx)
	if err == nil {
		err = away
	}
	return f, err
}

func foundAt(p workflows.Place) Found { return Found{Namespace: p.Namespace, TaskQueue: p.TaskQueue} }

// ask asks both; away is the error of a Temporal that does not answer. It reads Temporal's
// number before the database's: a sweep raises the database's first, so a pass between
// the two reads never makes the database look as if it went backwards.
func (b *Binding) ask(ctx context.Context) (f Found, away, err error) {
	f = foundAt(b.Place)
	id, away := b.Place.Identity(ctx)
	if away == nil {
		var r workflows.Record
		var known bool
		if r, known, away = b.Place.Read(ctx); known {
			f.Record = &r
		}
	}
	if f.Installation, err = b.rows.Installation(ctx); err != nil || away != nil {
		f.Record = nil
		if err != nil && ctx.Err() != nil { // a Temporal that is slow may have used the time up
			err = errors.Join(away, err)
		}
		return f, away, err
	}
	f.ClusterID, f.NamespaceID = id.ClusterID, id.NamespaceID
	return judge(f), nil, nil
}

func (b *Binding) look(ctx context.Context) (Found, error) {
	f, away, err := b.ask(ctx)
	switch {
	case err != nil:
		return f, err
	case away != nil:
		return b.withoutTemporal(ctx, f, away)
	case f.State == Bound:
		err = b.rows.NoteVerified(ctx, b.address, f.binding())
	}
	return f, err
}

// withoutTemporal judges by the pair that was verified last: by this process, or, at its start,
// by any process with the same address, namespace and task queue.
func (b *Binding) withoutTemporal(ctx context.Context, f Found, away error) (Found, error) {
	if last := b.found.Load(); last != nil {
		now := *last
		now.Installation = f.Installation
		if last.State == Bound && (f.Installation.DatabaseID != last.Installation.DatabaseID || f.Installation.Number < last.Installation.Number) {
			now.State, now.Reason = Behind, "the database is another one, or went backwards, and Temporal does not answer: run `perennial restored` once it does, if the database was restored"
		}
		return now, nil
	}
	verified, err := b.rows.VerifiedBefore(ctx, b.address, f.Namespace, f.TaskQueue)
	switch {
	case err != nil:
		return f, err
	case f.Installation.DatabaseID == "":
		f.State, f.Reason = Unbound, "database and Temporal do not know each other yet: run `perennial setup`"
	case verified:
		f.State = Bound
		b.log.Warn("Temporal does not answer: what was verified last counts", "error", away)
	default:
		f.State, f.Reason = Elsewhere, "Temporal does not answer, and no process has verified that this database belongs to "+b.address+", namespace "+f.Namespace+", task queue "+f.TaskQueue
	}
	return f, nil
}

// watch looks again and again until ctx ends.
func (b *Binding) watch(ctx context.Context) {
	asked := time.Now()
	every(ctx, bindingEvery, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, bindingTimeout)
		defer cancel()
		last := b.found.Load()
		id, number, err := b.rows.InstallationNumber(ctx)
		if err != nil {
			return // a database that does not answer lets nobody present
		}
		same := id == last.Installation.DatabaseID && number >= last.Installation.Number
		if same && last.State.Presents() && time.Since(asked) < bindingAskEvery {
			return
		}
		asked = time.Now()
		if _, err := b.Look(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("whether database and Temporal belong together could not be looked up", "error", err)
		}
	})
}

// State returns the result of the last look.
func (b *Binding) State() (BindingState, string) {
	f := b.found.Load()
	if f == nil {
		return Unbound, ""
	}
	return f.State, f.Reason
}

// MayPresent returns an error while refresh tokens must not be presented.
func (b *Binding) MayPresent() error {
	if state, _ := b.State(); state.Presents() {
		return nil
	}
	return b.refusal()
}

func (b *Binding) refusal() error {
	state, reason := b.State()
	code := perennial.CodeUnavailable
	if state == Foreign {
		code = perennial.CodeConflict
	}
	return perennial.Errorf(code, "nothing is presented: %s", reason)
}

// Confirms implements activities.Binding: an id and a number that were read together
// with something else belong to the database that was verified.
func (b *Binding) Confirms(databaseID string, number int64) error {
	if err := b.MayPresent(); err != nil {
		return err
	}
	if f := b.found.Load(); f != nil && (databaseID != f.Installation.DatabaseID || number < f.Installation.Number) {
		return perennial.Errorf(perennial.CodeUnavailable, "database %s with number %d was read, and %s with %d was verified", named(databaseID), number, named(f.Installation.DatabaseID), f.Installation.Number)
	}
	return nil
}

// Raise looks at both sides and raises the number in both, in the database first: so
// only a database that went backwards is ever behind. The sweep calls it.
func (b *Binding) Raise(ctx context.Context) error {
	f, err := b.Look(ctx)
	if err != nil {
		return err
	}
	if err := b.MayPresent(); err != nil || f.State != Bound {
		return err
	}
	if f.Record == nil {
		return nil // Temporal did not answer
	}
	number, err := b.rows.RaiseNumber(ctx, f.Installation.DatabaseID, f.Record.Number)
	if err != nil {
		return err
	}
	return b.Place.Write(ctx, func(old workflows.Record, found bool) (workflows.Record, error) {
		if !found || old.Database != f.Installation.DatabaseID {
			return old, perennial.Errorf(perennial.CodeConflict, "task queue %s belongs to another database by now", f.TaskQueue)
		}
		old.Number = max(old.Number, number)
		return old, nil
	})
}

// checkSweep raises the numbers. It returns an error only if nothing may be presented: a
// sweep that cannot raise them still finds what nobody looks after.
func (b *Binding) checkSweep(ctx context.Context) error {
	err := b.Raise(ctx)
	if refused := b.MayPresent(); refused != nil {
		return refused
	}
	if err != nil {
		b.log.Warn("the number that shows a restore was not raised; the next sweep raises it", "error", err)
	}
	return nil
}

// wait returns once refresh tokens may be presented.
func (b *Binding) wait(ctx context.Context) error {
	tick := time.NewTicker(bindingEvery / 5)
	defer tick.Stop()
	for b.MayPresent() != nil {
		if state, _ := b.State(); state == Foreign {
			return b.refusal()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
