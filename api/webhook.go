package api

import (
	"context"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/notify"
)

// Webhook is an endpoint that receives events of the tenant.
type Webhook struct {
	_              struct{}              `additionalProperties:"true"`
	ID             string                `json:"id" example:"whe_6f0c3ab2-0000-4000-8000-000000000000"`
	URL            string                `json:"url"`
	Types          []perennial.EventType `json:"types,omitempty" nullable:"false" doc:"Absent: all of the tenant's"`
	Secret         string                `json:"secret,omitempty" doc:"Verifies signatures (Standard Webhooks). Shown this once, and not in the answer to a repeated Idempotency-Key."`
	SecretVersion  int64                 `json:"secret_version"`
	OldSecretUntil time.Time             `json:"old_secret_until,omitzero" doc:"Until then messages carry the old secret's signature too"`
	CreatedAt      time.Time             `json:"created_at"`
}

func showWebhook(w perennial.WebhookEndpoint) Webhook {
	return Webhook{ID: w.ID, URL: w.URL, Types: w.Types, SecretVersion: w.SecretVersion, OldSecretUntil: w.OldSecretUntil, CreatedAt: w.CreatedAt}
}

type webhookOutput struct{ Body Webhook }

func (o *webhookOutput) withoutSecret() any {
	kept := *o
	kept.Body.Secret = ""
	return kept
}

const webhooksPath = "/v1/webhooks"

func (a *API) registerWebhooks() {
	const tag = "webhooks"
	at := func(rest string) string { return webhooksPath + "/{id}" + rest }
	register(a, operation{id: "listWebhooks", method: http.MethodGet, path: webhooksPath, tag: tag, scopes: ruling, summary: "List webhook endpoints"}, a.listWebhooks)
	register(a, operation{id: "createWebhook", method: http.MethodPost, path: webhooksPath, tag: tag, scopes: ruling, writes: true, success: http.StatusCreated,
		summary: "Register an endpoint; its secret is shown this once", description: "It hears of what happens from now on."}, a.createWebhook)
	register(a, operation{id: "getWebhook", method: http.MethodGet, path: at(""), tag: tag, scopes: ruling, summary: "Show one endpoint"}, a.getWebhook)
	register(a, operation{id: "deleteWebhook", method: http.MethodDelete, path: at(""), tag: tag, scopes: ruling, writes: true, success: http.StatusNoContent,
		summary: "Send an endpoint nothing more", description: "What was on its way to it is dead."}, a.deleteWebhook)
	register(a, operation{id: "rotateWebhookSecret", method: http.MethodPost, path: at("/secret"), tag: tag, scopes: ruling, writes: true,
		summary: "Give an endpoint a new secret, shown this once"}, a.rotateSecret)
	register(a, operation{id: "listDeliveries", method: http.MethodGet, path: at("/deliveries"), tag: tag, scopes: ruling,
		summary: "List what was delivered to an endpoint, newest first", description: "Also to one that was removed."}, a.listDeliveries)
	register(a, operation{id: "redeliver", method: http.MethodPost, path: at("/deliveries/{event_id}/redeliver"), tag: tag, scopes: ruling, writes: true, repeatable: true,
		success: http.StatusAccepted, summary: "Send an event again that was given up, or that the receiver lost"}, a.redeliver)
}

// ownWebhook reads an endpoint that the caller reaches. Any other is not found; nor is a
// removed one, unless removed allows it.
func (a *API) ownWebhook(ctx context.Context, access perennial.Access, id string, removed bool) (perennial.WebhookEndpoint, error) {
	w, err := a.Webhooks.Endpoint(ctx, access, id)
	if perennial.CodeOf(err) == perennial.CodeNotFound || err == nil && !w.DisabledAt.IsZero() && !removed {
		return w, problem(perennial.CodeNotFound, "There is no such webhook endpoint.")
	}
	return w, err
}

type listWebhooksOutput struct {
	Body struct {
		_        struct{}  `additionalProperties:"true"`
		Webhooks []Webhook `json:"webhooks" nullable:"false"`
	}
}

func (a *API) listWebhooks(ctx context.Context, access perennial.Access, _ *struct{}) (*listWebhooksOutput, error) {
	all, err := a.Webhooks.Endpoints(ctx, access)
	if err != nil {
		return nil, err
	}
	out := &listWebhooksOutput{}
	out.Body.Webhooks = []Webhook{}
	for _, w := range all {
		out.Body.Webhooks = append(out.Body.Webhooks, showWebhook(w))
	}
	return out, nil
}

type createWebhookInput struct {
	Body struct {
		URL   string                `json:"url" minLength:"1" maxLength:"2000" pattern:"^[^\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]+$" doc:"https, of a public address"`
		Types []perennial.EventType `json:"types,omitempty" maxItems:"20" nullable:"false" enum:"connection.connected,connection.reconnect_required,connection.recovered,connection.failing,connection.expiring_soon,connection.scopes_missing,connection.scopes_restored,connection.disconnected" doc:"Absent: all"`
	}
}

func (a *API) createWebhook(ctx context.Context, access perennial.Access, in *createWebhookInput) (*webhookOutput, error) {
	if _, limited := access.Apps(); limited {
		return nil, problem(wire.CodeScope, "An endpoint receives the events of all apps, and this API key reaches some of them only.")
	}
	w, secret, err := a.Webhooks.Add(ctx, access, in.Body.URL, in.Body.Types)
	if perennial.CodeOf(err) == perennial.CodeInvalid {
		// Do not reveal which address a name has in this network.
		p := problem(perennial.CodeInvalid, "The endpoint is not usable.")
		p.Errors = []wire.Invalid{{Location: "body.url", Message: "must begin with https://, hold no credentials and no fragment, and name a public address"}}
		return nil, p.because(err)
	}
	if err != nil {
		return nil, err
	}
	out := &webhookOutput{showWebhook(w)}
	out.Body.Secret = secret.Reveal()
	return out, nil
}

// WebhookPath is a webhook endpoint's id in a path.
type WebhookPath struct {
	ID string `path:"id" maxLength:"100" pattern:"^[A-Za-z0-9_-]+$" doc:"The endpoint"`
}

func (a *API) getWebhook(ctx context.Context, access perennial.Access, in *WebhookPath) (*webhookOutput, error) {
	w, err := a.ownWebhook(ctx, access, in.ID, false)
	if err != nil {
		return nil, err
	}
	return &webhookOutput{showWebhook(w)}, nil
}

func (a *API) deleteWebhook(ctx context.Context, access perennial.Access, in *WebhookPath) (*struct{}, error) {
	if _, err := a.ownWebhook(ctx, access, in.ID, false); err != nil {
		return nil, err
	}
	return nil, a.Webhooks.RemoveEndpoint(ctx, access, in.ID)
}

// oldSecretKept is how long a rotated secret goes on signing by default.
const oldSecretKept = 24 * time.Hour

type rotateSecretInput struct {
	WebhookPath
	Body struct {
		KeepSeconds *int64 `json:"keep_seconds,omitempty" minimum:"0" maximum:"604800" doc:"For how long the old secret goes on signing; 0 if others know it. Absent: 86400, a day"`
	}
}

func (a *API) rotateSecret(ctx context.Context, access perennial.Access, in *rotateSecretInput) (*webhookOutput, error) {
	if _, err := a.ownWebhook(ctx, access, in.ID, false); err != nil {
		return nil, err
	}
	keep := oldSecretKept
	if s := in.Body.KeepSeconds; s != nil {
		keep = time.Duration(*s) * time.Second
	}
	secret, err := a.Webhooks.Rotate(ctx, access, in.ID, keep)
	if err != nil {
		return nil, err
	}
	w, err := a.ownWebhook(ctx, access, in.ID, true)
	if err != nil {
		return nil, err
	}
	out := &webhookOutput{showWebhook(w)}
	out.Body.Secret = secret.Reveal()
	return out, nil
}

// Delivery is the delivery of one event to one endpoint.
type Delivery struct {
	_           struct{}                `additionalProperties:"true"`
	EventID     string                  `json:"event_id"`
	WebhookID   string                  `json:"webhook_id"`
	State       perennial.DeliveryState `json:"state" enum:"pending,delivered,dead"`
	Tries       int                     `json:"tries"`
	LastStatus  int                     `json:"last_status,omitempty" doc:"Of HTTP; absent: no reply"`
	LastError   string                  `json:"last_error,omitempty"`
	NextTryAt   time.Time               `json:"next_try_at,omitzero"`
	DeliveredAt time.Time               `json:"delivered_at,omitzero"`
	CreatedAt   time.Time               `json:"created_at"`
}

type listDeliveriesInput struct {
	WebhookPath
	Page
	State string `query:"state" enum:"pending,delivered,dead"`
}

type listDeliveriesOutput struct {
	Body struct {
		_          struct{}   `additionalProperties:"true"`
		Deliveries []Delivery `json:"deliveries" nullable:"false"`
		NextCursor string     `json:"next_cursor,omitempty"`
	}
}

type deliveryCursor struct {
	CreatedAt time.Time
	EventID   string
}

func deliveryOf(d perennial.Delivery) Delivery {
	return Delivery{EventID: d.EventID, WebhookID: d.EndpointID, State: d.State, Tries: d.Tries,
		LastStatus: d.LastStatus, LastError: d.LastError, NextTryAt: d.NextTryAt, DeliveredAt: d.DeliveredAt, CreatedAt: d.CreatedAt}
}

// filter asks for one delivery more than the page has.
func (in *listDeliveriesInput) filter(after deliveryCursor) notify.DeliveryFilter {
	return notify.DeliveryFilter{EndpointID: in.ID, State: perennial.DeliveryState(in.State), Limit: in.Limit + 1,
		After: perennial.Delivery{EventID: after.EventID, EndpointID: in.ID, CreatedAt: after.CreatedAt}}
}

func (a *API) listDeliveries(ctx context.Context, access perennial.Access, in *listDeliveriesInput) (*listDeliveriesOutput, error) {
	var after deliveryCursor
	if err := in.readCursor(&after); err != nil {
		return nil, err
	}
	if _, err := a.ownWebhook(ctx, access, in.ID, true); err != nil {
		return nil, err
	}
	rows, err := a.Webhooks.DeliveriesOf(ctx, access, in.filter(after))
	if err != nil {
		return nil, err
	}
	out := &listDeliveriesOutput{}
	out.Body.Deliveries = []Delivery{}
	rows, out.Body.NextCursor = cut(rows, in.Limit, func(d perennial.Delivery) any { return deliveryCursor{d.CreatedAt, d.EventID} })
	for _, d := range rows {
		out.Body.Deliveries = append(out.Body.Deliveries, deliveryOf(d))
	}
	return out, nil
}

type redeliverInput struct {
	WebhookPath
	EventID string `path:"event_id" maxLength:"100" pattern:"^[A-Za-z0-9_-]+$"`
}

type redeliverOutput struct {
	Body struct {
		_         struct{}                `additionalProperties:"true"`
		EventID   string                  `json:"event_id"`
		WebhookID string                  `json:"webhook_id"`
		State     perennial.DeliveryState `json:"state"`
	}
}

func (a *API) redeliver(ctx context.Context, access perennial.Access, in *redeliverInput) (*redeliverOutput, error) {
	if _, err := a.ownWebhook(ctx, access, in.ID, true); err != nil {
		return nil, err
	}
	switch err := a.Webhooks.Redeliver(ctx, access, in.EventID, in.ID); perennial.CodeOf(err) {
	case "":
	case perennial.CodeNotFound:
		return nil, problem(perennial.CodeNotFound, "There is no such delivery.")
	case perennial.CodeConflict:
		return nil, problem(perennial.CodeConflict, "It is on its way already, or the endpoint was removed.").because(err)
	default:
		return nil, err
	}
	out := &redeliverOutput{}
	out.Body.EventID, out.Body.WebhookID, out.Body.State = in.EventID, in.ID, perennial.DeliveryPending
	return out, nil
}
