package fakeprovider

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/internal/strictyaml"
	"github.com/perennial-oauth/perennial/provider"
)

// Play makes a server answer as one provider does: in the form of its requests, in the
// shapes of its replies and refusals, and by its rules about refresh tokens. What the
// sources show in File counts; where they show nothing, Entry does, and then RFC 6749.
type Play struct {
	Entry provider.Entry // with the facts of File
	File  fixtures.File
}

// NewPlay returns how to play an entry. If the file has facts, they take the place of
// the entry's, so that an entry which differs from its sources meets a provider that
// does not. An empty file leaves the entry alone.
func NewPlay(e provider.Entry, f fixtures.File) (*Play, error) {
	if len(f.Facts) > 0 {
		e.ReplayClass, e.GraceWindow, e.GraceReply, e.AfterGrace, e.RefreshKillsAccessToken, e.ChecksClientFirst = "", 0, "", "", false, false
		e.DefaultLifetime, e.IdleLifetime, e.GrantLifetime = 0, 0, 0
		e.RateLimitScope, e.JSONBody, e.SecretAsUser = "", false, false
	}
	var text strings.Builder
	for key, value := range f.Facts {
		fmt.Fprintf(&text, "%s: %s\n", key, value)
	}
	var facts provider.Description
	problems := strictyaml.Decode([]byte(text.String()), &facts).Problems
	e = facts.Over(e, false, func(key, text string) {
		problems = append(problems, strictyaml.Problem{Text: key + " " + text})
	})
	for _, r := range f.Replies {
		if isSuccess(r.Is()) && readShape(r.Body) == nil {
			problems = append(problems, strictyaml.Problem{Text: "the reply " + r.Name + " is neither an object nor a form: give it the kind other"})
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("play %s: %w", e.Name, strictyaml.Join("fixtures.yaml", problems))
	}
	if e.TokenURL == "" {
		return nil, errors.New("play " + e.Name + ": it has no token_url")
	}
	return &Play{e, f}, nil
}

// defaultLife is the life of an access token if neither sources nor entry name one.
const defaultLife = time.Hour

// Knobs returns the knobs of a grant that behaves as the provider documents. What is not
// documented is played as the careful side: an old refresh token is dead.
func (p *Play) Knobs() Knobs {
	e := p.Entry
	life := defaultLife
	if e.DefaultLifetime > 0 {
		life = e.DefaultLifetime
	}
	k := Knobs{LifetimeSeconds: life.Seconds(), KillsAccess: e.RefreshKillsAccessToken, IdleSeconds: int64(e.IdleLifetime / time.Second),
		HardSeconds: int64(e.GrantLifetime / time.Second), EarlySeconds: int64(e.RefreshWithin / time.Second)}
	if e.Renewal == provider.RenewalNone && e.DefaultLifetime == 0 {
		k.LifetimeSeconds, k.OmitExpiresIn = unending.Seconds(), true
	}
	switch e.Rotation {
	case provider.RotationAlways:
		k.Rotate = true
	case provider.RotationSometimes:
		k.Rotate, k.RotateEvery = true, 2
	case provider.RotationNever:
	default:
		k.Rotate = e.ReplayClass != perennial.ReplayReusable
	}
	switch e.ReplayClass {
	case perennial.ReplayReusable:
		k.KeepOld = true
	case perennial.ReplayGrace:
		k.GraceSeconds = e.GraceWindow.Seconds()
		k.GraceNewPair = e.GraceReply != provider.GraceSamePair
		k.ReuseRevokes = e.Later() == perennial.ReplayReuseRevokes
	case perennial.ReplayReuseRevokes:
		k.ReuseRevokes = true
	}
	return k
}

// placeholders stand in the entry's URLs for what differs from account to account.
var placeholders = []string{"{host}", "{account}"}

// route returns the server's own path for one of the provider's addresses.
func (p *Play) route(address string) (path string, ok bool) {
	e := p.Entry
	if p.takesCredentials() {
		values, ok := p.placed(address)
		return "/token?" + values.Encode(), ok
	}
	for _, r := range []struct{ pattern, path string }{
		{e.TokenURL, "/token"}, {e.RefreshURL, "/refresh"}, {e.AuthURL, "/authorize"}, {e.RevokeURL, "/revoke"}, {e.IntrospectURL, "/introspect"},
		{e.FirstExchange.URL, "/first-exchange"}, {e.Exchange.URL, "/exchange"}, {e.CheckURL, "/account"},
		{e.Account.URL, "/account"}, {e.Account.SandboxURL, "/account"},
	} {
		rest, account, ok := match(r.pattern, address)
		switch {
		case !ok || r.pattern == "":
		case account != "":
			return "/accounts/" + account, true
		case rest == "" || rest[0] == '?':
			return r.path + rest, true
		}
	}
	return "", false
}

// match matches an address with an entry's URL. rest is what follows; account is what
// stands for {account}.
func match(pattern, address string) (rest, account string, ok bool) {
	for pattern != "" {
		at, which := len(pattern), ""
		for _, name := range placeholders {
			if i := strings.Index(pattern, name); i >= 0 && i < at {
				at, which = i, name
			}
		}
		if address, ok = strings.CutPrefix(address, pattern[:at]); !ok {
			return "", "", false
		}
		if pattern = pattern[at:]; which == "" {
			break
		}
		pattern = strings.TrimPrefix(pattern, which)
		end := strings.IndexAny(address, "/?&")
		if end < 0 {
			end = len(address)
		}
		if which == "{account}" {
			account = address[:end]
		}
		address = address[end:]
	}
	return address, account, true
}

// isSuccess reports whether replies of a kind bring tokens.
func isSuccess(kind fixtures.Kind) bool {
	return slices.Contains([]fixtures.Kind{fixtures.KindExchange, fixtures.KindRefreshed}, kind)
}
