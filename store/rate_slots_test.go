package store

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReleaseRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		limit       float64
		connections int64
		want        float64
	}{
		{"a small app", 0, 5000, DefaultReleaseRate},
		{"as many as the default lets through in ten minutes", 0, 60_000, DefaultReleaseRate},
		{"a large app: all in ten minutes", 0, 240_000, 400},
		{"a large app under its limit", 120, 240_000, 100},
		{"a small app under its limit", 12, 5000, 10},
	} {
		assert.InDelta(t, c.want, ReleaseRate(c.limit, c.connections), 1e-9, c.name)
	}
}

// TestReleaseKeepsPace: under a limit, each released connection finds a slot within its
// patience.
func TestReleaseKeepsPace(t *testing.T) {
	t.Parallel()
	const limit = 400
	gap := time.Duration(float64(time.Second) / ReleaseRate(limit, 240_000))
	var turns RateSlots
	for n := range 10_000 {
		var admitted bool
		_, admitted, turns = turns.Reserve("con", true, limit, time.Second/2, 50*time.Millisecond, noon.Add(time.Duration(n/releaseBatch*releaseBatch)*gap))
		assert.True(t, admitted, n)
	}
}

// TestUnprovenShare: while proven connections wait for slots, unproven ones get a tenth of
// the limit, at least one a second, however many ask. While none waits, they get all that
// is free; and however many there are, few ask again at a time.
func TestUnprovenShare(t *testing.T) {
	t.Parallel()
	const pool, seconds = 6000, 600
	for _, c := range []struct{ rate, share float64 }{{50, 5}, {10, 1}, {4, 1}, {1, 0.5}} {
		for _, busy := range []bool{true, false} {
			var app appRow
			sent := map[bool]int{}
			asks := 0
			unproven := make([]time.Time, pool)
			for i := range unproven {
				unproven[i] = noon
			}
			queue := []time.Time{} // of the proven ones
			ask := func(row perennial.Connection, now time.Time) (time.Time, bool) {
				at, admitted, set := reserve(app, AdmitRequest{Connection: row, Rate: c.rate, Patience: time.Second / 2, Lead: 50 * time.Millisecond}, false, now)
				for name, into := range map[string]**time.Time{"slot_at": &app.SlotAt, "backlog_at": &app.BacklogAt, "unproven_slot_at": &app.UnprovenSlotAt} {
					if v, ok := set[name]; ok {
						*into = ptr(v.(time.Time))
					}
				}
				if admitted {
					sent[row.Proven()]++
				}
				return at, admitted
			}
			for tick := range seconds * 10 {
				now := noon.Add(time.Duration(tick) * 100 * time.Millisecond)
				for busy && float64(tick)*c.rate*1.1 >= float64(10*(sent[true]+len(queue))) {
					if at, admitted := ask(perennial.Connection{ID: fmt.Sprint(tick, len(queue))}, now); !admitted {
						queue = append(queue, at)
					}
				}
				waiting := queue[:0]
				for i, at := range queue {
					if !at.After(now) {
						next, admitted := ask(perennial.Connection{ID: fmt.Sprint("q", i), QueuedAt: noon}, now)
						if admitted {
							continue
						}
						at = next
					}
					waiting = append(waiting, at)
				}
				queue = waiting
				for i, at := range unproven {
					if !at.IsZero() && !at.After(now) {
						asks++
						var admitted bool
						if unproven[i], admitted = ask(perennial.Connection{ID: fmt.Sprint("u", i), UnprovenSince: noon, QueuedAt: noon}, now); admitted {
							unproven[i] = time.Time{}
						}
					}
				}
			}
			got, all := float64(sent[false])/seconds, c.rate/spacing
			if busy {
				assert.LessOrEqual(t, got, 1.1*c.share, c)
				assert.GreaterOrEqual(t, got, 0.5*c.share, c)
				assert.GreaterOrEqual(t, float64(sent[true])/seconds, all-1.1*c.share-0.1, c)
			} else {
				assert.GreaterOrEqual(t, float64(sent[false]), min(0.8*all*seconds, 0.8*pool), c)
			}
			assert.Less(t, asks, 10*pool, c)
		}
	}
}

// TestSmallImport: thirty unproven connections in an app of their own take hardly longer
// than their slots.
func TestSmallImport(t *testing.T) {
	t.Parallel()
	const size, rate = 30, 2.0
	var app appRow
	again := map[int]time.Time{}
	for i := range size {
		again[i] = noon
	}
	ideal := time.Duration(size * spacing / rate * float64(time.Second))
	for now := noon; len(again) > 0; now = now.Add(100 * time.Millisecond) {
		require.Less(t, now.Sub(noon), 2*ideal, "%d are left", len(again))
		for _, i := range slices.Sorted(maps.Keys(again)) {
			if again[i].After(now) {
				continue
			}
			row := perennial.Connection{ID: fmt.Sprint(i), UnprovenSince: noon, QueuedAt: noon}
			at, admitted, set := reserve(app, AdmitRequest{Connection: row, Rate: rate, Patience: time.Second / 2, Lead: 50 * time.Millisecond}, false, now)
			if v, ok := set["slot_at"]; ok {
				app.SlotAt = ptr(v.(time.Time))
			}
			if again[i] = at; admitted {
				delete(again, i)
			}
		}
	}
}
