package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
)

// AppStore has what an app in trouble needs; store.Store in production.
type AppStore interface {
	CanaryStore
	ReleaseStore
	// AppTrouble returns the state of an app with its evidence, without the numbers of
	// connections, and the database's clock.
	AppTrouble(ctx context.Context, app string) (store.AppState, time.Time, error)
	// Queued counts the connections that wait at a host, up to limit.
	Queued(ctx context.Context, app, host string, limit int) (int64, error)
}

// AppKeeper holds the dependencies of the LookAfterApp activity. Safe for concurrent
// use.
type AppKeeper struct {
	Store    AppStore
	Apps     refresh.Apps
	Canaries *Canaries
	Releaser *Releaser
}

// AppView is an app as its workflow knows it. It holds texts for people, and when
// to look again.
type AppView struct {
	Well bool `json:"well,omitempty"` // nothing is wrong
	// Heads describes each trouble in one line: the lines change when a state does.
	Heads []string `json:"heads,omitempty"`
	Lines []string `json:"lines,omitempty"` // more about it; Markdown
	// Wait is until the next look, measured from the database's now.
	Wait time.Duration `json:"wait"`
	Next string        `json:"next,omitempty"` // the purpose of the next look
	// Problem says why a part of the look failed; the next one does it.
	Problem string `json:"problem,omitempty"`
}

const (
	// CanaryAhead is how long before a probe its canary is called. A canary takes about as
	// long to wake.
	CanaryAhead = time.Second
	// releaseFor is how long one look goes on releasing, and lookEvery the longest time
	// between two looks at an app: an operator's word shows within it.
	releaseFor = 3 * time.Second
	lookEvery  = time.Minute
	// queuedCounted is up to how many waiting connections are counted.
	queuedCounted = 10000
	// evidenceLines and problemSize bound a view.
	circuitsShown = 10
	evidenceLines = 5
	problemSize   = 300
)

// LookAfterApp does the due work for an app in trouble: it calls the canary of a probe,
// and releases waiting connections for a few seconds. It returns how the app is. Each
// worker does the same by itself; the rows fence the steps.
func (k *AppKeeper) LookAfterApp(ctx context.Context, app string) (AppView, error) {
	_, err := k.Canaries.Call(ctx, app, CanaryAhead)
	err = errors.Join(err, k.release(ctx, app))
	state, now, readErr := k.Store.AppTrouble(ctx, app)
	if readErr != nil {
		return AppView{}, readErr
	}
	v := k.view(ctx, state, now)
	if err != nil {
		v.Problem = fmt.Sprintf("%.*s", problemSize, err)
	}
	return v, nil
}

// release does the steps of a release for a few seconds.
func (k *AppKeeper) release(ctx context.Context, app string) error {
	for over := time.Now().Add(releaseFor); ; {
		more, err := k.Releaser.Step(ctx, app)
		if err != nil || !more || time.Now().Add(releaseEvery).After(over) {
			return err
		}
		select {
		case <-time.After(releaseEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// view describes an app's state. now is the database's clock.
func (k *AppKeeper) view(ctx context.Context, s store.AppState, now time.Time) AppView {
	v := AppView{Wait: lookEvery, Next: "look"}
	if !s.StoppedAt.IsZero() {
		v.head("stopped by an operator since %s", at(s.StoppedAt))
		v.line("Nothing is presented until `perennial app start %s`.", s.App)
	}
	open := slices.DeleteFunc(slices.Clone(s.Circuits), func(c store.Circuit) bool { return !c.Open })
	for i, c := range open {
		if s.StoppedAt.IsZero() {
			v.until(c, now)
		}
		if i < circuitsShown {
			k.circuit(ctx, &v, c)
		}
	}
	if more := len(open) - circuitsShown; more > 0 {
		v.line("And %d more hosts: `perennial app show %s`.", more, s.App)
	}
	if s.RefusalHold {
		v.head("refusals are not believed since %s: %s", at(s.HoldRaisedAt), s.HoldReason)
		v.line("Ask the provider; then `perennial app release %s` if it is a false alarm, `perennial app confirm %[1]s` if the refusals are real.", s.App)
	}
	v.Well = len(v.Heads) == 0
	for _, e := range s.Evidence[:min(len(s.Evidence), evidenceLines)] {
		v.line("%s: %d connections of tenant %s, %s (%s), since %s; %d of them were well before.", e.Host, e.Connections, e.TenantID, e.Kind, e.Code, at(e.Since), e.Counted)
	}
	if s.OperatorDid != "" {
		v.head("an operator did %s at %s", s.OperatorDid, at(s.OperatorAt))
	}
	return v
}

func (v *AppView) head(format string, args ...any) {
	v.Heads = append(v.Heads, fmt.Sprintf(format, args...))
}

func (v *AppView) line(format string, args ...any) {
	v.Lines = append(v.Lines, fmt.Sprintf(format, args...))
}

// until makes the next look come in time for an open circuit.
func (v *AppView) until(c store.Circuit, now time.Time) {
	wait, next := c.NextProbeAt.Sub(now)-CanaryAhead/2, "probe"
	if c.Releasing {
		wait, next = 0, "release"
	}
	if wait < v.Wait {
		v.Wait, v.Next = max(wait, time.Second), next
	}
}

// circuit describes one open circuit.
func (k *AppKeeper) circuit(ctx context.Context, v *AppView, c store.Circuit) {
	waiting, err := k.Store.Queued(ctx, c.App, c.Host, queuedCounted)
	if err != nil {
		v.Problem = fmt.Sprintf("%.*s", problemSize, err)
	}
	if c.Releasing {
		v.head("%s: releases the waiting connections since %s", c.Host, at(c.ReleasingAt))
		v.line("%s: %d wait; at most %.0f a second go.", c.Host, waiting, k.rate(c.App, c))
		return
	}
	v.head("%s: circuit open since %s, %s (%s)", c.Host, at(c.OpenedAt), c.Reason, c.Code)
	v.line("%s: next probe at %s by %s, after %d in vain; %d wait.", c.Host, at(c.NextProbeAt), canaryOf(c), c.Probes, waiting)
}

// rate returns how many waiting connections of a circuit are released in a second.
func (k *AppKeeper) rate(name string, c store.Circuit) float64 {
	app, _ := k.Apps.App(name) // not known here: no limit is
	return store.ReleaseRate(app.MaxRefreshesPerSecond, c.Connections)
}

func canaryOf(c store.Circuit) string {
	if c.NextCanary == "" {
		return "whoever asks first"
	}
	return c.NextCanary
}

func at(t time.Time) string { return t.UTC().Format(time.DateTime) }

// Step does the next step of the release of an app's waiting connections, and wakes the
// workflows of those that have their turn. more says that the release goes on. If
// Temporal takes no signal, the connections are due all the same: the sweep or the
// fallback finds them.
func (c *Releaser) Step(ctx context.Context, app string) (more bool, err error) {
	page, more, err := c.Store.Release(ctx, ReleaseRequest(c.Apps, app))
	return more, errors.Join(err, c.wake(ctx, page))
}

// notWoken is after how many failed signals the others of a page are left alone.
const notWoken = 3

// wake nudges the workflows of a page.
func (c *Releaser) wake(ctx context.Context, page []perennial.Connection) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := c.signalAll(ctx, page, func(failures int) {
		if failures >= notWoken {
			stop()
		}
	})
	return errors.Join(failed[:min(len(failed), notWoken)]...)
}
