package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"github.com/perennial-oauth/perennial/client/words"
)

// ConnectBound makes a link that only one user of your product can use: the signed-in user
// who asked for it. Keep the verifier in that user's own session on your server, and never
// send it to a browser. When the browser comes back to ReturnURL, call [Client.Finish].
// The link connects nothing for another user. It needs a ReturnURL.
//
// Its errors are those of [Client.Connect].
func (c *Client) ConnectBound(ctx context.Context, req ConnectRequest) (s ConnectSession, verifier words.Secret, err error) {
	verifier, req.Challenge = newVerifier()
	s, err = c.Connect(ctx, req)
	return s, verifier, err
}

// ReconnectBound is [Client.ConnectBound] for the account of a connection. The connection
// stays as it is until [Client.Finish].
//
// Its errors are those of [Client.Reconnect].
func (c *Client) ReconnectBound(ctx context.Context, id string, req ReconnectRequest) (s ConnectSession, verifier words.Secret, err error) {
	verifier, req.Challenge = newVerifier()
	s, err = c.Reconnect(ctx, id, req)
	return s, verifier, err
}

// newVerifier returns a verifier of 256 bits with its challenge (RFC 7636, S256).
func newVerifier() (words.Secret, string) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it never fails: crypto/rand ends the program instead
	verifier := base64.RawURLEncoding.EncodeToString(raw[:])
	sum := sha256.Sum256([]byte(verifier))
	return words.NewSecret(verifier), base64.RawURLEncoding.EncodeToString(sum[:])
}

// FinishRequest names a bound session and proves whose consent it was.
type FinishRequest struct {
	Session  string       // connect_session at ReturnURL
	Code     words.Secret // connect_code at ReturnURL
	Verifier words.Secret // of ConnectBound or ReconnectBound, from this user's own session
}

// Finish stores the grant of a bound session, within ten minutes of the consent. Only the
// outcome connected means that the account is connected; others, like not_finished, are no
// errors. The outcome unfinished means that the grant is being stored: call Finish again.
// Repeating it gives the same answer.
//
// Its errors are [ErrOtherUser], [ErrNotFound], [ErrInvalid] and [ErrUnavailable].
func (c *Client) Finish(ctx context.Context, req FinishRequest) (ConnectSession, error) {
	return call(ctx, c, "finish a connect session", ErrNotFound{Session: req.Session}, func(ctx context.Context, b Connector) (ConnectSession, error) {
		if req.Code.IsZero() || req.Verifier.IsZero() {
			return ConnectSession{}, words.Errorf(words.CodeOtherUser, "there is no code, or no verifier in this user's session")
		}
		s, err := b.Finish(ctx, req)
		if s.Outcome == words.ConnectConnected {
			c.unlearn(s.Connection) // it has a new grant
		}
		return s, err
	})
}
