package main

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
)

// herd lets all tokens of the fleet expire at one moment.
func herd(ctx context.Context, w *world) (figures, error) {
	buffer := timing.Buffer(provider.BufferQueue, w.life)
	creation := 10*time.Second + time.Duration(w.connections)*time.Second/40 // until their workflows sleep
	expiry := time.Now().Add(creation + w.life/2)                            // no token is due before half of its life
	if err := w.populate(ctx, func(int) (time.Time, []float64) { return expiry.Add(-w.life), nil }); err != nil {
		return nil, err
	}
	early, err := w.count(ctx, "SELECT count(*) FROM "+w.variant.table()+" WHERE next_refresh_at < clock_timestamp()")
	if err != nil {
		return nil, err
	}
	if early > 0 {
		fmt.Fprintf(w.progress, "  creating took long: %.0f are due already\n", early)
	}
	err = until(ctx, time.Hour, 200*time.Millisecond, func() (bool, error) {
		n, err := w.count(ctx, "SELECT count(*) FROM (SELECT 1 FROM "+w.variant.table()+" WHERE next_refresh_at < clock_timestamp() LIMIT 1) AS due")
		return n > 0, err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the first due time: %w", err)
	}
	from, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	seconds, seconds99, left, err := w.wellAgain(ctx, "generation = 1")
	if err != nil {
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
	b, err := w.provider.books(ctx, from.at)
	if err != nil {
		return nil, err
	}
	f["most_requests_per_s"], f["recovered_s"], f["recovered_99_s"], f["unwell_left"], f["buffer_s"] = float64(b.Most), seconds, seconds99, left, buffer.Seconds()
	if f["expired"], err = w.count(ctx, "SELECT count(*) FROM "+w.variant.table()+" WHERE generation = 1 AND expires_at < clock_timestamp()"); err != nil {
		return nil, err
	}
	if w.variant.table() == "connections" {
		late, err := w.count(ctx, "SELECT count(*) FROM attempts WHERE outcome = 'refreshed' AND life_left_ms < duration_ms")
		if err != nil {
			return nil, err
		}
		f["expired"] += late
	}
	return f, nil
}

// outage stops the provider, starts it again and measures until every connection is
// well.
func outage(ctx context.Context, w *world) (figures, error) {
	if err := w.running(ctx); err != nil {
		return nil, err
	}
	away := w.knobs()
	away.ServerError = 1 << 40
	if err := w.provider.knobs(ctx, away); err != nil {
		return nil, err
	}
	gone, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := pass(ctx, w.outage); err != nil {
		return nil, err
	}
	expired, err := w.count(ctx, "SELECT count(*) FROM "+w.variant.table()+" WHERE expires_at < clock_timestamp()")
	if err != nil {
		return nil, err
	}
	back, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.provider.knobs(ctx, w.knobs()); err != nil {
		return nil, err
	}
	f, err := w.recovery(ctx, back)
	if err != nil {
		return nil, err
	}
	f["expired"] = expired
	seconds := back.at.Sub(gone.at).Seconds()
	f["outage_requests_per_s"] = float64(back.books.Requests-gone.books.Requests) / seconds
	for name, at := range back.cpu {
		if name != "provider" && name != "driver" {
			f["outage_cores"] += (at - gone.cpu[name]).Seconds() / seconds
		}
	}
	return f, nil
}

// restart kills the worker, starts it again and measures until it has caught up.
func restart(ctx context.Context, w *world) (figures, error) {
	if err := w.running(ctx); err != nil {
		return nil, err
	}
	w.worker.kill()
	if err := pass(ctx, w.down); err != nil {
		return nil, err
	}
	from, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.startWorker(ctx); err != nil {
		return nil, err
	}
	return w.recovery(ctx, from)
}

// running creates a fleet as it is after a long time.
func (w *world) running(ctx context.Context) error {
	if err := w.populate(ctx, w.spread(0)); err != nil {
		return err
	}
	return pass(ctx, w.warmup)
}

// recovery measures from a reading until every connection is well.
func (w *world) recovery(ctx context.Context, from reading) (figures, error) {
	unwell, err := w.count(ctx, "SELECT count(*) FROM "+w.variant.table()+" WHERE "+w.variant.unwell())
	if err != nil {
		return nil, err
	}
	seconds, seconds99, left, err := w.wellAgain(ctx, w.variant.unwell())
	if err != nil {
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
	b, err := w.provider.books(ctx, from.at)
	f["recovered_s"], f["recovered_99_s"], f["unwell_left"], f["unwell_at_start"], f["most_requests_per_s"] = seconds, seconds99, left, unwell, float64(b.Most)
	return f, err
}

// wellAgain waits until no connection meets the condition. It returns the seconds until
// 99 of 100 did not, and until none did. left is how many still do when patience ends.
func (w *world) wellAgain(ctx context.Context, condition string) (seconds, seconds99, left float64, err error) {
	began := time.Now()
	err = until(ctx, w.patience+time.Minute, 500*time.Millisecond, func() (bool, error) {
		left, err = w.count(ctx, "SELECT count(*) FROM "+w.variant.table()+" WHERE "+condition)
		seconds = time.Since(began).Seconds()
		if seconds99 == 0 && left <= float64(w.connections)/100 {
			seconds99 = seconds
		}
		return left == 0 || seconds > w.patience.Seconds(), err
	})
	return seconds, seconds99, left, err
}

// startAll measures the creation itself, until nothing more happens.
func startAll(ctx context.Context, w *world) (figures, error) {
	before, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.populate(ctx, w.spread(0)); err != nil {
		return nil, err
	}
	created := time.Since(before.at).Seconds()
	spent := map[string]time.Duration{}
	last, at := time.Duration(0), time.Now()
	err = until(ctx, w.patience, time.Second, func() (bool, error) {
		cpu, err := cpuOf(w.groups())
		if err != nil {
			return false, err
		}
		sum := time.Duration(0)
		for name, v := range cpu {
			spent[name] = v - before.cpu[name]
			if name != "provider" {
				sum += spent[name]
			}
		}
		was, wasAt := last, at
		last, at = sum, time.Now()
		return was > 0 && (sum-was).Seconds() < quietCores*at.Sub(wasAt).Seconds(), nil
	})
	if err != nil {
		return nil, err
	}
	settled := time.Since(before.at).Seconds()
	n := float64(w.connections)
	f := figures{"connections": n, "connections_per_s": n / created, "settled_s": settled}
	spent["driver"] = driverCPU() - before.cpu["driver"]
	for name, v := range spent {
		if name != "provider" {
			f["cpu_ms_per_connection"] += float64(v.Milliseconds()) / n
		}
	}
	return f, w.sizes(ctx, f)
}

// quietCores is how many cores the servers use without work.
const quietCores = 0.25
