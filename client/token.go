package client

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

// Token is a valid access token. It redacts itself in every formatting. Use it
// for one call and ask again: that is what keeps it valid.
type Token struct {
	Access     perennial.Secret
	Type       string    // of an Authorization header: always Bearer (RFC 6750)
	ExpiresAt  time.Time // by this process's clock; zero: not known
	Generation int64

	Connection string // id
	Account    string // id at the provider: portal, realm, ...

	// Status is active, or reconnect_required: then this is what is left of a
	// grant that has ended, for Reason, and nothing follows it.
	Status perennial.Status
	Reason perennial.Reason
}

// header is the value of Authorization (RFC 6750 section 2.1).
func (t Token) header() string {
	return perennial.TokenTypeBearer + " " + t.Access.Reveal()
}

// askAgainDelta is how long before its Expiry x/oauth2 takes a token for expired.
const askAgainDelta = 10 * time.Second

// leastReuse keeps a token that was just handed out valid in the eyes of
// x/oauth2 long enough to be used.
const minReuse = time.Second

// oauth2 is the token for x/oauth2. Its Expiry is when to ask again, which is
// before the token expires: oauth2.NewClient wraps a source so that it is asked
// only then, and would else use a token to its last seconds.
func (t Token) oauth2(now time.Time, reuse time.Duration) *oauth2.Token {
	out := &oauth2.Token{AccessToken: t.Access.Reveal(), TokenType: perennial.TokenTypeBearer, Expiry: now.Add(max(reuse, minReuse) + askAgainDelta)}
	if !t.ExpiresAt.IsZero() && t.ExpiresAt.Before(out.Expiry) {
		out.Expiry = t.ExpiresAt
	}
	return out
}
