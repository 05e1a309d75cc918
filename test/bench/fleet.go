package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"golang.org/x/sync/errgroup"
)

// atOnce is how many connections are created at once.
const atOnce = 16

// member is one connection of the fleet.
type member struct{ id, account string }

// lifeFor returns the life of tokens that are refreshed every interval.
func lifeFor(interval time.Duration) time.Duration {
	life := interval.Truncate(time.Second)
	for ; meanInterval(life) < interval; life += max(time.Second, (life / 500).Truncate(time.Second)) {
	}
	return life
}

// meanInterval returns the product's mean time between two refreshes of a connection
// that has reached its place in the cycle.
func meanInterval(life time.Duration) time.Duration {
	at, before := time.Unix(0, 0), time.Time{}
	for generation := range int64(20) {
		before, at = at, timing.Due(at, life, provider.BufferQueue, "any", generation)
	}
	return at.Sub(before)
}

// first returns two things about connection i: when its first token was obtained, and
// the lifetimes, in seconds, of the tokens that the provider gives it next.
type first func(i int) (obtained time.Time, lifetimes []float64)

// spread returns first due times spread evenly over the interval, as in a fleet that
// has run for a long time. If age is not 0, each connection first makes that many
// refreshes as fast as possible.
func (w *world) spread(age int) first {
	r := rand.New(rand.NewPCG(1, 2)) // the same phases in every variant
	phases := make([]float64, w.connections)
	for i := range phases {
		phases[i] = r.Float64()
	}
	quick := max(1, float64(w.connections)/100/0.7) // seconds; about 100 refreshes a second, if the machine can
	return func(i int) (time.Time, []float64) {
		interval := meanInterval(w.life)
		if age == 0 {
			return time.Now().Add(time.Duration(phases[i]*float64(interval)) - interval), nil
		}
		lifetimes := slices.Repeat([]float64{quick}, i*age/w.connections)
		return time.Now().Add(-w.life), append(lifetimes, max(1, phases[i]*w.life.Seconds()))
	}
}

// populate creates the fleet as fast as possible.
func (w *world) populate(ctx context.Context, f first) error {
	const batch = 500
	w.fleet = make([]member, w.connections)
	var g errgroup.Group
	g.SetLimit(atOnce)
	for from := 0; from < w.connections; from += batch {
		to := min(from+batch, w.connections)
		var c consents
		obtained := make([]time.Time, to-from)
		for i := from; i < to; i++ {
			at, lifetimes := f(i)
			obtained[i-from] = at
			c.Accounts, c.Lifetimes = append(c.Accounts, fmt.Sprintf("account-%d", i)), append(c.Lifetimes, lifetimes)
		}
		replies, err := w.provider.consents(ctx, c)
		if err != nil {
			return fmt.Errorf("make grants: %w", err)
		}
		for i, reply := range replies {
			g.Go(func() error { return w.add(ctx, from+i, c.Accounts[i], obtained[i], reply) })
		}
	}
	return g.Wait()
}

func (w *world) add(ctx context.Context, i int, account string, obtained time.Time, reply fakeprovider.TokenReply) error {
	tenant := ""
	if w.sick > 0 {
		tenant = fmt.Sprintf("tenant-%d", i%tenants)
	}
	id, err := w.variant.add(ctx, grant{account: account, tenant: tenant, access: perennial.NewSecret(reply.AccessToken), refresh: perennial.NewSecret(reply.RefreshToken),
		obtained: obtained, life: w.life})
	w.fleet[i] = member{id, account}
	return err
}

// aged waits until every connection has used its first lifetimes.
func (w *world) aged(ctx context.Context) error {
	last := w.connections + 1
	return until(ctx, time.Hour, 2*time.Second, func() (bool, error) {
		b, err := w.provider.books(ctx, time.Now())
		if b.Young < last*9/10 || b.Young == 0 && last > 0 {
			fmt.Fprintf(w.progress, "  %d connections are still to age, %d refreshes\n", b.Young, b.Refreshes)
			last = b.Young
		}
		return b.Young == 0, err
	})
}
