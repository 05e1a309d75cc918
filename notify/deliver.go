package notify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
)

const (
	// dueGrace is how late a planned try may be before its workflow counts as gone.
	dueGrace = 2 * time.Minute
	// dispatchLimit bounds the events and deliveries of one pass; the next pass finds
	// the rest.
	dispatchLimit = 500
)

// Dispatch plans the deliveries of every new event, and calls start for each new
// delivery and for each whose workflow is gone. start must do no harm if the delivery
// is running. Dispatch returns how many it started. Many processes may call it at once.
func (s *Service) Dispatch(ctx context.Context, start func(ctx context.Context, event, endpoint string) error) (int, error) {
	if _, err := s.Store.PlanDeliveries(ctx, dispatchLimit); err != nil {
		return 0, err
	}
	due, err := s.Store.DueDeliveries(ctx, dueGrace, dispatchLimit)
	if err != nil {
		return 0, err
	}
	started := 0
	for _, d := range due {
		if err := start(ctx, d.EventID, d.EndpointID); err != nil {
			return started, err // Temporal does not answer: the next pass finds it again
		}
		if err := s.Store.DeliveryStarted(ctx, d); err != nil {
			return started, err
		}
		started++
	}
	return started, nil
}

// The tries of one delivery: 24 over three days, with waits between them as in wait.
// The row counts them, so that days on which we could not try do not count.
const (
	defaultTries = 24
	firstWait    = 5 * time.Second // doubles each time; after 13 waits 11 h have passed
	maxWait      = 6 * time.Hour   // ten more of these: three days
)

// wait returns the wait after a number of failed tries. A random part lengthens it, so
// that deliveries that failed together do not return together.
func wait(tries int) time.Duration {
	d := firstWait
	for n := 1; n < tries && d < maxWait; n++ {
		d *= 2
	}
	d = min(d, maxWait)
	return d + rand.N(d/10)
}

// Deliver makes one try, and records and returns its result. A failed try is not an
// error: the delivery stays pending, to be tried again after Next, or is dead. An error
// means that the try could not be made or not be recorded.
func (s *Service) Deliver(ctx context.Context, event, endpoint string) (t DeliveryResult, err error) {
	t = DeliveryResult{EventID: event, EndpointID: endpoint}
	p, err := s.Store.DeliveryPayload(ctx, event, endpoint)
	switch {
	case perennial.CodeOf(err) == perennial.CodeNotFound:
		return s.giveUp(ctx, event, endpoint, DeliveryPayload{}, "the event is gone: it was past its retention")
	case err != nil:
		return t, err
	case p.Delivery.State != perennial.DeliveryPending:
		t.State = p.Delivery.State // the receiver's answer to an earlier try was lost
		return t, nil
	case !p.Endpoint.DisabledAt.IsZero():
		return s.giveUp(ctx, event, endpoint, p, "the endpoint was removed")
	}
	m := message{id: event, at: p.Now}
	if m.body, err = body(p.Event, s.Apps); err != nil {
		return t, err
	}
	if m.secrets, err = s.secrets(p.Endpoint, p.Now); err != nil {
		return t, err
	}
	reply, failed := s.sender.send(ctx, p.Endpoint.URL, m)
	t.Status, t.State = reply.status, perennial.DeliveryDelivered
	if failed != nil {
		t.State, t.Error = perennial.DeliveryPending, failed.Error()
		t.Next = max(wait(p.Delivery.Tries+1), min(reply.after, maxWait))
		if reply.status == http.StatusGone || p.Delivery.Tries+1 >= s.Tries { // 410: the receiver wants no more tries
			t.State, t.Next = perennial.DeliveryDead, 0
		}
	}
	// Record what was sent even if the worker stops meanwhile.
	save, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := s.Store.RecordDelivery(save, t); err != nil {
		return t, err
	}
	s.observe(t, p)
	return t, nil
}

// recordTimeout bounds the recording of a try.
const recordTimeout = 10 * time.Second

// giveUp makes a pending delivery dead, for the reason why.
func (s *Service) giveUp(ctx context.Context, event, endpoint string, p DeliveryPayload, why string) (DeliveryResult, error) {
	t := DeliveryResult{EventID: event, EndpointID: endpoint, State: perennial.DeliveryDead, Error: why, NotSent: true}
	if err := s.Store.RecordDelivery(ctx, t); err != nil {
		return t, fmt.Errorf("give up a delivery: %w", err)
	}
	s.observe(t, p)
	return t, nil
}

func tryOf(t DeliveryResult, p DeliveryPayload) Try {
	return Try{Event: p.Event.Type, State: t.State, Age: p.Now.Sub(p.Event.CreatedAt)}
}

func (s *Service) observe(t DeliveryResult, p DeliveryPayload) {
	s.Observer.Try(tryOf(t, p))
	log := s.Log.With("event_id", t.EventID, "endpoint_id", t.EndpointID, "status_code", t.Status)
	switch t.State {
	case perennial.DeliveryDelivered:
		log.Debug("event delivered")
	case perennial.DeliveryDead:
		log.Error("event not delivered: given up; see `perennial webhook deliveries --dead`", "error", t.Error)
	default:
		log.Warn("event not delivered yet", "error", t.Error, "next_try", t.Next)
	}
}
