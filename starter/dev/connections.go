package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/workflows"
)

func migrate(ctx context.Context, cfg *config.Config) error {
	d, err := db.Open(ctx, cfg.DatabaseURL, cfg.DatabasePool)
	if err != nil {
		return err
	}
	defer d.Close()
	_, _, err = d.Migrate(ctx)
	return err
}

// openConnections makes the demo connections, or finds those of the last start.
func (s *stack) openConnections(ctx context.Context) error {
	for _, d := range demos {
		access, err := perennial.CommandLineAccess().InTenant(demoTenant)
		if err != nil {
			return err
		}
		c, err := s.deps.Store.FindByAccount(ctx, access, d.app, d.account)
		switch {
		case perennial.CodeOf(err) == perennial.CodeNotFound:
			c, err = s.consent(ctx, d, "")
		case err == nil && c.Status == perennial.StatusReconnectRequired:
			c, err = s.consent(ctx, d, c.ID)
		case err == nil:
			// Its workflow may not know the present state: nudge it.
			err = s.updates.Signal(ctx, c, workflows.SignalNudge)
		}
		if err != nil {
			return fmt.Errorf("demo connection %s: %w", d.account, err)
		}
		s.ids = append(s.ids, c.ID)
	}
	return nil
}

// consentTimeout bounds one consent and the storing of its tokens.
const consentTimeout = 15 * time.Second

// consent makes the account approve access and stores the tokens: as a reconnect of id,
// or as a connect if id is empty. Ctrl-C does not stop it half way: otherwise the story
// would count what the database does not hold.
func (s *stack) consent(ctx context.Context, d demo, id string) (perennial.Connection, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), consentTimeout)
	defer cancel()
	client := "demo-" + d.app
	at, err := s.deps.Store.Now(ctx)
	if err != nil {
		return perennial.Connection{}, err
	}
	// Set a grant's knobs before its tokens are made.
	if _, err := s.provider.Grant(client, d.account); err != nil {
		return perennial.Connection{}, err
	}
	if err := s.provider.SetKnobs(client, d.account, d.knobs); err != nil {
		return perennial.Connection{}, err
	}
	reply, err := s.provider.Grant(client, d.account)
	if err != nil {
		return perennial.Connection{}, err
	}
	raw, err := json.Marshal(reply)
	if err != nil {
		return perennial.Connection{}, err
	}
	app, err := s.deps.Config.App(d.app)
	if err != nil {
		return perennial.Connection{}, err
	}
	tokens, _, err := provider.ParseTokens(bytes.NewReader(raw), app.Provider)
	if err != nil {
		return perennial.Connection{}, err
	}
	g := d.grant(tokens, at)
	if id != "" {
		return s.service.Reconnect(ctx, perennial.CommandLineAccess(), id, g)
	}
	return s.service.Connect(ctx, perennial.CommandLineAccess(), g)
}

// connections reads the demo connections, in the order of demos.
func (s *stack) connections(ctx context.Context) ([]perennial.Connection, time.Time, error) {
	var out []perennial.Connection
	var now time.Time
	for _, id := range s.ids {
		c, at, err := s.deps.Store.Get(ctx, perennial.CommandLineAccess(), id)
		if err != nil {
			return nil, at, err
		}
		out, now = append(out, c), at
	}
	return out, now, nil
}

// grant is the result of the consent of a demo account.
func (d demo) grant(tokens perennial.TokenSet, at time.Time) connect.Grant {
	return connect.Grant{Tenant: demoTenant, App: d.app, Account: d.account, Tokens: tokens, ObtainedAt: at, Exchanged: true}
}
