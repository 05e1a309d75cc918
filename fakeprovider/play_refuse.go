package fakeprovider

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
	"golang.org/x/oauth2"
)

// plainRefusals are RFC 6749's, for providers of which nothing else is known.
var plainRefusals = map[fixtures.Kind]struct {
	status     int
	code, text string
	outcome    perennial.Outcome
}{
	fixtures.KindRevoked:     {http.StatusBadRequest, "invalid_grant", "", perennial.OutcomeRevoked},
	fixtures.KindWrongClient: {http.StatusUnauthorized, "invalid_client", "", perennial.OutcomeMisconfigured},
	fixtures.KindRateLimited: {http.StatusTooManyRequests, "", "", perennial.OutcomeRateLimited},
	fixtures.KindTooEarly:    {http.StatusBadRequest, "invalid_request", "the access token is not expired", perennial.OutcomeTooEarly},
}

// refusal returns a refusal in the provider's own words: as a source shows it, or as the
// description spells it, or as RFC 6749 does.
func (p *Play) refusal(kind fixtures.Kind) answer {
	if r, ok := p.File.First(kind); ok {
		return answer{r.Status, r.Headers, []byte(r.Body)}
	}
	plain := plainRefusals[kind]
	body, status := map[string]string{"error": plain.code, "error_description": plain.text}, plain.status
	if i := slices.IndexFunc(p.Entry.Spellings, func(s provider.Spelling) bool { return spells(s, kind) }); i >= 0 {
		s := p.Entry.Spellings[i]
		status = cmp.Or(s.HTTPStatus, http.StatusBadRequest)
		body["error"], body["error_description"] = cmp.Or(s.Code, "refused"), s.Contains
	}
	a := answer{status: status, header: map[string]string{}}
	if kind == fixtures.KindWrongClient && status == http.StatusUnauthorized && p.Entry.AuthStyle == oauth2.AuthStyleInHeader {
		a.header["WWW-Authenticate"] = "Basic" // RFC 6749 section 5.2
	}
	for name, value := range body {
		if value == "" {
			delete(body, name)
		}
	}
	a.body, _ = json.Marshal(body) // texts always marshal
	return a
}

// spells reports whether a spelling is of a kind of refusal.
func spells(s provider.Spelling, kind fixtures.Kind) bool {
	if s.Outcome != plainRefusals[kind].outcome {
		return false
	}
	return kind != fixtures.KindWrongClient || s.Fault == perennial.FaultClient
}

// kindOf returns the kind of a refusal that the server words itself; "" for one that no
// provider words in its own way.
func kindOf(no refusal) fixtures.Kind {
	switch no {
	case badClient:
		return fixtures.KindWrongClient
	case badGrant:
		return fixtures.KindRevoked
	case tooEarly:
		return fixtures.KindTooEarly
	case rateLimited:
		return fixtures.KindRateLimited
	}
	return ""
}

var (
	tooEarly    = refusal{"too_early", "The access token has not expired."}
	rateLimited = refusal{"rate_limited", "You have reached your limit."}
)

// Limit makes the server refuse refreshes as too many for so long: those of the account,
// or of all accounts that the provider counts together with it.
func (s *Server) Limit(client, account string, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits[s.limitKey(s.grants[grantKey(client, account)])] = s.now().Add(wait)
}

// limitKey returns the key under which a grant's requests are counted.
func (s *Server) limitKey(g *grant) string {
	scope := provider.ScopeConnection
	if s.play != nil {
		scope = s.play.Entry.RateLimitScope
	}
	switch scope {
	case provider.ScopeApp:
		return "app " + g.Client
	case provider.ScopeHost:
		return "host " + g.Client + " " + g.Host
	}
	return "connection " + grantKey(g.Client, g.Account)
}

// limited returns how long a grant's refreshes are still refused; 0: they are not.
func (s *Server) limited(g *grant) time.Duration { return s.limits[s.limitKey(g)].Sub(s.now()) }

// refuseLimited refuses a request as too many. The time to wait is named if the sources
// show such a header, or show no such reply.
func (s *Server) refuseLimited(w http.ResponseWriter, wait time.Duration) {
	a := s.play.refusal(fixtures.KindRateLimited)
	_, shown := s.play.File.First(fixtures.KindRateLimited)
	header := map[string]string{}
	for name, value := range a.header {
		header[name] = value
		if http.CanonicalHeaderKey(name) == "Retry-After" {
			shown = false
			delete(header, name)
		}
	}
	if !shown {
		header["Retry-After"] = strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)
	}
	a.header = header
	a.send(w)
}
