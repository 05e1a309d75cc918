package activities

import (
	"context"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/notify"
	"go.temporal.io/sdk/temporal"
)

// Notifier makes one try to deliver an event; notify.Service in production.
type Notifier interface {
	Deliver(ctx context.Context, event, endpoint string) (notify.DeliveryResult, error)
}

// Deliverer holds the dependencies of the Deliver activity. Safe for concurrent
// use.
type Deliverer struct{ Notify Notifier }

// DeliveryRequest names an event and the endpoint that receives it.
type DeliveryRequest struct {
	EventID    string `json:"eventId"`
	EndpointID string `json:"endpointId"`
}

// errNotDelivered is the error type of a failed try.
const errNotDelivered = "not_delivered"

// Deliver makes one try and returns the state of the delivery: delivered or dead. A
// failed try is an error that Temporal retries at the time that the delivery sets; it
// does not repeat the receiver's words.
func (d *Deliverer) Deliver(ctx context.Context, req DeliveryRequest) (perennial.DeliveryState, error) {
	t, err := d.Notify.Deliver(ctx, req.EventID, req.EndpointID)
	if err != nil {
		return "", err
	}
	if t.State == perennial.DeliveryPending {
		return "", temporal.NewApplicationErrorWithOptions(t.Error, errNotDelivered, temporal.ApplicationErrorOptions{NextRetryDelay: t.Next})
	}
	return t.State, nil
}
