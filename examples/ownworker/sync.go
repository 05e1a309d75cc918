package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
)

// SyncRequest is the input of SyncOrders.
type SyncRequest struct {
	Connection string   `json:"connection"`
	Orders     []string `json:"orders"`
}

// SignalRecovered makes a waiting SyncOrders continue at once. Your receiver of
// Perennial's webhooks sends it upon connection.recovered.
const SignalRecovered = "recovered"

// A waiting workflow tries again after lookAgain even without a signal.
const lookAgain = time.Hour

// typeAside is the type of the errors that no retry helps: the workflow waits.
const typeAside = "aside"

// SyncOrders writes orders to one connection's account, one after the other.
func SyncOrders(ctx workflow.Context, req SyncRequest) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 90 * time.Second}) // retried until it succeeds
	recovered := workflow.GetSignalChannel(ctx, SignalRecovered)
	var orders *Orders
	for _, order := range req.Orders {
		for {
			err := workflow.ExecuteActivity(ctx, orders.Write, req.Connection, order).Get(ctx, nil)
			if err == nil {
				break
			}
			var failed *temporal.ApplicationError
			if !errors.As(err, &failed) || failed.Type() != typeAside {
				return err
			}
			workflow.GetLogger(ctx).Info("the sync waits", "connection_id", req.Connection, "why", failed.Message())
			if ok, _ := recovered.ReceiveWithTimeout(ctx, lookAgain, nil); !ok && ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// Orders holds the activities.
type Orders struct {
	Tokens *client.Client
	API    string // URL that takes orders
}

// Write writes one order. Temporal may run it more than once, each time with the same
// Idempotency-Key.
func (o *Orders) Write(ctx context.Context, connection, order string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.API, strings.NewReader(fmt.Sprintf(`{"order": %q}`, order)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "order-"+order)
	resp, err := o.Tokens.HTTPClient(connection).Do(req)
	if err != nil {
		return forTemporal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // lets the transport reuse the network connection
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return fmt.Errorf("the provider answers with HTTP status %d", resp.StatusCode) // retried
	}
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf("the provider refuses order %s: HTTP status %d", order, resp.StatusCode), "refused", nil)
}

// forTemporal turns an error of the client into one that tells Temporal whether to
// retry. Its text holds no token, so it may stand in a history.
func forTemporal(err error) error {
	var later *client.ErrUnavailable
	var still *client.ErrStillUnauthorized
	switch {
	case errors.As(err, &later):
		return temporal.NewApplicationErrorWithOptions(err.Error(), "unavailable", temporal.ApplicationErrorOptions{NextRetryDelay: max(time.Until(later.RetryAt), time.Second)})
	case errors.As(err, &still):
		return temporal.NewNonRetryableApplicationError(err.Error(), "refused", nil)
	}
	switch perennial.CodeOf(err) {
	case perennial.CodeReconnectRequired, perennial.CodePaused, perennial.CodeDisconnected:
		return temporal.NewNonRetryableApplicationError(err.Error(), typeAside, nil)
	case perennial.CodeNotFound:
		return temporal.NewNonRetryableApplicationError(err.Error(), "no such connection", nil)
	}
	return err // no answer: retried
}
