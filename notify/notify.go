// Package notify tells products what changed: it signs the events of the outbox by the
// scheme of Standard Webhooks (https://www.standardwebhooks.com) and delivers each at
// least once to every endpoint that subscribes to it.
package notify

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/seal"
)

// Sealer seals and opens secrets; seal.Keyring in production.
type Sealer interface {
	Seal(b seal.Binding, s perennial.Secret) ([]byte, error)
	Open(b seal.Binding, sealed []byte) (perennial.Secret, error)
}

// Config holds the service's dependencies.
type Config struct {
	*Store
	Sealer    Sealer
	Apps      Apps
	Addresses Addresses
	Timeout   time.Duration // for one try. Defaults to 15 s.
	Tries     int           // before a delivery is dead. Defaults to 24, over three days.
	Log       *slog.Logger  // Defaults to discarding.
	Observer  Observer      // Defaults to none.
}

// Observer receives every try; metrics.Notify in production. It must be safe for
// concurrent use.
type Observer interface{ Try(t Try) }

// Try is one try to deliver an event, or the decision to give it up.
type Try struct {
	Event perennial.EventType     // empty if the event is gone
	State perennial.DeliveryState // afterwards; pending: it failed, and there will be another
	Age   time.Duration           // age of the event
}

type nobody struct{}

func (nobody) Try(Try) {}

// Service stores endpoints and delivers events to them. It is safe for concurrent use
// by many processes.
type Service struct {
	Config
	sender *sender
}

// New returns a service.
func New(c Config) *Service {
	if c.Timeout == 0 {
		c.Timeout = sendTimeout
	}
	if c.Tries == 0 {
		c.Tries = defaultTries
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	return &Service{Config: c, sender: newSender(c.Addresses, c.Timeout)}
}

// secretBytes is the length of a secret: Standard Webhooks allows 24 to 64.
const secretBytes = 32

func newSecret() perennial.Secret {
	key := make([]byte, secretBytes)
	_, _ = rand.Read(key) // it never fails: crypto/rand ends the program instead
	return perennial.NewSecret("whsec_" + base64.StdEncoding.EncodeToString(key))
}

func binding(w perennial.WebhookEndpoint, version int64) seal.Binding {
	return seal.Binding{Tenant: w.TenantID, Connection: w.ID, Field: seal.FieldWebhookSecret, Generation: version}
}

// Add registers an endpoint for the tenant of the access, or for all if that reaches all,
// and for some types of event, or for all. It receives events from now on. Add returns the secret
// only this once, for the verification of signatures.
func (s *Service) Add(ctx context.Context, access perennial.Access, url string, types []perennial.EventType) (perennial.WebhookEndpoint, perennial.Secret, error) {
	for _, t := range types {
		if !slices.Contains(perennial.EventTypes, t) {
			return perennial.WebhookEndpoint{}, perennial.Secret{}, perennial.Errorf(perennial.CodeInvalid, "there is no event %q; there are: %q", t, perennial.EventTypes)
		}
	}
	tenant, _ := access.Tenant()
	if !printable.Is(tenant) {
		return perennial.WebhookEndpoint{}, perennial.Secret{}, perennial.Errorf(perennial.CodeInvalid, "the tenant's name must be text without control or invisible characters")
	}
	if err := s.Addresses.CheckURL(ctx, url); err != nil {
		return perennial.WebhookEndpoint{}, perennial.Secret{}, err
	}
	w := perennial.WebhookEndpoint{ID: "whe_" + uuid.NewString(), TenantID: tenant, URL: url, Types: types}
	secret := newSecret()
	var err error
	if w.SecretSealed, err = s.Sealer.Seal(binding(w, 1), secret); err != nil {
		return w, perennial.Secret{}, err
	}
	w, err = s.Store.AddEndpoint(ctx, access, w)
	return w, secret, err
}

// Rotate gives the endpoint a new secret and returns it only this once. For keep the
// old one signs too, so that the receiver can change over. A secret that was already
// being replaced ends at once.
func (s *Service) Rotate(ctx context.Context, access perennial.Access, id string, keep time.Duration) (perennial.Secret, error) {
	w, err := s.Store.Endpoint(ctx, access, id)
	if err != nil {
		return perennial.Secret{}, err
	}
	secret := newSecret()
	sealed, err := s.Sealer.Seal(binding(w, w.SecretVersion+1), secret)
	if err != nil {
		return perennial.Secret{}, err
	}
	return secret, s.Store.RotateSecret(ctx, access, id, w.SecretVersion, sealed, keep)
}

// secrets returns the secrets that sign now, the newest first.
func (s *Service) secrets(w perennial.WebhookEndpoint, now time.Time) ([]perennial.Secret, error) {
	newest, err := s.Sealer.Open(binding(w, w.SecretVersion), w.SecretSealed)
	if err != nil {
		return nil, err
	}
	if len(w.OldSecretSealed) == 0 || !now.Before(w.OldSecretUntil) {
		return []perennial.Secret{newest}, nil
	}
	old, err := s.Sealer.Open(binding(w, w.SecretVersion-1), w.OldSecretSealed)
	if err != nil {
		return nil, err
	}
	return []perennial.Secret{newest, old}, nil
}
