package fakeprovider

import (
	"fmt"
	"time"
)

// Knobs control how a client's or a grant's tokens behave. The zero value is a
// well-behaved server: tokens of 30 minutes, no rotation.
type Knobs struct {
	LifetimeSeconds float64 `json:"lifetime_seconds,omitempty"` // of access tokens; 0: 1800
	// Lifetimes are the lifetimes of the next access tokens, in seconds, one each. When
	// they are used up, LifetimeSeconds counts.
	Lifetimes     []float64 `json:"lifetimes,omitempty"`
	ExpiresIn     string    `json:"expires_in,omitempty"` // sent as expires_in instead of the true value
	OmitExpiresIn bool      `json:"omit_expires_in,omitempty"`

	Rotate bool `json:"rotate,omitempty"` // a refresh issues a new refresh token and ends the old one
	// RotateEvery: only each n-th refresh rotates. 0: each.
	RotateEvery int  `json:"rotate_every,omitempty"`
	KeepOld     bool `json:"keep_old,omitempty"` // rotation does not end the old refresh token
	// GraceSeconds: a used refresh token gets the same reply for this long after its
	// first use, and until the new one is used.
	GraceSeconds float64 `json:"grace_seconds,omitempty"`
	// GraceNewPair: it gets another reply instead, whose refresh token replaces the first
	// one's.
	GraceNewPair bool  `json:"grace_new_pair,omitempty"`
	ReuseRevokes bool  `json:"reuse_revokes,omitempty"` // a reused one ends the whole grant
	KillsAccess  bool  `json:"kills_access,omitempty"`  // a refresh ends the old access token
	OmitRefresh  bool  `json:"omit_refresh,omitempty"`  // omit refresh_token if it stays the same, and in the reply to a code
	IdleSeconds  int64 `json:"idle_seconds,omitempty"`  // an unused refresh token expires after this long
	HardSeconds  int64 `json:"hard_seconds,omitempty"`  // the grant ends this long after its consent
	EarlySeconds int64 `json:"early_seconds,omitempty"` // a refresh earlier than this before the access token's end is refused as too early

	GrantFirst   bool `json:"grant_first,omitempty"`   // of two wrong ones, the refresh token is refused and not the client; a knob of the client
	ClientSpends bool `json:"client_spends,omitempty"` // a wrong client ends the refresh token that it presents; a knob of the client

	LatencyBeforeMS int64 `json:"latency_before_ms,omitempty"` // before the work; a caller that disconnects meanwhile prevents the work
	LatencyAfterMS  int64 `json:"latency_after_ms,omitempty"`  // after the work

	// Each of these counts down, one for each token request.
	RateLimited int    `json:"rate_limited,omitempty"` // 429
	RetryAfter  string `json:"retry_after,omitempty"`  // the Retry-After header of the 429
	ServerError int    `json:"server_error,omitempty"` // 503, no work done
	HTML        int    `json:"html,omitempty"`         // HTML at 200, no work done
	Truncate    int    `json:"truncate,omitempty"`     // half the JSON at 200, work done
	DropBefore  int    `json:"drop_before,omitempty"`  // connection cut, no work done
	DropAfter   int    `json:"drop_after,omitempty"`   // connection cut, work done
	BadGateway  int    `json:"bad_gateway,omitempty"`  // 502, work done
	SayRevoked  int    `json:"say_revoked,omitempty"`  // a false refusal

	WriteDropAfter int `json:"write_drop_after,omitempty"` // counts down, one for each write to the protected API: connection cut, work done

	// These are knobs of a client and affect consents.
	AuthError     string `json:"auth_error,omitempty"`     // the authorization endpoint answers with this error at once, without consent
	ExchangeError int    `json:"exchange_error,omitempty"` // counts down: 503 to a code, no work done
	InfoError     int    `json:"info_error,omitempty"`     // counts down: 503 from introspection and userinfo
	OmitScope     bool   `json:"omit_scope,omitempty"`     // the reply to a code names no scope
	HubSpot       bool   `json:"hubspot,omitempty"`        // the reply names the account as hub_id, and the scopes in a list

	Echo     bool   `json:"echo,omitempty"`     // errors repeat the whole request
	Spelling string `json:"spelling,omitempty"` // of refusals: rfc6749 (default), hubspot, slack, github, atlassian
}

func (k Knobs) lifetime() time.Duration {
	if k.LifetimeSeconds <= 0 {
		return 30 * time.Minute
	}
	return time.Duration(k.LifetimeSeconds * float64(time.Second))
}

// countdown decrements n and reports true, unless n is zero.
func countdown(n *int) bool {
	if *n > 0 {
		*n--
		return true
	}
	return false
}

// SetKnobs sets a client's knobs or, with an account, those of one grant.
func (s *Server) SetKnobs(client, account string, k Knobs) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if account == "" {
		c := s.clients[client]
		if c == nil {
			return fmt.Errorf("no client %q", client)
		}
		c.Knobs = k
		return s.save()
	}
	g := s.grants[grantKey(client, account)]
	if g == nil {
		return fmt.Errorf("no grant of %s to %s", account, client)
	}
	g.Knobs = &k
	return s.save()
}

// Adjust changes the knobs of a grant in place. A grant without knobs of its own gets
// its own first.
func (s *Server) Adjust(client, account string, change func(*Knobs)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[grantKey(client, account)]
	if g == nil {
		return fmt.Errorf("no grant of %s to %s", account, client)
	}
	if g.Knobs == nil {
		k := s.clients[client].Knobs
		g.Knobs = &k
	}
	change(g.Knobs)
	return s.save()
}

// SetSecrets replaces a client's valid secrets.
func (s *Server) SetSecrets(client string, secrets ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[client]
	if c == nil {
		return fmt.Errorf("no client %q", client)
	}
	c.Secrets = secrets
	return s.save()
}

// knobs returns the grant's own knobs, else its client's.
func (s *Server) knobs(g *grant) Knobs { return *s.knobsAt(g) }

// knobsAt returns the knobs that hold the grant's countdowns.
func (s *Server) knobsAt(g *grant) *Knobs {
	if g.Knobs != nil {
		return g.Knobs
	}
	return &s.clients[g.Client].Knobs
}
