package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
)

// Policy returns when to refresh a token set; timing.DueAfter is one.
type Policy func(before time.Duration, start time.Time, life time.Duration, profile provider.BufferProfile, id string, generation int64) time.Time

// App is one app of the fleet.
type App struct {
	Name     string
	Provider string  // name in the catalogue
	Share    float64 // of the fleet's connections, imported ones included
	// Life of an access token. If LifeTo is set, each token has a random life from Life
	// to LifeTo.
	Life, LifeTo time.Duration
	Source       string // of the life
	Buffer       provider.BufferProfile
	// Limit is max_refreshes_per_second for a fleet of a million; 0: none. It is scaled
	// with the fleet.
	Limit float64
}

// Outage is a time in which an app's provider refuses every connection.
type Outage struct {
	App     string
	At, For time.Duration
}

// Import adds connections whose tokens expire at the same instant.
type Import struct {
	App   string
	At    time.Duration
	Share float64       // of the fleet
	Left  time.Duration // of the tokens' lives
}

// Config says what to simulate. Its zero value is the default fleet with all
// disturbances.
type Config struct {
	Connections int           // Defaults to 1,000,000.
	For         time.Duration // Defaults to 72 h.
	Seed        uint64        // for random lives, latencies and phases. Defaults to 1.
	Apps        []App         // Defaults to [Apps].
	Outages     []Outage      // Defaults to [Outages]; empty, not nil: none.
	Imports     []Import      // Defaults to [Imports]; empty, not nil: none.
	Due         Policy        // Defaults to timing.DueAfter.
	// Settle is how many of its token lives an app has to become even again after an
	// outage or an import. Until then its minutes are not steady. Defaults to 4.
	Settle int
	// Lag is the longest time from a due time until the refresh begins; each time it is
	// random. Defaults to 2 s.
	Lag time.Duration
}

func (c Config) withDefaults() Config {
	if c.Connections == 0 {
		c.Connections = 1_000_000
	}
	if c.For == 0 {
		c.For = 72 * time.Hour
	}
	if c.Seed == 0 {
		c.Seed = 1
	}
	if c.Apps == nil {
		c.Apps = Apps()
	}
	if c.Outages == nil {
		c.Outages = Outages
	}
	if c.Imports == nil {
		c.Imports = Imports
	}
	if c.Due == nil {
		c.Due = timing.DueAfter
	}
	if c.Settle == 0 {
		c.Settle = 4
	}
	if c.Lag == 0 {
		c.Lag = 2 * time.Second
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Connections > 0 && c.Connections <= 10_000_000, "connections is %d; it must be from 1 to 10,000,000", c.Connections)
	check(c.For >= time.Hour && c.For <= 30*24*time.Hour, "for is %s; it must be from an hour to 30 days", c.For)
	check(len(c.Apps) > 0 && len(c.Apps) < 256, "there must be from 1 to 255 apps")
	for _, a := range c.Apps {
		check(a.Life > 0, "app %s: life must be above zero", a.Name)
		check(a.LifeTo == 0 || a.LifeTo > a.Life, "app %s: life_to must be above life", a.Name)
		check(a.Share > 0, "app %s: share must be above zero", a.Name)
	}
	for _, o := range c.Outages {
		check(c.app(o.App) >= 0, "outage: no app %s", o.App)
	}
	for _, i := range c.Imports {
		check(c.app(i.App) >= 0 && c.Apps[max(c.app(i.App), 0)].Share >= i.Share, "import: app %s must have the imported share at least", i.App)
	}
	return errors.Join(errs...)
}

// app returns the index of an app, or -1.
func (c Config) app(name string) int {
	for i, a := range c.Apps {
		if a.Name == name {
			return i
		}
	}
	return -1
}
