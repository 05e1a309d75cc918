package measure

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// Config configures a [Run].
type Config struct {
	// App is the client at the provider, at the account's host. Its entry says how
	// requests are made and replies are read, and its idle and hard clocks bound the waits;
	// what it says about rotation and replay is not used. Its first client secret must be
	// right.
	App provider.App
	// Client sends the requests.
	Client *provider.Client
	// Consent gets a grant that may be lost: the tokens of a new consent, always of the
	// same account. It is called at most Consents times, and not at once: a grant ends when
	// its experiments do. An error ends the experiments that need the grant.
	Consent func(context.Context) (perennial.TokenSet, error)
	// Alive reports whether an access token still works, at an API or by introspection.
	// Nil: what needs it is not measured.
	Alive func(ctx context.Context, accessToken perennial.Secret) (bool, error)
	// Longest is the longest time that an experiment may wait for an effect. Defaults to
	// 1 min. A wait for a longer one says so.
	Longest time.Duration
	// Consents is how many grants may be asked for. Defaults to 4.
	Consents int
	// Say takes a line about what is done now. It has no secret in it.
	Say func(string)
}

func (c Config) withDefaults() Config {
	c.Longest, c.Consents = cmp.Or(c.Longest, time.Minute), cmp.Or(c.Consents, 4)
	if c.Say == nil {
		c.Say = func(string) {}
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Client == nil || c.Consent == nil:
		return errors.New("measure: Client and Consent are needed")
	case c.App.Provider.Grant.FromCredentials():
		return perennial.Errorf(perennial.CodeInvalid, "app %s: only grants with a refresh token are measured, and its connections are made from the customer's credentials: `perennial provider try` shows what they bring", c.App.Name)
	case c.App.Provider.Renewal != "":
		return perennial.Errorf(perennial.CodeInvalid, "app %s: only grants with a refresh token are measured, and this provider has none (renewal: %s)", c.App.Name, c.App.Provider.Renewal)
	case c.App.Provider.HostNeeded():
		return perennial.Errorf(perennial.CodeInvalid, "app %s: each account has its own host: name one", c.App.Name)
	case c.Longest < time.Second || c.Consents < 1:
		return perennial.Errorf(perennial.CodeInvalid, "the longest wait must be a second or more, and the number of consents 1 or more")
	}
	return nil
}
