// Package timing says when each thing about a refresh happens: when a token set is due
// (Due, Wake), how long a failure backs off (Backoff), and how the time bounds of one
// refresh contain each other (Config). Everything but the random part of a backoff is
// pure, so every process computes the same.
package timing

import (
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// Config is the time chain of one refresh. Each bound lies inside the next, so that a
// process that gives up later can rely on the earlier step being over:
//
//	HTTPTimeout x client secrets + SaveTimeout < StartToClose < AttemptDeadline
//	StartToClose < WorkerStop < the grace the platform gives a stopping process
//
// The platform's grace is configured with the process (compose: stop_grace_period,
// Kubernetes: terminationGracePeriodSeconds); [Config.Validate] checks the rest.
type Config struct {
	HTTPTimeout     time.Duration // one presentation, from connecting to the last byte. Defaults to 20 s.
	SaveTimeout     time.Duration // all tries to save a reply. Defaults to 15 s.
	StartToClose    time.Duration // the Refresh activity. Defaults to 80 s.
	AttemptDeadline time.Duration // the lease of a claim: how long it may keep the fence. Defaults to 90 s.
	WorkerStop      time.Duration // how long a stopping worker waits for its activities. Defaults to 85 s.
	ConfirmDelay    time.Duration // between a first refusal and its confirmation. Defaults to 1 min.
	ProbeInterval   time.Duration // between two of the first 20 probes of an open circuit; longer later. Defaults to 30 s.
	PaceFor         time.Duration // how long a pacer stays on one worker. Defaults to 1 min.
	// ForcedFloor is how long the second forced refresh of a connection waits, and
	// ForcedFloorMax the longest wait of a later one: see [perennial.Floor]. They default
	// to 10 s and 10 min. [NoFloor] as ForcedFloor: none waits.
	ForcedFloor, ForcedFloorMax time.Duration
}

// NoFloor as [Config].ForcedFloor lets callers force refreshes as often as they like.
const NoFloor time.Duration = -1

// Floor returns the floor of forced refreshes.
func (t Config) Floor() perennial.Floor {
	return perennial.Floor{First: t.ForcedFloor, Longest: t.ForcedFloorMax}
}

// WithDefaults fills zero fields.
func (t Config) WithDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&t.HTTPTimeout, 20*time.Second)
	set(&t.SaveTimeout, 15*time.Second)
	set(&t.StartToClose, 80*time.Second)
	set(&t.AttemptDeadline, 90*time.Second)
	set(&t.WorkerStop, 85*time.Second)
	set(&t.ConfirmDelay, time.Minute)
	set(&t.ProbeInterval, 30*time.Second)
	set(&t.PaceFor, time.Minute)
	set(&t.ForcedFloor, 10*time.Second)
	set(&t.ForcedFloorMax, 10*time.Minute)
	return t
}

// Validate checks the chain for an app with the given number of client secrets (at
// least one) and names every bound that does not hold.
func (t Config) Validate(secrets int) error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, perennial.Errorf(perennial.CodeInvalid, "timing: "+format, args...))
		}
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"http_timeout", t.HTTPTimeout}, {"save_timeout", t.SaveTimeout}, {"confirm_delay", t.ConfirmDelay}, {"probe_interval", t.ProbeInterval}, {"pace_for", t.PaceFor}} {
		check(f.d > 0, "%s is %s; it must be above zero", f.name, f.d)
	}
	work := t.HTTPTimeout*time.Duration(max(secrets, 1)) + t.SaveTimeout
	check(work < t.StartToClose, "start_to_close (%s) must be above http_timeout x client secrets + save_timeout (%s)", t.StartToClose, work)
	check(t.StartToClose < t.AttemptDeadline, "attempt_deadline (%s) must be above start_to_close (%s)", t.AttemptDeadline, t.StartToClose)
	check(t.StartToClose < t.WorkerStop, "worker_stop (%s) must be above start_to_close (%s)", t.WorkerStop, t.StartToClose)
	check(t.AttemptDeadline <= perennial.MaxLease, "attempt_deadline (%s) must be at most %s", t.AttemptDeadline, perennial.MaxLease)
	check(t.ForcedFloor == NoFloor || t.ForcedFloor > 0 && t.ForcedFloor <= t.ForcedFloorMax, "forced_floor (%s) must be at most forced_floor_max (%s)", t.ForcedFloor, t.ForcedFloorMax)
	check(t.ForcedFloorMax <= perennial.ForcedForgotten, "forced_floor_max (%s) must be at most %s, after which forced refreshes are counted anew", t.ForcedFloorMax, perennial.ForcedForgotten)
	return errors.Join(errs...)
}

// sendWithin is how soon after its claim an attempt with a short lease should send.
const sendWithin = 5 * time.Second

// Lease returns how long a claim may keep the fence. If the process dies, the token can
// be presented again only when that time is over. Within a grace window it must leave
// time for a whole presentation, but it covers one presentation and its save: two that
// live at once could bring two pairs of which one is dead, unless the provider is known to
// repeat its reply. For a reusable token it covers
// no more than that either, because presenting the token again harms nothing.
func (t Config) Lease(e provider.Entry) time.Duration {
	one := t.HTTPTimeout + t.SaveTimeout + sendWithin
	switch {
	case e.ReplayClass == perennial.ReplayReusable:
		return min(one, t.AttemptDeadline)
	case e.ReplayClass == perennial.ReplayGrace && e.GraceWindow > 0:
		lease := min(e.GraceWindow/2, e.GraceWindow-t.HTTPTimeout-t.SaveTimeout)
		if e.GraceReply == provider.GraceSamePair {
			one = e.GraceWindow / 2 // two that live at once bring the same pair
		}
		return min(max(lease, one), t.AttemptDeadline)
	}
	return t.AttemptDeadline
}

// Stalled reports whether an attempt of this age must not send any more, because another
// process may take the fence before it is over. Of a reusable token both would get good
// tokens, so a slow network costs it nothing.
func (t Config) Stalled(age time.Duration, e provider.Entry) bool {
	switch lease := t.Lease(e); {
	case lease == t.AttemptDeadline, e.ReplayClass == perennial.ReplayReusable:
	case e.GraceReply == provider.GraceSamePair:
		return age >= lease
	default:
		return age+t.HTTPTimeout+t.SaveTimeout > lease
	}
	return age+t.HTTPTimeout > t.AttemptDeadline
}

// Patience returns how long an attempt may wait for its rate slot: what the chain
// leaves, at most a second.
func (t Config) Patience(secrets int) time.Duration {
	work := t.HTTPTimeout*time.Duration(max(secrets, 1)) + t.SaveTimeout
	return max(min(t.StartToClose-work, time.Second)/2, 0)
}

// String lists every bound, for start-up logs.
func (t Config) String() string {
	return fmt.Sprintf("http=%s save=%s start_to_close=%s deadline=%s worker_stop=%s confirm=%s",
		t.HTTPTimeout, t.SaveTimeout, t.StartToClose, t.AttemptDeadline, t.WorkerStop, t.ConfirmDelay)
}
