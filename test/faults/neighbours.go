package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/provider"
)

// The app whose last few connections fail all the time, each in its own way, while the
// others must not feel it.
const (
	besideApp  = "beside"
	besideSize = 22
	sickSize   = 4
)

// sickKinds is how the sick ones fail, and the failing codes that name it.
var sickKinds = []struct {
	codes []string
	knobs func(*fakeprovider.Knobs)
}{
	{[]string{"http_503"}, func(k *fakeprovider.Knobs) { k.ServerError = always }},
	{[]string{provider.CodeMalformed, "unreadable_reply"}, func(k *fakeprovider.Knobs) { k.HTML = always }},
	{[]string{"timeout"}, func(k *fakeprovider.Knobs) { k.LatencyBeforeMS = 20_000 }},
	{[]string{"http_429", "rate_limited"}, func(k *fakeprovider.Knobs) { k.RateLimited, k.RetryAfter = always, "1" }},
}

// tenants is how many tenants the connections belong to, in turn.
const tenants = 3

// sicken makes the last connections of the app fail from now on.
func (f *fleet) sicken() error {
	return f.eachSick(func(c *conn) error { return f.provider.Adjust(clientOf(c.app), c.account, sickKinds[*c.sick].knobs) })
}

// heal makes them well again.
func (f *fleet) heal() error {
	return f.eachSick(func(c *conn) error {
		return f.provider.Adjust(clientOf(c.app), c.account, func(k *fakeprovider.Knobs) {
			k.ServerError, k.HTML, k.LatencyBeforeMS, k.RateLimited = 0, 0, 0, 0
		})
	})
}

func (f *fleet) eachSick(do func(*conn) error) error {
	for _, c := range f.all {
		if c.sick == nil {
			continue
		}
		if err := do(c); err != nil {
			return err
		}
	}
	return nil
}

// stirSick asks for their tokens.
func (f *fleet) stirSick() {
	var sick []*conn
	_ = f.eachSick(func(c *conn) error { sick = append(sick, c); return nil })
	f.stir(sick)
}

// checkNeighbours checks that each sick connection is named after its own trouble, and
// that nothing of it became the app's.
func (r *round) checkNeighbours() {
	_ = r.eachSick(func(c *conn) error {
		named := func() bool {
			s := r.row(c)
			return s.status == perennial.StatusActive && s.health == perennial.HealthFailing && slices.Contains(sickKinds[*c.sick].codes, s.failing)
		}
		if !r.until(life, fmt.Sprintf("%s is named after its trouble, %v", c.account, sickKinds[*c.sick].codes), named) {
			s := r.row(c)
			r.brokeOf(c, "is named %s %s %s", s.status, s.health, s.failing)
		}
		return nil
	})
	state, err := r.deps.Store.AppState(context.Background(), besideApp)
	if err != nil || state.RefusalHold {
		r.broke("app %s: a few sick connections raised its hold: %v %v", besideApp, state.HoldReason, err)
	}
	for _, circuit := range state.Circuits {
		if circuit.Open {
			r.broke("app %s: a few sick connections opened its circuit: %s", besideApp, circuit.Code)
		}
	}
}

// junkImports lets one tenant import refresh tokens that the provider has never seen. Its
// own imports are held. Another tenant's customer, who withdraws his consent meanwhile,
// still gets reconnect_required.
func junkImports(r *round) error {
	ctx := context.Background()
	var junk []perennial.Connection
	for i := range 8 {
		at, err := r.deps.Store.Now(ctx)
		if err != nil {
			return err
		}
		tokens, _, err := provider.ParseTokens(strings.NewReader(fmt.Sprintf(`{"access_token":"junk","refresh_token":"junk-%d-%d","token_type":"bearer","expires_in":5}`, r.done["junk_imports"], i)), provider.Entry{})
		if err != nil {
			return err
		}
		row, err := r.service.Connect(ctx, perennial.WorkerAccess(), connect.Grant{Tenant: "tenant-of-junk", App: besideApp, Account: fmt.Sprintf("junk-%d-%d", r.done["junk_imports"], i),
			Tokens: tokens, ObtainedAt: at})
		if err != nil {
			return err
		}
		junk = append(junk, row)
	}
	held := func() bool {
		state, err := r.deps.Store.AppState(ctx, besideApp)
		if err != nil {
			return false
		}
		if state.RefusalHold {
			r.broke("app %s: one tenant's imports raised the hold of all", besideApp)
		}
		return len(state.ImportHolds) > 0
	}
	r.until(30*time.Second, "the imports of one tenant are held", held)
	customer := pick(r.r, r.steady(r.healthyBeside()), 1)
	for _, c := range customer {
		c.with(func() { c.revoked, c.lossy = true, true })
		if err := r.provider.Revoke(clientOf(besideApp), c.account); err != nil {
			return err
		}
		r.stir(customer)
		r.until(20*time.Second, c.account+" is told to reconnect beside the imports of another tenant", func() bool {
			return held() && r.row(c).status == perennial.StatusReconnectRequired
		})
		if err := reconnects(r, c); err != nil {
			return err
		}
		c.with(func() { c.revoked = false })
	}
	for _, row := range junk {
		if err := r.told(func() error {
			_, err := r.service.Disconnect(ctx, perennial.WorkerAccess(), row.ID)
			return err
		}); err != nil {
			return err
		}
	}
	_, err := r.db.Exec("DELETE FROM import_holds")
	return err
}

func (f *fleet) healthyBeside() (out []*conn) {
	for _, c := range f.of(besideApp) {
		if c.sick == nil {
			out = append(out, c)
		}
	}
	return out
}
