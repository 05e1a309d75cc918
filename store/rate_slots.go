package store

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// RateSlots is the state of an app's limit: the next free slot, and the next place in
// the queue of connections that found no slot.
type RateSlots struct{ SlotAt, BacklogAt, UnprovenSlotAt time.Time }

const (
	// unprovenShare: unproven connections get one slot in so many while others wait.
	unprovenShare = 10
	// minUnproven is how many slots a second they get at least, of a limit that has twice
	// as many.
	minUnproven = 1
	// Unproven connections that found no slot ask again within as long as they have waited, not before half of it,
	// but at least firstAgain and at most lastAgain: so few ask at a time, and a small import
	// is soon through. They have no queue: a place in it would be worth nothing while
	// others wait.
	firstAgain, lastAgain = 5 * time.Second, 5 * time.Minute
)

// unprovenRate returns how many slots a second unproven connections get while others wait,
// of a limit of rate.
func unprovenRate(rate float64) float64 {
	return min(max(rate/unprovenShare, minUnproven), rate/2)
}

// ReserveUnproven is Reserve for a connection whose tokens have not worked yet. While
// others wait in the queue, such connections get a share of the slots; else any that is
// free. waited is how long it has waited for one. It is pure.
func (t RateSlots) ReserveUnproven(id string, waited time.Duration, rate float64, patience, lead time.Duration, now time.Time) (at time.Time, admitted bool, after RateSlots) {
	half := min(max(waited, firstAgain), lastAgain) / 2
	share, again := t, half+spread(id, now, half)
	if t.BacklogAt.After(now) {
		own := latest(t.UnprovenSlotAt, now)
		if own.After(now.Add(patience)) {
			return own.Add(again), false, t
		}
		share.UnprovenSlotAt = own.Add(time.Duration(spacing / unprovenRate(rate) * float64(time.Second)))
		patience *= 2 // those that wait take all slots within patience; the chain leaves twice as much
	}
	// It never takes a place in the queue, as if it had waited in it.
	if at, admitted, after = share.Reserve(id, true, rate, patience, lead, now); !admitted {
		return at.Add(again), false, t
	}
	return at, true, after
}

// Reserve reserves a slot, or returns when to ask again. It is pure. waited says that
// the caller's wait in the queue is over: it goes before new callers. Reserve never
// takes a slot further ahead than patience, nor nearer than lead.
func (t RateSlots) Reserve(id string, waited bool, rate float64, patience, lead time.Duration, now time.Time) (at time.Time, admitted bool, after RateSlots) {
	gap := time.Duration(spacing / rate * float64(time.Second))
	slot := latest(t.SlotAt, now.Add(lead))
	tooFar := slot.After(now.Add(patience))
	switch {
	case !waited && (tooFar || t.BacklogAt.After(now.Add(patience))):
		turn := latest(t.BacklogAt, slot)
		t.BacklogAt = turn.Add(gap)
		return turn, false, t
	case tooFar:
		return slot.Add(spread(id, now, patience)), false, t // its wait is over, but the slots are late
	}
	t.SlotAt = slot.Add(gap)
	return slot, true, t
}

// reserve reserves a rate slot for a connection that nothing else keeps, and returns the
// changed columns of the app's row. It is pure.
func reserve(app appRow, req AdmitRequest, probe bool, now time.Time) (at time.Time, admitted bool, set columns) {
	c := req.Connection
	slots := app.slots()
	after := slots
	// A probe goes before the queue, because the queue moves only after a probe succeeds. A
	// release spaces its turns itself.
	if c.Proven() || probe || req.SlotOnly || req.released {
		at, admitted, after = slots.Reserve(c.ID, probe || req.SlotOnly || !c.QueuedAt.IsZero(), req.Rate, req.Patience, req.Lead, now)
	} else {
		waited := time.Duration(0)
		if !c.QueuedAt.IsZero() {
			waited = now.Sub(c.QueuedAt)
		}
		at, admitted, after = slots.ReserveUnproven(c.ID, waited, req.Rate, req.Patience, req.Lead, now)
	}
	set = columns{}
	for name, of := range map[string]struct{ was, is time.Time }{
		"slot_at": {slots.SlotAt, after.SlotAt}, "backlog_at": {slots.BacklogAt, after.BacklogAt}, "unproven_slot_at": {slots.UnprovenSlotAt, after.UnprovenSlotAt},
	} {
		if of.was != of.is {
			set[name] = db.Nullable(of.is)
		}
	}
	return at, admitted, set
}

// ReserveSlot reserves a rate slot for one request of an app that no connection makes yet.
// It asks for nothing else but whether an operator has stopped the app. If the slots
// within patience are taken, it does not admit the request and reserves nothing.
func (s *Store) ReserveSlot(ctx context.Context, appName, host string, rate float64, patience time.Duration) (out Admission, err error) {
	err = s.db.Durably(ctx, "reserve a rate slot of app "+appName, func(tx *gorm.DB) error {
		_, app, now, err := s.lockGate(tx, appName, host)
		if err != nil {
			return err
		}
		d := decideAdmission(circuitRow{}, app, 0, AdmitRequest{Rate: rate, Patience: patience, SlotOnly: true}, now)
		out = d.admission
		return updateApp(tx, app.App, now, d.app)
	})
	return out, err
}
