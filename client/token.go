package client

import (
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"golang.org/x/oauth2"
)

// Token is a valid access token. It redacts itself in every formatting. Use it for one
// call, then ask again, so that it is always valid.
type Token struct {
	Access     words.Secret
	Type       string    // for the Authorization header: always Bearer (RFC 6750)
	ExpiresAt  time.Time // by this process's clock; zero: not known
	Generation int64

	Connection string // the connection's id
	Account    string // the account's id at the provider: portal, realm, ...

	// Status is active, or reconnect_required: then the grant has ended, for Reason,
	// and this is its last token.
	Status words.Status
	Reason words.Reason
}

// header returns the value of Authorization (RFC 6750 section 2.1).
func (t Token) header() string {
	return words.TokenTypeBearer + " " + t.Access.Reveal()
}

// askAgainDelta is how long before its Expiry x/oauth2 treats a token as expired.
const askAgainDelta = 10 * time.Second

// minReuse keeps a token valid for x/oauth2 long enough to be used once.
const minReuse = time.Second

// oauth2 returns the token for x/oauth2. Its Expiry is when to ask again, which is
// before the token expires: oauth2.NewClient wraps a source and asks it only then, and
// would otherwise use a token to its last second.
func (t Token) oauth2(now time.Time, reuse time.Duration) *oauth2.Token {
	out := &oauth2.Token{AccessToken: t.Access.Reveal(), TokenType: words.TokenTypeBearer, Expiry: now.Add(max(reuse, minReuse) + askAgainDelta)}
	if !t.ExpiresAt.IsZero() && t.ExpiresAt.Before(out.Expiry) {
		out.Expiry = t.ExpiresAt
	}
	return out
}
