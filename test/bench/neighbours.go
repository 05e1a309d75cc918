package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/fakeprovider"
)

// tenants is how many tenants the fleet belongs to.
const tenants = 3

// sicknesses are what may be wrong with a neighbour, and the failing codes or reasons by
// which it may then be called.
var sicknesses = map[string]struct {
	knobs  func(k *fakeprovider.Knobs)
	called []string
}{
	"500":     {func(k *fakeprovider.Knobs) { k.ServerError = 1 << 40 }, []string{"http_503"}},
	"html":    {func(k *fakeprovider.Knobs) { k.HTML = 1 << 40 }, []string{"malformed_reply"}},
	"slow":    {func(k *fakeprovider.Knobs) { k.LatencyBeforeMS = 15_000 }, []string{""}},
	"timeout": {func(k *fakeprovider.Knobs) { k.LatencyBeforeMS = 120_000 }, []string{"timeout"}},
	"429":     {func(k *fakeprovider.Knobs) { k.RateLimited = 1 << 40 }, []string{"too_many_requests"}},
	"refused": {func(k *fakeprovider.Knobs) { k.SayRevoked = 1 << 40 }, []string{"invalid_grant"}},
}

func sicknessNames() string { return strings.Join(slices.Sorted(maps.Keys(sicknesses)), ", ") }

// neighbours measures healthy connections beside sick ones of the same app, on the real
// clock, with the sweep's default schedule.
func neighbours(ctx context.Context, w *world) (figures, error) {
	kind, ok := sicknesses[w.sickness]
	if !ok {
		return nil, fmt.Errorf("there is no sickness %q; there are: %s", w.sickness, sicknessNames())
	}
	if err := w.running(ctx); err != nil {
		return nil, err
	}
	ids := make([]string, w.sick)
	for i := range ids { // evenly, so that each tenant has some
		m := w.fleet[i*len(w.fleet)/w.sick]
		ids[i] = m.id
		k := w.knobs()
		kind.knobs(&k)
		if err := w.provider.grantKnobs(ctx, m.account, k); err != nil {
			return nil, err
		}
	}
	from, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := pass(ctx, w.window); err != nil {
		return nil, err
	}
	to, err := w.end(ctx, from)
	if err != nil {
		return nil, err
	}
	f, err := w.between(ctx, from, to)
	if err != nil {
		return nil, err
	}
	f["sick"] = float64(w.sick)
	return f, w.besideSick(ctx, f, from.at, ids, kind.called)
}

// besideSick adds what became of the healthy and of the sick connections since then.
func (w *world) besideSick(ctx context.Context, f figures, since time.Time, sick, called []string) error {
	late, err := w.numbers(ctx, "SELECT lateness_ms FROM attempts WHERE outcome = 'refreshed' AND started_at >= $1 AND connection_id <> ALL ($2)", since, sick)
	if err != nil {
		return err
	}
	f["healthy_refreshes"] = float64(len(late))
	f.quantiles("healthy_lateness_ms", late)
	for name, query := range map[string]string{
		"healthy_unwell":  "SELECT count(*) FROM connections WHERE id <> ALL ($1) AND (status <> 'active' OR health <> 'healthy' OR expires_at < clock_timestamp())",
		"healthy_expired": "SELECT count(*) FROM attempts WHERE connection_id <> ALL ($1) AND life_left_ms < 0",
		"circuits_opened": "SELECT count(*) FROM outbox WHERE type = 'app.circuit_opened' AND $1::text[] IS NOT NULL",
		"holds_raised":    "SELECT count(*) FROM outbox WHERE type = 'app.hold_raised' AND $1::text[] IS NOT NULL",
	} {
		if f[name], err = w.count(ctx, query, sick); err != nil {
			return err
		}
	}
	f["sick_called_rightly"], err = w.count(ctx, "SELECT count(*) FROM connections WHERE id = ANY ($1) AND (failing_code = ANY ($2) OR status <> 'active' AND reason = ANY ($2))", sick, called)
	return err
}
