package store_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The model is the refresh engine with the decisions of this package: one connection at one provider, by a virtual clock. Every call of the
// engine may fail before or after its effect, and its process may die there. So a fault
// can happen between any two steps. Several processes, each with its own spool, work on
// the row.

const modelLife = 10 * time.Minute

// world is the model: a provider that knows the truth, a database, processes.
type world struct {
	t     *rapid.T
	now   time.Time
	entry provider.Entry
	rows  *store.Memory

	// The provider's books.
	current  string           // the refresh token that is good
	previous string           // the one before, within a grace window
	spentAt  time.Time        // when previous was first used
	issued   int              // number of tokens so far
	dead     bool             // the grant
	lying    int              // number of next refusals that are false
	lied     bool             // since the last stored token set
	revoked  bool             // by its user
	problems []string         // what must not happen, but did
	lossy    bool             // a reply was lost, or died with its process
	given    map[int64]string // digest of each generation
	forced   time.Time        // when a caller's wish alone brought the newest token set; zero: it did not

	faults    bool
	unsaved   []store.SaveRequest // in the workflow's journal
	processes []*process
	alone     *process // the process whose engine is running
}

// process is one worker. Its spool outlives it.
type process struct {
	w      *world
	engine *refresh.Engine
	kept   map[string]store.SaveRequest
}

type died struct{}

// fault draws what happens at a call: nothing, an error before it, an error after it,
// or the end of the process.
func (w *world) fault(what string) (before, after error) {
	if !w.faults {
		return nil, nil
	}
	switch rapid.IntRange(0, 19).Draw(w.t, what) {
	case 0:
		return errors.New("away"), nil
	case 1:
		return nil, errors.New("the answer was lost")
	case 2:
		panic(died{})
	}
	return nil, nil
}

func faulty[R any](w *world, what string, do func() (R, error)) (R, error) {
	before, after := w.fault(what)
	var zero R
	if before != nil {
		return zero, before
	}
	out, err := do()
	if err != nil {
		return zero, err
	}
	if after != nil {
		return zero, after
	}
	return out, nil
}

// faultyRows is the database as an engine sees it, with faults.
type faultyRows struct {
	w *world
	m *store.Memory
}

func (f faultyRows) Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error) {
	c, err := faulty(f.w, "get", func() (perennial.Connection, error) {
		c, _, err := f.m.Get(ctx, perennial.WorkerAccess(), id)
		return c, err
	})
	return c, f.w.now, err
}

func (f faultyRows) ReturnProbe(ctx context.Context, req store.ReturnProbeRequest) error {
	_, err := faulty(f.w, "return the probe", func() (int, error) { return 0, f.m.ReturnProbe(ctx, req) })
	return err
}

func (f faultyRows) Admit(ctx context.Context, req store.AdmitRequest) (store.Admission, error) {
	return faulty(f.w, "admit", func() (store.Admission, error) { return f.m.Admit(ctx, req) })
}

func (f faultyRows) KeepSpare(ctx context.Context, req store.SaveRequest) (bool, error) {
	return f.m.KeepSpare(ctx, req)
}

func (f faultyRows) Spare(ctx context.Context, id string) (store.Spare, bool, error) {
	return f.m.Spare(ctx, id)
}

func (f faultyRows) GrantReplaced(ctx context.Context, c perennial.Connection) (bool, error) {
	return f.m.GrantReplaced(ctx, c)
}

func (f faultyRows) AccountInUse(ctx context.Context, app, account string) (bool, error) {
	return f.m.AccountInUse(ctx, app, account)
}

func (f faultyRows) ClientSecret(ctx context.Context, app string) (store.ClientSecret, error) {
	return faulty(f.w, "read the client secret", func() (store.ClientSecret, error) { return f.m.ClientSecret(ctx, app) })
}

func (f faultyRows) BeginSecretTrial(ctx context.Context, req store.SecretTrialRequest) (store.SecretTrial, error) {
	return faulty(f.w, "begin a trial", func() (store.SecretTrial, error) { return f.m.BeginSecretTrial(ctx, req) })
}

func (f faultyRows) EndSecretTrial(ctx context.Context, c perennial.Connection, digest string) error {
	_, err := faulty(f.w, "end the trial", func() (int, error) { return 0, f.m.EndSecretTrial(ctx, c, digest) })
	return err
}

func (f faultyRows) NoteReply(ctx context.Context, req store.NoteRequest) error {
	return f.m.NoteReply(ctx, req)
}

func (f faultyRows) Claim(ctx context.Context, req store.ClaimRequest) (store.Claim, error) {
	return faulty(f.w, "claim", func() (store.Claim, error) { return f.m.Claim(ctx, req) })
}

func (f faultyRows) FastClaim(ctx context.Context, app string, req store.ClaimRequest) (claim store.Claim, ok bool, err error) {
	claim, err = faulty(f.w, "claim", func() (c store.Claim, err error) {
		c, ok, err = f.m.FastClaim(ctx, app, req)
		return c, err
	})
	return claim, ok, err
}

func (f faultyRows) FastAdmit(ctx context.Context, req store.FastAdmitRequest) (store.Admission, bool, error) {
	return f.m.FastAdmit(ctx, req)
}

func (f faultyRows) MarkSending(ctx context.Context, id, attempt string) error {
	_, err := faulty(f.w, "mark", func() (bool, error) { return true, f.m.MarkSending(ctx, id, attempt) })
	return err
}

func (f faultyRows) Save(ctx context.Context, req store.SaveRequest) (store.SaveResult, error) {
	saved, err := faulty(f.w, "save", func() (store.SaveResult, error) { return f.m.Save(ctx, req) })
	f.w.look()
	return saved, err
}

func (f faultyRows) CloseAttempt(ctx context.Context, req store.CloseRequest) (perennial.Connection, bool, error) {
	closed := false
	c, err := faulty(f.w, "close", func() (c perennial.Connection, err error) {
		c, closed, err = f.m.CloseAttempt(ctx, req)
		return c, err
	})
	return c, closed, err
}

func (f faultyRows) Attempt(ctx context.Context, connectionID, id string) (perennial.Attempt, bool, error) {
	return f.m.Attempt(ctx, connectionID, id)
}

func (f faultyRows) MarkSetAside(ctx context.Context, req store.SetAsideRequest) (perennial.Connection, error) {
	return f.m.MarkSetAside(ctx, req)
}

// The spool of a process.
func (p *process) Ready() error { return nil }
func (p *process) Add(req store.SaveRequest) error {
	_, err := faulty(p.w, "keep", func() (bool, error) { p.kept[req.AttemptID] = req; return true, nil })
	return err
}
func (p *process) Drop(req store.SaveRequest) error { delete(p.kept, req.AttemptID); return nil }
func (p *process) Has(_ string, generation int64) (bool, error) {
	for _, req := range p.kept {
		if req.Generation >= generation {
			return true, nil
		}
	}
	return false, nil
}
func (p *process) List() ([]store.SaveRequest, error) {
	var out []store.SaveRequest
	for _, req := range p.kept {
		out = append(out, req)
	}
	return out, nil
}

// plain does not seal: the model is about which copies exist.
type plain struct{}

func (plain) Seal(_ seal.Binding, s perennial.Secret) ([]byte, error) { return []byte(s.Reveal()), nil }
func (plain) Open(_ seal.Binding, b []byte) (perennial.Secret, error) {
	return perennial.NewSecret(string(b)), nil
}

func (w *world) App(string) (provider.App, error) {
	return provider.App{Name: "app", ClientID: "client", Provider: w.entry, Buffer: provider.BufferQueue}, nil
}

// Refresh is the presentation. The request or the reply may be lost.
func (w *world) Refresh(ctx context.Context, _ provider.App, _, token perennial.Secret, send func(context.Context) error) provider.Reply {
	if err := send(ctx); err != nil {
		return provider.Reply{Outcome: perennial.OutcomeUnavailable, Code: "unsent"}
	}
	lost := provider.Reply{Outcome: perennial.OutcomeUnknown, Code: "connection_lost", Sent: true}
	what := 0
	if w.faults {
		what = rapid.IntRange(0, 11).Draw(w.t, "provider")
	}
	switch what {
	case 1:
		return lost // the request never arrived
	case 2:
		return provider.Reply{Outcome: perennial.OutcomeRateLimited, Code: "too_many_requests", Sent: true, HTTPStatus: 429, RetryAfter: 5 * time.Second}
	case 3:
		if !w.lied { // a repeated false refusal looks like a true one
			w.lying, w.lied = 1, true
		}
	}
	reply := w.work(token.Reveal())
	if what == 4 || what == 5 {
		if reply.Outcome == perennial.OutcomeRefreshed {
			w.lossy = true
		}
		if what == 5 {
			panic(died{})
		}
		return lost
	}
	return reply
}

func (w *world) work(token string) provider.Reply {
	refused := provider.Reply{Outcome: perennial.OutcomeRevoked, Code: "invalid_grant", Sent: true, HTTPStatus: 400}
	if w.lying > 0 {
		w.lying--
		return refused
	}
	if token != w.current {
		class := w.entry.ReplayClass
		if class == perennial.ReplayGrace && token == w.previous && w.now.Before(w.spentAt.Add(w.entry.GraceWindow)) && !w.dead {
			return w.tokens()
		}
		if !w.lossy {
			w.problem("a consumed token was shown")
		}
		if class == perennial.ReplayReuseRevokes {
			if w.now.Before(w.row().ExpiresAt) && !w.dead {
				w.problem("a consumed token was shown while the access token that we hold lived")
			}
			w.dead = true
		}
		return refused
	}
	if w.dead {
		return refused
	}
	w.issued++
	if w.entry.ReplayClass != perennial.ReplayReusable {
		w.previous, w.spentAt = w.current, w.now
		w.current = fmt.Sprintf("refresh %d", w.issued)
	}
	return w.tokens()
}

func (w *world) tokens() provider.Reply {
	return provider.Reply{Outcome: perennial.OutcomeRefreshed, Sent: true, HTTPStatus: 200, Tokens: perennial.TokenSet{
		AccessToken: perennial.NewSecret(fmt.Sprintf("access %d", w.issued)), RefreshToken: perennial.NewSecret(w.current), ExpiresIn: modelLife}}
}

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *world) row() perennial.Connection {
	c, _, err := w.rows.Get(context.Background(), perennial.WorkerAccess(), "con_1")
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// look checks what must always hold of the row.
func (w *world) look() {
	c := w.row()
	if d, ok := w.given[c.Generation]; ok && d != c.RefreshTokenDigest {
		w.problem("generation %d was given twice", c.Generation)
	}
	if _, seen := w.given[c.Generation]; !seen {
		w.lied = false
	}
	w.given[c.Generation] = c.RefreshTokenDigest
	if c.Status != perennial.StatusReconnectRequired || w.revoked {
		return
	}
	switch {
	case w.entry.ReplayClass == perennial.ReplayReusable, w.entry.ReplayClass == perennial.ReplayGrace:
		w.problem("told to reconnect (%s), though its class recovers", c.Reason)
	case !w.lossy:
		w.problem("told to reconnect (%s), though nothing was lost", c.Reason)
	case c.Reason != perennial.ReasonRotationLost:
		w.problem("our loss is named %s", c.Reason)
	}
}

func newWorld(t *rapid.T) *world {
	class := rapid.SampledFrom(perennial.ReplayClasses).Draw(t, "class")
	w := &world{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), given: map[int64]string{}, current: "refresh 0",
		entry: provider.Entry{Name: "generic", ReplayClass: class, GraceWindow: 1000 * time.Hour}}
	w.rows = store.NewMemory(func() time.Time { return w.now })
	w.consent()
	for range 2 {
		p := &process{w: w, kept: map[string]store.SaveRequest{}}
		p.start()
		w.processes = append(w.processes, p)
	}
	return w
}

// consent gives a new grant. Nothing from before it counts.
func (w *world) consent() {
	w.issued++
	w.forced = time.Time{}
	w.current, w.previous, w.dead, w.revoked, w.lossy, w.lying, w.lied = fmt.Sprintf("refresh %d", w.issued), "", false, false, false, 0, false
	c, _, err := w.rows.Get(context.Background(), perennial.WorkerAccess(), "con_1")
	generation := int64(1)
	if err == nil {
		generation = c.NextGeneration()
	}
	c = perennial.Connection{ID: "con_1", App: "app", Provider: "generic"}
	app, _ := w.App("")
	tokens := w.tokens().Tokens
	write, err := refresh.Tokens(plain{}, app, c, generation, tokens, tokens.RefreshToken, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.rows.Put(c, write)
	w.look()
}

func (p *process) start() {
	p.engine = refresh.New(refresh.Config{Store: faultyRows{p.w, p.w.rows}, Presenter: p.w, Apps: p.w, Sealer: plain{}, Spool: p,
		Timing: timing.Config{SaveTimeout: time.Nanosecond}})
}

// lives runs do in the process. It returns false if the process died.
func (p *process) lives(do func()) (lived bool) {
	p.w.alone = p
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(died); !ok {
				panic(r)
			}
			p.start() // a supervisor starts it again, with an empty memory
		}
	}()
	do()
	return true
}

// refresh calls a process's engine. A process loses the reply if it dies after the
// provider spent the token and before anything kept the reply.
func (w *world) refresh(p *process, trigger perennial.Trigger) {
	row := w.row()
	issued, kept := w.issued, len(p.kept)
	app := rapid.SampledFrom([]string{"", row.App}).Draw(w.t, "app known")
	lived := p.lives(func() {
		res, err := p.engine.Refresh(context.Background(), refresh.Request{ConnectionID: "con_1", Generation: row.Generation, Trigger: trigger, App: app})
		if err == nil && res.Unsaved != nil {
			w.unsaved = append(w.unsaved, *res.Unsaved) // the activity's result is durable
		}
	})
	if !lived && w.issued > issued && len(p.kept) == kept && w.row().RefreshTokenDigest != perennial.NewSecret(w.current).Digest() {
		w.lossy = true
	}
	if w.row().Generation > row.Generation {
		w.forced = time.Time{}
	}
	w.look()
}

// calls is a caller that asks for a newer token, with any generation. Without a reason of
// the connection's own it gets two within the floor only if another came between.
func (w *world) calls(p *process) {
	before, last := w.row(), w.forced
	well := before.Status == perennial.StatusActive && before.Open.IsZero() && before.FailureCount == 0 && !before.Ambiguous() && !before.Suspect() && !before.HasSetAside() &&
		before.NextRefreshAt.After(w.now) && before.ExpiresAt.After(w.now)
	w.refresh(p, perennial.TriggerRequest)
	if !well || w.row().Generation == before.Generation {
		return
	}
	if w.forced = w.now; !last.IsZero() && w.now.Sub(last) < p.engine.Timing.ForcedFloor {
		w.problem("forced twice within %s", w.now.Sub(last))
	}
}

// settle lets time pass without faults until nothing is in doubt.
func (w *world) settle() {
	w.faults, w.lying = false, 0
	for range 12 {
		for _, p := range w.processes {
			for _, req := range w.unsaved {
				if _, err := p.engine.Persist(context.Background(), req); err != nil {
					w.t.Fatalf("persist: %v", err)
				}
			}
			w.unsaved = nil
			if err := p.engine.StoreUnsaved(context.Background()); err != nil {
				w.t.Fatalf("replay: %v", err)
			}
		}
		w.look()
		c := w.row()
		at, trigger := timing.Wake(c, w.now)
		if c.Status != perennial.StatusActive {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		w.refresh(w.processes[0], trigger)
	}
	w.look()
	c := w.row()
	if c.Status == perennial.StatusActive && (c.Ambiguous() || c.Suspect() || !c.ExpiresAt.After(w.now)) {
		w.problem("never came to rest: %+v", c)
	}
	if c.Status == perennial.StatusActive && c.RefreshTokenDigest != perennial.NewSecret(w.current).Digest() {
		w.problem("at rest with a token that is not the good one")
	}
}

// TestModel draws sequences of: refreshes by two processes, faults between any two
// steps, a provider that is wrong once, a user who reconnects, and time that passes.
func TestModel(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		require.NoError(t, f.Value.Set("10000"))
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.faults = true
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				w.now = w.now.Add(time.Duration(rapid.Int64Range(1, int64(2*modelLife)).Draw(t, "time")))
			case 1:
				if w.row().Status == perennial.StatusReconnectRequired {
					w.consent() // copies of the old grant's tokens change nothing
				}
			case 2:
				p := rapid.SampledFrom(w.processes).Draw(t, "process")
				p.lives(func() { _ = p.engine.StoreUnsaved(context.Background()) })
			case 3:
				p := rapid.SampledFrom(w.processes).Draw(t, "process")
				if len(w.unsaved) > 0 {
					p.lives(func() {
						if _, err := p.engine.Persist(context.Background(), w.unsaved[0]); err == nil {
							w.unsaved = w.unsaved[1:]
						}
					})
				}
			case 4:
				if len(w.unsaved) > 0 {
					continue
				}
				for range rapid.IntRange(1, 3).Draw(t, "calls") {
					w.calls(rapid.SampledFrom(w.processes).Draw(t, "process"))
					w.now = w.now.Add(time.Duration(rapid.Int64Range(0, int64(15*time.Second)).Draw(t, "between")))
				}
			default:
				p := rapid.SampledFrom(w.processes).Draw(t, "process")
				if len(w.unsaved) > 0 {
					continue // the workflow does nothing else before
				}
				c := w.row()
				at, trigger := timing.Wake(c, w.now)
				if at.After(w.now) && rapid.Bool().Draw(t, "wait") {
					w.now = at
				}
				if trigger == "" {
					trigger = perennial.TriggerRequest
				}
				w.refresh(p, trigger)
			}
			w.look()
		}
		w.settle()
		if len(w.problems) > 0 {
			t.Fatalf("%s: %q", w.entry.ReplayClass, w.problems)
		}
	})
}
