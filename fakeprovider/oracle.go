package fakeprovider

import (
	"sort"
	"time"
)

// Oracle is what really happened, by the provider's own books. It holds digests
// (lower-case hex SHA-256), never tokens.
type Oracle struct {
	Grants        []GrantOracle  `json:"grants"`
	Presentations []Presentation `json:"presentations"`
	TokenRequests int            `json:"token_requests"`
	// MaxPerSecond is the most token requests in any one second.
	MaxPerSecond int `json:"max_per_second"`
	Refreshes    int `json:"refreshes"`
	// ConsumedPresentations counts refresh tokens shown again after they were
	// consumed, outside the class: no grace window held them.
	ConsumedPresentations int `json:"consumed_presentations"`
}

// GrantOracle is one grant's part.
type GrantOracle struct {
	Client                string   `json:"client"`
	Account               string   `json:"account"`
	Revoked               bool     `json:"revoked"`
	Refreshes             int      `json:"refreshes"`
	ConsumedPresentations int      `json:"consumed_presentations"`
	LiveAccessTokens      int      `json:"live_access_tokens"`
	LiveRefreshTokens     []string `json:"live_refresh_tokens"` // digests
	Writes                []string `json:"writes,omitempty"`    // of the protected API
}

// Presentation is one showing of a refresh token that was known.
type Presentation struct {
	Grant         string    `json:"grant"` // client/account
	Digest        string    `json:"digest"`
	At            time.Time `json:"at"`
	AfterConsumed bool      `json:"after_consumed"`
}

// Oracle returns a snapshot.
func (s *Server) Oracle() Oracle {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	parts := map[string]*GrantOracle{}
	var out Oracle
	for key, g := range s.grants {
		parts[key] = &GrantOracle{Client: g.Client, Account: g.Account, Revoked: g.Revoked, Refreshes: g.Refreshes,
			ConsumedPresentations: g.Consumed, LiveRefreshTokens: []string{}, Writes: append([]string(nil), g.Writes...)}
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
	for i, j := 0, 0; i < len(s.requests); i++ {
		for s.requests[i].Sub(s.requests[j]) >= time.Second {
			j++
		}
		out.MaxPerSecond = max(out.MaxPerSecond, i-j+1)
	}
	return out
}
