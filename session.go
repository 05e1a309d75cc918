package perennial

import "time"

// ConnectSession is one link by which a customer connects, or reconnects, one account.
// Of link, state and browser it has only digests. All times are the database's clock,
// in UTC.
type ConnectSession struct {
	ID           string      `json:"id"`
	TenantID     string      `json:"tenant_id"`
	TenantTitle  string      `json:"tenant_title,omitempty"` // the tenant's name on the page
	App          string      `json:"app"`
	ConnectionID string      `json:"connection_id,omitempty"` // the connection to reconnect; empty: a connect
	Host         string      `json:"host,omitempty"`          // the account's host, if each has its own
	ReturnURL    string      `json:"return_url,omitempty"`
	Mode         ConnectMode `json:"mode"`
	Scopes       []string    `json:"scopes,omitempty"` // required
	// Challenge is the S256 challenge (RFC 7636) of a verifier that the product keeps in
	// its own user's session. Such a session is bound: see [ConnectSession.Bound].
	Challenge string `json:"challenge,omitempty"`

	LinkDigest     string `json:"-"`
	Starts         int64  `json:"-"` // authorization requests so far
	StateDigest    string `json:"-"` // of the newest request
	BrowserDigest  string `json:"-"` // of the browser that sent it
	VerifierSealed []byte `json:"-"` // code_verifier (RFC 7636)

	AnsweredAt  time.Time `json:"-"` // when the newest state was used
	ReplySealed []byte    `json:"-"` // the token reply, until its grant is stored
	ReplyAt     time.Time `json:"-"` // when the reply was requested
	Tries       int       `json:"-"` // tries to store the grant

	FinishCodeDigest string    `json:"-"` // of the code that the browser takes to the product
	FinishTries      int       `json:"-"` // wrong verifiers with the right code
	FinishAskedAt    time.Time `json:"-"` // when the product proved that the consent is its user's
	AccountID        string    `json:"-"` // of the grant of a bound session

	Outcome  ConnectOutcome `json:"outcome,omitempty"`
	Missing  []string       `json:"missing_scopes,omitempty"`
	ResultID string         `json:"result_id,omitempty"` // the connection that was stored

	// Revocation says what became of a grant that was not finished in time.
	Revocation Revocation `json:"revocation,omitempty"`

	// FinishCode is the code for the product. It is not stored: only the browser that
	// gave the consent gets it.
	FinishCode Secret `json:"-"`
	// Problem says for an operator what is wrong, if an outcome does not say it. It is not
	// stored: only the answer to the response itself has it.
	Problem string `json:"-"`

	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Bound reports whether the session belongs to one user of the product: its grant is
// stored only when the product has shown the code that this user's browser brought back,
// and the verifier. Any other session is shareable: its link is enough to connect.
func (s ConnectSession) Bound() bool { return s.Challenge != "" }

// AwaitsFinish reports whether the session's grant waits for the product.
func (s ConnectSession) AwaitsFinish() bool { return s.Outcome == ConnectAwaitingFinish }

// Done reports whether the session's grant is stored. Its link is then used up.
func (s ConnectSession) Done() bool { return s.Outcome == ConnectConnected }

// Open reports whether the link still works. now is the database's clock.
func (s ConnectSession) Open(now time.Time) bool { return !s.Done() && now.Before(s.ExpiresAt) }
