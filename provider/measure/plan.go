package measure

import (
	"context"

	"golang.org/x/oauth2"
)

// experiment is one question to the provider.
type experiment struct {
	name  string
	title string   // what is done, for people
	cost  string   // what it costs beyond a few requests
	keys  []string // that it finds, each a line of the description or one of the keys of this package
	// cannot says why it cannot be made at all, "" if it can.
	cannot func(Config) string
	do     func(*run, context.Context) error
}

// Step is one experiment of a plan.
type Step struct {
	Name  string   `json:"name"`
	Does  string   `json:"does"`
	Costs string   `json:"costs"`
	Finds []string `json:"finds"`
	// Cannot says why it will not be made, with what would make it possible.
	Cannot string `json:"cannot,omitempty"`
}

// Plan lists the experiments in their order: those that end a grant come last, so that
// few consents are needed.
func Plan(c Config) []Step {
	c = c.withDefaults()
	var steps []Step
	for _, e := range experiments {
		steps = append(steps, Step{Name: e.name, Does: e.title, Costs: e.cost, Finds: e.keys, Cannot: e.cannot(c)})
	}
	return steps
}

const (
	costNothing = "no consent"
	costShared  = "the first consent, which the experiments before the replay share"
)

var experiments = []experiment{
	{"dead-token", "present a made-up refresh token", costNothing, []string{"spellings.revoked"}, possible, (*run).deadToken},
	{"client-first", "present a made-up refresh token with a made-up client secret", costNothing, []string{"spellings.misconfigured", "checks_client_first"}, hasSecret, (*run).clientFirst},
	{"early", "refresh at once after the consent", costShared, []string{"refresh_within"}, possible, (*run).early},
	{"old-access-token", "refresh, and use the old access token", costShared, []string{"refresh_kills_access_token"}, hasAlive, (*run).oldAccessToken},
	{"rotation", "refresh four times, and compare the refresh tokens", costShared, []string{"rotation"}, possible, (*run).rotation},
	{"lifetime", "use an access token just before and just after its end", costShared + "; a wait as long as the access token lives", []string{"default_lifetime", "lifetime_unit"}, possible, (*run).life},
	{"wrong-client", "present a good refresh token with a made-up client secret, and then with the right one", costShared + "; one more if the provider spends the token", []string{KeyWrongClientSpends}, hasSecret, (*run).wrongClient},
	{"replay", "present an old refresh token at once, and later and later", "the first consent; it ends if the provider punishes reuse", []string{"replay_class", "grace_window", KeyReplayGives, KeyAfterWindow}, possible, (*run).replay},
	{"grace", "wait in one go for the longest time that worked, then use the new refresh token and present the old one", "one consent, only if an old refresh token works for a time", []string{KeyGraceEnds}, possible, (*run).grace},
	{"revocation", "revoke a refresh token, and see what ends with it", "the last consent; one more for a second grant of the same account", []string{"grants_per_user", "revocation"}, canRevoke, (*run).revocation},
}

func possible(Config) string { return "" }

func hasAlive(c Config) string {
	if c.Alive == nil {
		return "nothing says whether an access token works: name an address of the API"
	}
	return ""
}

func hasSecret(c Config) string {
	switch style := c.App.Provider.AuthStyle; {
	case style != oauth2.AuthStyleInHeader && style != oauth2.AuthStyleInParams:
		return "the client has no secret, or proves itself by a key: no wrong one can be made up"
	case c.App.Secrets()[0].IsZero():
		return "the client has no secret"
	}
	return ""
}

func canRevoke(c Config) string {
	if c.App.Provider.RevokeURL == "" {
		return "the description has no revoke_url"
	}
	return ""
}
