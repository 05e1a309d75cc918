package connect

import (
	"context"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// chooseWithin is how long a grant that reaches several accounts waits, sealed in its
// session, for somebody to choose one. It may outlive the link: the customer has given
// the consent already.
const chooseWithin = 30 * time.Minute

// maxChoices bounds the accounts that a customer may choose from.
const maxChoices = 1000

// lookUp returns the account of a grant: the one that was chosen, those that are already
// known, or those that the provider names now.
func (s *Sessions) lookUp(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply) (provider.Account, error) {
	if k.Chosen != "" {
		return provider.Account{ID: k.Chosen}, nil
	}
	if len(k.Choices) > 1 {
		return provider.Account{Choices: k.Choices}, nil
	}
	var secret perennial.Secret
	if k.Secret < len(app.ClientSecrets) {
		secret = app.ClientSecrets[k.Secret]
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return s.Provider.Account(ctx, app, secret, k.AccessToken, k.Hint, c.Host)
}

// awaitChoice lets a grant wait for the choice of its account. Nothing is stored under an
// account without a choice: one set of tokens belongs to exactly one connection.
func (s *Sessions) awaitChoice(ctx context.Context, c perennial.ConnectSession, k pendingReply, choices []provider.Choice) (perennial.ConnectSession, error) {
	if len(choices) > maxChoices {
		s.Service.Log.Warn("a grant reaches more accounts than can be shown", "session_id", c.ID, "app", c.App, "accounts", len(choices), "shown", maxChoices)
		choices = choices[:maxChoices]
	}
	k.Choices = choices
	sealed, err := s.sealed(c, k)
	if err == nil {
		err = s.Store.AwaitChoice(ctx, c.ID, c.Starts, sealed, c.ReplyAt, chooseWithin)
	}
	if err != nil {
		return s.later(ctx, c, err)
	}
	s.Service.Log.Info("a grant reaches several accounts: it waits for a choice", "session_id", c.ID, "app", c.App, "accounts", len(choices))
	c.ReplySealed, c.Outcome = sealed, perennial.ConnectChooseAccount
	return c, nil
}

// Choices returns the accounts that a session's customer may choose from, none if no
// choice is needed. Only the browser that gave the consent may see them.
func (s *Sessions) Choices(c perennial.ConnectSession) ([]provider.Choice, error) {
	if c.Outcome != perennial.ConnectChooseAccount || len(c.ReplySealed) == 0 {
		return nil, nil
	}
	k, err := s.opened(c)
	return k.Choices, err
}

// Choose stores a session's grant for one of its accounts. An account that the grant
// does not reach is an error of [perennial.CodeInvalid] and changes nothing. The first
// choice counts; afterwards, and once the time is over, Choose returns the session as it
// is. Only the browser that gave the consent may choose.
func (s *Sessions) Choose(ctx context.Context, id, account string) (perennial.ConnectSession, error) {
	c, _, err := s.Store.ByID(ctx, id)
	if err != nil || c.Outcome != perennial.ConnectChooseAccount {
		return c, err
	}
	app, err := s.app(c)
	if err != nil {
		return c, err
	}
	k, err := s.opened(c)
	if err != nil {
		return c, err
	}
	if !slices.ContainsFunc(k.Choices, func(one provider.Choice) bool { return one.ID == account }) {
		return c, perennial.Errorf(perennial.CodeInvalid, "choose one of the accounts that the grant reaches")
	}
	k.Chosen = account
	sealed, err := s.sealed(c, k)
	if err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxStore)
	defer cancel()
	if err := s.Store.SaveChoice(ctx, c.ID, c.Starts, sealed, storeLease); perennial.CodeOf(err) == perennial.CodeConflict {
		c, _, err = s.Store.ByID(ctx, id)
		return c, err
	} else if err != nil {
		return c, err
	}
	c.Tries, c.Outcome = 1, perennial.ConnectUnfinished
	return s.finish(ctx, app, c, k)
}

// giveUpChoice ends a session without a choice in time. Its grant is refused
// like any other.
func (s *Sessions) giveUpChoice(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply) (perennial.ConnectSession, error) {
	return s.refuse(ctx, app, c, k, provider.Account{Choices: k.Choices}, perennial.ConnectNotChosen, nil)
}
