package fakeprovider

import (
	"sort"
	"time"
)

// Oracle reports what really happened, by the provider's own books. It holds digests
// (lower-case hex SHA-256), never tokens.
type Oracle struct {
	Grants        []GrantOracle  `json:"grants"`
	Presentations []Presentation `json:"presentations"`
	TokenRequests int            `json:"token_requests"`
	// MaxPerSecond is the most token requests in any one second.
	MaxPerSecond int `json:"max_per_second"`
	Refreshes    int `json:"refreshes"`
	// ConsumedPresentations counts presentations of refresh tokens that were consumed
	// already and that no grace window of their replay class covered.
	ConsumedPresentations int `json:"consumed_presentations"`
}

// GrantOracle is the part of one grant.
type GrantOracle struct {
	Client                string   `json:"client"`
	Account               string   `json:"account"`
	Revoked               bool     `json:"revoked"`
	Refreshes             int      `json:"refreshes"`
	ConsumedPresentations int      `json:"consumed_presentations"`
	MostInFlight          int      `json:"most_in_flight"` // most refresh requests at the same time
	LiveAccessTokens      int      `json:"live_access_tokens"`
	LiveRefreshTokens     []string `json:"live_refresh_tokens"` // digests
	Writes                []string `json:"writes,omitempty"`    // to the protected API: method, path, Idempotency-Key
	RepeatedWrites        int      `json:"repeated_writes"`     // with a known key: answered, not done again
}

// Presentation is one presentation of a known refresh token.
type Presentation struct {
	Grant         string    `json:"grant"` // client/account
	Digest        string    `json:"digest"`
	At            time.Time `json:"at"`
	AfterConsumed bool      `json:"after_consumed"`
	Undelivered   bool      `json:"undelivered"` // the work was done, but no answer was sent
	// Left means that the caller disconnected before the answer, After this long.
	Left  bool          `json:"left,omitempty"`
	After time.Duration `json:"after,omitempty"`
	// LiveFor is the remaining lifetime, at this presentation, of an access token that
	// was issued with the refresh token; 0: none was live.
	LiveFor time.Duration `json:"live_for"`
}

// Oracle returns a snapshot.
func (s *Server) Oracle() Oracle {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	parts := map[string]*GrantOracle{}
	var out Oracle
	for key, g := range s.grants {
		parts[key] = g.oracle()
		out.Refreshes += g.Refreshes
		out.ConsumedPresentations += g.Consumed
	}
	for _, t := range s.access {
		if !t.Dead && now.Before(t.Expires) {
			parts[t.Grant].LiveAccessTokens++
		}
	}
	for token, t := range s.refresh {
		if !t.Dead {
			parts[t.Grant].LiveRefreshTokens = append(parts[t.Grant].LiveRefreshTokens, digest(token))
		}
	}
	for _, p := range parts {
		sort.Strings(p.LiveRefreshTokens)
		out.Grants = append(out.Grants, *p)
	}
	sort.Slice(out.Grants, func(i, j int) bool {
		a, b := out.Grants[i], out.Grants[j]
		return grantKey(a.Client, a.Account) < grantKey(b.Client, b.Account)
	})
	out.Presentations = append([]Presentation(nil), s.presented...)
	out.TokenRequests = len(s.requests)
	times := s.times("", time.Time{}, now)
	out.MaxPerSecond = maxPerSecond(times)
	return out
}

// oracle returns the grant's part, without its live tokens.
func (g *grant) oracle() *GrantOracle {
	return &GrantOracle{Client: g.Client, Account: g.Account, Revoked: g.Revoked, Refreshes: g.Refreshes,
		ConsumedPresentations: g.Consumed, MostInFlight: g.MostInFlight, LiveRefreshTokens: []string{}, Writes: append([]string(nil), g.Writes...), RepeatedWrites: g.Repeats}
}

// times returns when a client ("" for all) sent token requests in [from, to].
func (s *Server) times(client string, from, to time.Time) []time.Time {
	var out []time.Time
	for _, r := range s.requests {
		if (client == "" || r.Client == client) && !r.At.Before(from) && !r.At.After(to) {
			out = append(out, r.At)
		}
	}
	return out
}

func maxPerSecond(times []time.Time) int {
	most := 0
	for i, j := 0, 0; i < len(times); i++ {
		for times[i].Sub(times[j]) >= time.Second {
			j++
		}
		most = max(most, i-j+1)
	}
	return most
}

// Requests returns how many token requests a client made in [from, to], and the most in
// any one second.
func (s *Server) Requests(client string, from, to time.Time) (n, mostInASecond int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := s.times(client, from, to)
	return len(times), maxPerSecond(times)
}
