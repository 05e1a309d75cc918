package connect

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// verified returns a grant that can be stored. For one of credentials it asks the
// provider for the first access token, so that wrong ones are refused to the person who
// gave them, and no connection begins broken.
// mismatch is the code if they are of another account than g's.
func (s *Service) verified(ctx context.Context, app provider.App, g Grant, mismatch perennial.Code) (Grant, error) {
	given := !g.Credentials.IsZero()
	switch {
	case !app.Provider.Grant.FromCredentials() && !given:
		var err error
		if g.Tokens, err = app.Provider.Stored(g.Tokens); err != nil {
			return g, err
		}
		return g, g.check()
	case !given || !g.Tokens.AccessToken.IsZero():
		return g, perennial.Errorf(perennial.CodeInvalid, "app %s: give credentials and no tokens: its provider takes what the customer was given, each time that an access token is asked for", app.Name)
	case s.Presenter == nil:
		return g, perennial.Errorf(perennial.CodeInvalid, "app %s: this program takes no credentials: connect.Config.Presenter is not set", app.Name)
	}
	presented, account, err := provider.ParseCredentials(g.Credentials, app.Provider)
	if err != nil {
		return g, err
	}
	if account != "" && account != g.Account {
		return g, perennial.Errorf(mismatch, "the credentials are of another account than the one that is named: nothing was changed. Name as the account what they have in %s", app.Provider.Account.Name)
	}
	if app, err = app.At(g.Host); err != nil {
		return g, err
	}
	state, err := s.Store.AppIncidents(ctx, app.Name)
	switch {
	case err != nil:
		return g, err
	case !state.StoppedAt.IsZero():
		return g, perennial.Errorf(perennial.CodeUnavailable, "an operator has stopped app %s: the credentials were not presented, and nothing was stored", app.Name)
	}
	if g.ObtainedAt, err = s.Store.Now(ctx); err != nil {
		return g, fmt.Errorf("read the database's clock: %w", err)
	}
	reply, err := s.firstToken(ctx, app, presented)
	if err != nil {
		return g, err
	}
	level := slog.LevelInfo
	if reply.Outcome == perennial.OutcomeMisconfigured {
		level = slog.LevelError
	}
	s.Log.Log(ctx, level, "credentials presented", "app", app.Name, "outcome", string(reply.Outcome), "error_code", reply.Code,
		"status_code", reply.HTTPStatus, "request_id", reply.RequestID, "description", reply.Description)
	if err := refused(app, reply); err != nil {
		return g, err
	}
	g.Tokens, g.Exchanged = reply.Tokens, true
	g.Tokens.RefreshToken = presented
	return g, g.check()
}

// firstToken presents credentials, with the next of the app's client secrets if the
// provider rejects the app's client. Each request has a rate slot of the app.
func (s *Service) firstToken(ctx context.Context, app provider.App, presented perennial.Secret) (reply provider.Reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	for _, secret := range s.preferred(ctx, app).Secrets() {
		if err := s.waitForSlot(ctx, app); err != nil {
			return reply, err
		}
		reply = s.Presenter.Refresh(ctx, app, secret, presented, func(ctx context.Context) error { return ctx.Err() })
		if !reply.ClientRejected() {
			break
		}
	}
	return reply, nil
}

// slotPatience is how long a person who gives credentials waits for a rate slot.
const slotPatience = 5 * time.Second

// waitForSlot waits for a rate slot under the app's max_refreshes_per_second.
func (s *Service) waitForSlot(ctx context.Context, app provider.App) error {
	if app.MaxRefreshesPerSecond <= 0 {
		return nil
	}
	gate, err := s.Store.ReserveSlot(ctx, app.Name, app.Provider.Host(), app.MaxRefreshesPerSecond, slotPatience)
	switch {
	case err != nil:
		return err
	case !gate.Admitted:
		return perennial.Errorf(perennial.CodeUnavailable, "app %s has no place for another request within %s under its max_refreshes_per_second: nothing was stored; try again", app.Name, slotPatience)
	}
	timer := time.NewTimer(gate.SlotAt.Sub(gate.Now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return perennial.Errorf(perennial.CodeUnavailable, "app %s: the request ended before its rate slot: nothing was stored; try again", app.Name)
	}
}

// refused returns the error for credentials that brought no token. It says whose fault
// that is, because only one of three people can mend it.
func refused(app provider.App, reply provider.Reply) error {
	title, why := app.Provider.Title, reply.Code
	if reply.Description != "" {
		why += ": " + reply.Description
	}
	switch {
	case reply.Outcome == perennial.OutcomeRefreshed && provider.IsBound(reply.Tokens):
		return perennial.Errorf(perennial.CodeInvalid, "%s gives access tokens that need a proof with each request (%s): register the client for Bearer tokens", title, reply.Tokens.TokenType)
	case reply.Outcome == perennial.OutcomeRefreshed:
		return nil
	case reply.Outcome == perennial.OutcomeRevoked, reply.Outcome == perennial.OutcomeRejected:
		return perennial.Errorf(perennial.CodeInvalid, "%s refuses the credentials (%s): nothing was stored", title, why)
	case reply.Outcome == perennial.OutcomeMisconfigured:
		return perennial.Errorf(perennial.CodeUnavailable, "%s refuses the client of app %s (%s): nothing was stored; correct the app's settings, the credentials may be right", title, app.Name, why)
	}
	return perennial.Errorf(perennial.CodeUnavailable, "%s gave no answer about the credentials (%s): nothing was stored; try again", title, why)
}
