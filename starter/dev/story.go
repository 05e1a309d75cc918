package dev

import (
	"context"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/workflows"
)

// story breaks and repairs things, once per start.
type story struct {
	*stack
	out    io.Writer
	repair time.Duration // how long the user takes to reconnect

	mu                     sync.Mutex
	kills, lost, recovered int
	news                   string // the latest event
	kept                   []string
}

func newStory(s *stack, out io.Writer, repair time.Duration) *story {
	return &story{stack: s, out: out, repair: repair}
}

func (t *story) tell(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.news = fmt.Sprintf(format, args...)
	fmt.Fprintln(t.out, t.news)
}

// keep prints a line that stays on the screen.
func (t *story) keep(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	t.kept = append(t.kept, line)
	fmt.Fprintln(t.out, line)
}

// takeKept returns the lines that stay, each of them once.
func (t *story) takeKept() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.kept
	t.kept = nil
	return kept
}

// run returns when the story is over or ctx ends, which is no error.
func (t *story) run(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	for _, part := range []func(context.Context) error{t.revocation, t.killing} {
		wg.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// revocation: the user removes access, an API call detects it, the user reconnects.
func (t *story) revocation(ctx context.Context) error {
	d, id := t.cast(roleRevoked)
	if err := after(ctx, revokeAfter); err != nil {
		return err
	}
	c, _, err := t.deps.Store.Get(ctx, perennial.CommandLineAccess(), id)
	if err != nil {
		return err
	}
	if err := t.provider.Revoke("demo-"+d.app, d.account); err != nil {
		return err
	}
	t.tell("%s: access was removed at the provider.", d.account)
	// The product's next call gets a 401, so it requests another token.
	if _, err := t.updates.RefreshNow(ctx, id, workflows.NewerThan(c)); err != nil {
		return err
	}
	if _, err := t.until(ctx, id, func(c perennial.Connection) bool { return c.Status == perennial.StatusReconnectRequired }); err != nil {
		return err
	}
	t.mu.Lock()
	t.lost++
	t.mu.Unlock()
	link, err := t.sessions.CreateSession(ctx, perennial.CommandLineAccess(), connect.SessionRequest{ConnectionID: id, TenantTitle: "Acme Inc."})
	if err != nil {
		return err
	}
	t.tell("%s: the refusal was confirmed; the user must reconnect.", d.account)
	t.keep("Be the user within %s, and allow access as %s: %s", t.repair, d.account, link.Link.Reveal())
	before, err := t.reconnected(ctx, d, id)
	if err != nil {
		return err
	}
	// The connection counts as recovered when its workflow refreshes by itself again.
	if _, err := t.updates.RefreshNow(ctx, id, workflows.NewerThan(before)); err != nil {
		return err
	}
	if _, err := t.until(ctx, id, func(c perennial.Connection) bool {
		return c.Status == perennial.StatusActive && c.Generation > before.Generation
	}); err != nil {
		return err
	}
	t.mu.Lock()
	t.recovered++
	t.mu.Unlock()
	t.tell("%s: refreshing again, under the same id and workflow.", d.account)
	return nil
}

// reconnected reconnects as the user, unless a person at the terminal does it first.
func (t *story) reconnected(ctx context.Context, d demo, id string) (perennial.Connection, error) {
	patience, cancel := context.WithTimeout(ctx, t.repair)
	defer cancel()
	c, err := t.until(patience, id, func(c perennial.Connection) bool { return c.Status == perennial.StatusActive })
	if err == nil {
		t.tell("%s: you reconnected it.", d.account)
		return c, nil
	}
	if ctx.Err() != nil {
		return c, ctx.Err()
	}
	c, err = t.consent(ctx, d, id)
	if err == nil {
		t.tell("%s: the user reconnected.", d.account)
	}
	return c, err
}

// killing: the worker dies after the provider has rotated the refresh token and before
// the reply arrives.
func (t *story) killing(ctx context.Context) error {
	d, id := t.cast(roleKilled)
	if err := after(ctx, killAfter); err != nil {
		return err
	}
	c, _, err := t.deps.Store.Get(ctx, perennial.CommandLineAccess(), id)
	if err != nil {
		return err
	}
	slow := d.knobs
	slow.LatencyAfterMS = 1500
	if err := t.provider.SetKnobs("demo-"+d.app, d.account, slow); err != nil {
		return err
	}
	done := t.refreshesOf(d)
	asked := make(chan error, 1)
	go func() {
		_, err := t.updates.RefreshNow(ctx, id, workflows.NewerThan(c))
		asked <- err
	}()
	if err := poll(ctx, func() (bool, error) { return t.refreshesOf(d) > done, nil }); err != nil {
		return err
	}
	status, err := t.killWorker()
	if err != nil {
		return err
	}
	if err := t.provider.SetKnobs("demo-"+d.app, d.account, d.knobs); err != nil {
		return err
	}
	if !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("the story killed the worker, but it ended with status %v", status)
	}
	t.mu.Lock()
	t.kills++
	t.mu.Unlock()
	t.tell("%s: the worker was killed (SIGKILL) after the provider rotated its token, before the reply came.", d.account)
	if _, err := t.until(ctx, id, func(now perennial.Connection) bool { return now.Generation > c.Generation }); err != nil {
		return err
	}
	t.tell("%s: nothing was lost; the provider's grace window gave the same tokens again.", d.account)
	return <-asked
}

// cast returns the connection that plays a role.
func (t *story) cast(r role) (demo, string) {
	for i, d := range demos {
		if d.role == r {
			return d, t.ids[i]
		}
	}
	panic("no demo connection is " + string(r))
}

func (t *story) refreshesOf(d demo) int {
	for _, g := range t.provider.Oracle().Grants {
		if g.Client == "demo-"+d.app && g.Account == d.account {
			return g.Refreshes
		}
	}
	return 0
}

// until reads the row until wanted accepts it.
func (t *story) until(ctx context.Context, id string, wanted func(perennial.Connection) bool) (c perennial.Connection, err error) {
	err = poll(ctx, func() (bool, error) {
		c, _, err = t.deps.Store.Get(ctx, perennial.CommandLineAccess(), id)
		return err == nil && wanted(c), err
	})
	return c, err
}

const pollEvery = 50 * time.Millisecond

func poll(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := after(ctx, pollEvery); err != nil {
			return err
		}
	}
}

func after(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
