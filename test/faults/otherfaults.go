package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
)

func slowly(ms int64) func(*fakeprovider.Knobs) {
	return func(k *fakeprovider.Knobs) { k.LatencyAfterMS = ms }
}

// onSome makes a fault of the provider for two connections of each class. lost is the
// number of generations, from the present one on, at which the fault may lose the grant:
// two if it cuts a reply, which brings one more access token and no refresh token.
func onSome(lost int64, change func(*fakeprovider.Knobs)) func(*round) error {
	return func(r *round) error {
		var chosen []*conn
		for _, a := range apps {
			if a.size == 0 {
				chosen = append(chosen, pick(r.r, r.steady(r.of(a.name)), 2)...)
			}
		}
		for _, c := range chosen {
			now := r.get(c).Generation
			for g := range lost {
				c.excuse(now+g, "the reply was lost, or its rest", false)
			}
			if err := r.provider.Adjust(clientOf(c.app), c.account, change); err != nil {
				return err
			}
		}
		r.stir(chosen)
		r.wait(1500 * time.Millisecond)
		return nil
	}
}

// calm withdraws the provider's faults that no connection has met in time. The last
// fault is over when the last of them is withdrawn.
func (r *round) calm() error {
	for _, c := range r.all {
		if c.sick != nil {
			continue
		}
		if err := r.provider.Adjust(clientOf(c.app), c.account, func(k *fakeprovider.Knobs) {
			k.DropBefore, k.DropAfter, k.BadGateway, k.Truncate, k.RateLimited, k.SayRevoked, k.HTML = 0, 0, 0, 0, 0, 0, 0
		}); err != nil {
			return fmt.Errorf("calm the provider: %w", err)
		}
	}
	return nil
}

// silence makes the provider not answer for 30 s, before it does anything.
func silence(r *round) error {
	var chosen []*conn
	for _, a := range apps {
		if a.size == 0 {
			chosen = append(chosen, pick(r.r, r.steady(r.of(a.name)), 2)...)
		}
	}
	for _, c := range chosen {
		// No token is spent, but nobody can know that.
		c.excuse(r.get(c).Generation, "no answer came", true)
		_ = r.provider.Adjust(clientOf(c.app), c.account, func(k *fakeprovider.Knobs) { k.LatencyBeforeMS = 30_000 })
	}
	r.stir(chosen)
	r.wait(4 * time.Second)
	for _, c := range chosen {
		_ = r.provider.Adjust(clientOf(c.app), c.account, func(k *fakeprovider.Knobs) { k.LatencyBeforeMS = 0 })
	}
	return nil
}

// storm makes a fault for every connection of the five classes for a while.
func storm(d time.Duration, on, off func(*fakeprovider.Knobs)) func(*round) error {
	return func(r *round) error {
		defer r.away()()
		for _, c := range r.five() {
			_ = r.provider.Adjust(clientOf(c.app), c.account, on)
		}
		r.stir(pick(r.r, r.steady(r.five()), 40))
		r.wait(d)
		for _, c := range r.five() {
			_ = r.provider.Adjust(clientOf(c.app), c.account, off)
		}
		var names []string
		for _, a := range apps {
			if a.size == 0 {
				names = append(names, a.name)
			}
		}
		r.circuitsClose(names)
		return nil
	}
}

const always = 1 << 30

// wrongSecret changes the client secret at the provider, for every app of the five
// classes and for the small app, and corrects it later.
func wrongSecret(r *round) error {
	var names []string
	for _, a := range apps {
		if a.size == 0 || a.name == "small" {
			names = append(names, a.name)
		}
	}
	defer r.away(names...)()
	for _, name := range names {
		if err := r.provider.SetSecrets(clientOf(name), "another"); err != nil {
			return err
		}
	}
	from := time.Now()
	r.wait(300 * time.Millisecond) // the requests in flight have arrived
	const lasts = 10 * time.Second
	for range 4 {
		r.stir(pick(r.r, append(r.five(), r.of("small")...), 40))
		r.wait(lasts / 4)
	}
	for _, name := range names {
		// Two failures open the circuit. The requests then in flight, at most eight,
		// count too. After that one canary comes each interval of 3 s.
		if n, _ := r.provider.Requests(clientOf(name), from, time.Now()); n > 2+8+3 {
			r.broke("app %s: %d requests within %s of a wrong client secret", name, n, time.Since(from).Round(time.Second))
		}
		if err := r.provider.SetSecrets(clientOf(name), secret); err != nil {
			return err
		}
	}
	r.circuitsClose(names)
	return nil
}

// circuitsClose waits until canaries have found that the provider works again. Until a
// release begins, the outage is not over.
func (r *round) circuitsClose(names []string) {
	for _, name := range names {
		r.until(45*time.Second, "the circuit of "+name+" closes", func() bool {
			state, err := r.deps.Store.AppState(context.Background(), name)
			return err == nil && (len(state.Circuits) == 0 || !state.Circuits[0].Open || state.Circuits[0].Releasing)
		})
	}
}

// wrongEnvironment restarts a worker with a wrong client id for one app.
func wrongEnvironment(r *round) error {
	defer r.away("small")()
	w := r.any()
	w.config = "wrong.yaml"
	if err := r.restart(w); err != nil {
		return err
	}
	r.wait(time.Second)
	r.stir(r.of("small"))
	r.wait(3 * time.Second)
	if n, _ := r.provider.Requests("client-of-another-environment", time.Time{}, time.Now()); n > 0 {
		r.broke("a grant was shown to another environment's client %d times", n)
	}
	w.config = "perennial.yaml"
	return r.restart(w)
}

// restart stops a worker as a deploy does, and starts it again.
func (r *round) restart(w *worker) error {
	r.hold(w)
	err := w.terminate()
	r.supervise(w)
	return err
}

// falseRefusals makes the provider wrongly refuse every grant of an app twice. An
// operator sees the refusal hold and ends it.
func falseRefusals(r *round) error {
	const app = "unknown"
	defer r.away(app)()
	for _, c := range r.of(app) {
		c.with(func() { c.lossy = true })
		_ = r.provider.Adjust(clientOf(app), c.account, func(k *fakeprovider.Knobs) { k.SayRevoked = 2 })
	}
	r.stir(r.of(app))
	r.wait(12 * time.Second) // first refusals, and the confirmations after 4 s
	for _, c := range r.of(app) {
		_ = r.provider.Adjust(clientOf(app), c.account, func(k *fakeprovider.Knobs) { k.SayRevoked = 0 })
	}
	for _, c := range r.of(app) {
		if s := r.row(c); s.status == perennial.StatusReconnectRequired {
			if _, ok := c.excused(s.generation); !ok {
				r.brokeOf(c, "was told to reconnect (%s) while its provider refused everybody", s.reason)
			}
		}
	}
	return r.deps.Store.DismissRefusalHold(context.Background(), app)
}

// massRevocation makes two in five of an app's customers withdraw their consent. An
// operator confirms it, and they reconnect.
func massRevocation(r *round) error {
	const app = "grace"
	chosen := pick(r.r, r.of(app), 2*len(r.of(app))/5)
	for _, c := range chosen {
		c.with(func() { c.revoked, c.lossy = true, true })
		if err := r.provider.Revoke(clientOf(app), c.account); err != nil {
			return err
		}
	}
	r.stir(chosen)
	r.until(20*time.Second, "a hold of "+app, func() bool {
		state, err := r.deps.Store.AppState(context.Background(), app)
		return err == nil && state.RefusalHold || len(chosen) < 5
	})
	if err := r.deps.Store.ConfirmRefusalHold(context.Background(), app); err != nil {
		return err
	}
	r.until(60*time.Second, "the revoked ones of "+app+" ask for a reconnect", func() bool {
		for _, c := range chosen {
			if r.row(c).status != perennial.StatusReconnectRequired {
				return false
			}
		}
		return true
	})
	for _, c := range chosen {
		if s := r.row(c); s.status == perennial.StatusReconnectRequired && s.reason != perennial.ReasonInvalidGrant {
			if _, ok := c.excused(s.generation); !ok {
				r.brokeOf(c, "was revoked by its user and is named %s", s.reason)
			}
		}
		if err := reconnects(r, c); err != nil {
			return err
		}
		c.with(func() { c.revoked = false })
	}
	_, err := r.db.Exec("UPDATE apps SET muted_until = NULL WHERE app = $1", app)
	return err
}

// hostDeleted deletes one of many hosts and restores it later.
func hostDeleted(r *round) error {
	c := r.of("hosts")[r.r.IntN(hosts-1)+1] // the first host has two connections
	e := r.endpoints[c.host]
	e.close()
	for _, other := range r.of("hosts") {
		if other.host == c.host {
			other.with(func() { other.lossy = true })
			other.excuse(r.get(other).Generation, "its host was deleted", true)
		}
	}
	before := map[*conn]int64{}
	for _, other := range r.of("hosts") {
		before[other] = r.get(other).Generation
	}
	r.stir(r.of("hosts"))
	for _, other := range r.steady(r.of("hosts")) {
		if other.host != c.host {
			r.until(buffer, other.account+" is refreshed while another's host is away", func() bool { return r.row(other).generation > before[other] })
		}
	}
	return e.open()
}

// terminatedInExchange terminates a workflow whose activity is presenting a refresh
// token, and asks the next run for a token at once. Only the row knows of the attempt.
func terminatedInExchange(r *round) error {
	return r.atSeams("terminated_in_exchange", []seam.Seam{seam.AfterWrite}, func(standing map[seam.Seam]*held) error {
		for _, h := range standing {
			c := r.byID[h.Connection]
			if err := r.client.TerminateWorkflow(context.Background(), workflows.ID(c.id), "", "the fault suite"); err != nil {
				return err
			}
			row := r.get(c)
			if err := r.updates.Signal(context.Background(), row, workflows.SignalNudge); err != nil {
				return err
			}
			r.stir([]*conn{c})
			stands := r.control.lastOf(c.id)
			for range 25 { // within the presentation's timeout
				if r.wait(100 * time.Millisecond); r.control.lastOf(c.id).After(stands) {
					r.wait(300 * time.Millisecond) // the next attempt has come as far as it may
					break
				}
			}
		}
		return nil
	})
}

// workflowsBroken terminates, cancels and resets workflows. The sweep mends them.
func workflowsBroken(r *round) error {
	chosen := pick(r.r, r.steady(r.five()), 9)
	for i, c := range chosen {
		var err error
		id := workflows.ID(c.id)
		switch i % 3 {
		case 0:
			err = r.client.TerminateWorkflow(context.Background(), id, "", "the fault suite")
		case 1:
			err = r.client.CancelWorkflow(context.Background(), id, "")
		case 2:
			r.until(20*time.Second, "a workflow's first task", func() bool {
				err = r.resetWorkflow(id)
				return !errors.Is(err, errNoTaskYet)
			})
		}
		if err != nil {
			return fmt.Errorf("workflow %s: %w", id, err)
		}
	}
	return nil
}

// resetWorkflow resets a workflow to its first workflow task.
func (r *round) resetWorkflow(id string) error {
	history := r.client.GetWorkflowHistory(context.Background(), id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		if err != nil {
			return err
		}
		if event.EventType != enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			continue
		}
		_, err = r.client.ResetWorkflowExecution(context.Background(), &workflowservice.ResetWorkflowExecutionRequest{Namespace: "default",
			WorkflowExecution: &common.WorkflowExecution{WorkflowId: id}, Reason: "the fault suite", WorkflowTaskFinishEventId: event.EventId, RequestId: id + time.Now().String()})
		return err
	}
	return errNoTaskYet
}

// errNoTaskYet says that the run is too new to be reset.
var errNoTaskYet = errors.New("no workflow task was completed yet")

// clocks sets the workers' wall clocks ten minutes fast and ten minutes slow.
func clocks(r *round) error {
	for i, w := range r.workers {
		w.clock = []time.Duration{10 * time.Minute, -10 * time.Minute}[i%2]
		if err := r.restart(w); err != nil {
			return err
		}
	}
	for _, c := range pick(r.r, r.five(), 5) {
		_ = r.provider.Adjust(clientOf(c.app), c.account, func(k *fakeprovider.Knobs) {
			k.RateLimited, k.RetryAfter = 1, time.Now().Add(2*time.Second).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
		})
	}
	r.stir(pick(r.r, r.steady(r.five()), 30))
	r.wait(3 * time.Second)
	for _, w := range r.workers {
		w.clock = 0
		if err := r.restart(w); err != nil {
			return err
		}
	}
	return nil
}

// herd stops every connection of the limited app by a wrong secret, makes all of them
// due, and releases them. The limit is never exceeded.
func herd(r *round) error {
	const app = "limited"
	if err := r.provider.SetSecrets(clientOf(app), "another"); err != nil {
		return err
	}
	if _, err := r.db.Exec("UPDATE connections SET next_refresh_at = clock_timestamp() WHERE app = $1 AND status = 'active'", app); err != nil {
		return err
	}
	before := map[*conn]int64{}
	for _, c := range r.of(app) {
		before[c] = r.get(c).Generation
	}
	r.until(60*time.Second, "the circuit of the limited app opens and holds", func() bool {
		state, err := r.deps.Store.AppState(context.Background(), app)
		return err == nil && len(state.Circuits) > 0 && state.Circuits[0].Open && int(state.Queued) >= len(r.of(app))*9/10
	})
	if err := r.provider.SetSecrets(clientOf(app), secret); err != nil {
		return err
	}
	limit := specOf(app).limit
	// The product promises less: the next probe (3 s), a wait that was written while
	// the circuit closed (33 s for 60 connections), and the release at the limit's
	// rate. A connection that takes longer has slept through the backoff of a rejected
	// client, 60 to 72 s.
	patience := 60*time.Second + time.Duration(1.5*float64(len(r.of(app)))/limit*float64(time.Second))
	began := time.Now()
	left := func() []*conn {
		return slices.DeleteFunc(r.of(app), func(c *conn) bool { return r.row(c).generation > before[c] })
	}
	if !r.until(patience, "all held connections of the limited app are refreshed", func() bool { return len(left()) == 0 }) {
		for _, c := range pick(r.r, left(), explained) {
			row := r.get(c)
			r.say("  %s: failures %d, %s, queued at %s, next attempt at %s, attempt %q", c.account, row.FailureCount, row.FailingCode, row.QueuedAt, row.NextAttemptAt, row.Open.ID)
			r.explain(c)
		}
	}
	n, most := r.provider.Requests(clientOf(app), began.Add(-time.Minute), time.Now())
	r.say("  %d held connections let go in %.0f s, %d requests, at most %d in a second (limit %g)", len(before), time.Since(began).Seconds(), n, most, limit)
	if float64(most) > limit+1 {
		r.broke("the limited app saw %d requests in one second, with a limit of %g", most, limit)
	}
	return nil
}
