package connect

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// finishWithin is how long the grant of a bound session waits, sealed, for the product.
const finishWithin = 10 * time.Minute

// maxFinishTries bounds the wrong verifiers that arrive with the right code.
const maxFinishTries = 5

// Challenge returns the challenge of a verifier: the method S256 of RFC 7636.
func Challenge(verifier perennial.Secret) string {
	sum := sha256.Sum256([]byte(verifier.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

var challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// checkBinding refuses a challenge that nothing can meet, and a shareable session if the
// installation makes none.
func (s *Sessions) checkBinding(c perennial.ConnectSession) error {
	switch {
	case !c.Bound() && s.BoundOnly:
		return perennial.Errorf(perennial.CodeInvalid, "this installation makes no shareable links (connect.bound_only): send the challenge of a verifier that your own user's session keeps")
	case !c.Bound():
		return nil
	case !challengeForm.MatchString(c.Challenge):
		return perennial.Errorf(perennial.CodeInvalid, "a challenge is the SHA-256 of a verifier in base64url without padding: 43 characters")
	case c.ReturnURL == "":
		return perennial.Errorf(perennial.CodeInvalid, "a bound session needs a return URL: the browser takes the code for the finish there")
	}
	return nil
}

// boundState begins the state of a bound session, and boundDigest its digest. An older
// program, which would store the grant at once, finds neither the session of such a state
// nor takes its link, which begins with cb_, for one.
const (
	boundState  = "bound."
	boundDigest = "bound:"
)

func linkPrefix(c perennial.ConnectSession) string {
	if c.Bound() {
		return "cb_"
	}
	return "cl_"
}

func statePrefix(c perennial.ConnectSession) string {
	if c.Bound() {
		return boundState
	}
	return ""
}

// Digest returns the digest under which the token of a link, or a state, is stored.
func Digest(token perennial.Secret) string {
	if strings.HasPrefix(token.Reveal(), boundState) {
		return boundDigest + token.Digest()
	}
	return token.Digest()
}

// requestOf returns what is stored of a session's next authorization request.
func requestOf(c perennial.ConnectSession, state, browser perennial.Secret, verifierSealed []byte) request {
	r := request{StateDigest: Digest(state), BrowserDigest: browser.Digest(), VerifierSealed: verifierSealed}
	if c.Bound() {
		r.CodeDigest = finishCode(c.ID, c.Starts+1, browser).Digest()
	}
	return r
}

// finishCode returns the code of a session's request. It follows from the browser's
// secret, so that the browser gets the same one however often it asks, and no other one
// gets it at all.
func finishCode(id string, start int64, browser perennial.Secret) perennial.Secret {
	mac := hmac.New(sha256.New, []byte(browser.Reveal()))
	_, _ = fmt.Fprintf(mac, "finish %s %d", id, start) // it never fails, see hash.Hash
	return perennial.NewSecret("fc_" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}

// WithCode returns the session with the code for the product, if it waits for the product
// and browser is the secret of the browser that gave the consent.
func WithCode(c perennial.ConnectSession, browser perennial.Secret) perennial.ConnectSession {
	if c.AwaitsFinish() && SameBrowser(c, browser) {
		c.FinishCode = finishCode(c.ID, c.Starts, browser)
	}
	return c
}

// awaitFinish lets the grant of a bound session wait for the product. Until then the
// grant is in no connection: whoever gave the consent may be another user than the one
// for whom the product made the link.
func (s *Sessions) awaitFinish(ctx context.Context, c perennial.ConnectSession, k pendingReply, account provider.Account, id string) (perennial.ConnectSession, error) {
	if len(k.Choices) == 0 {
		k.Choices = account.Choices // a revocation looks at all that the grant reaches
	}
	k.Chosen = id
	sealed, err := s.sealed(c, k)
	if err == nil {
		err = s.Store.AwaitFinish(ctx, c, sealed, id, finishWithin)
	}
	if err != nil {
		return s.later(ctx, c, err)
	}
	s.Service.Log.Info("the grant of a bound session waits for the product", "session_id", c.ID, "app", c.App)
	c.ReplySealed, c.AccountID, c.Outcome = sealed, id, perennial.ConnectAwaitingFinish
	return c, nil
}

// FinishRequest proves that the consent of a bound session was given by the user for whom
// the product made the link.
type FinishRequest struct {
	ID       string
	Code     perennial.Secret // from the browser: connect_code at the return URL
	Verifier perennial.Secret // from the product's own session of its user
}

// FinishBound stores the grant of a bound session. Another code or verifier than the
// session's is an error of [perennial.CodeOtherUser] and stores nothing; so many wrong
// verifiers give the grant up. A session that is over is returned as it is, so a repeated
// request gets the same answer. Once begun, FinishBound goes on even if ctx ends.
func (s *Sessions) FinishBound(ctx context.Context, access perennial.Access, req FinishRequest) (perennial.ConnectSession, error) {
	c, _, err := s.Store.ByID(ctx, req.ID)
	switch {
	case err != nil:
		return c, err
	case !access.Reaches(c.TenantID, c.App):
		return perennial.ConnectSession{}, perennial.Errorf(perennial.CodeNotFound, "there is no such connect session")
	case !c.Bound():
		return c, perennial.Errorf(perennial.CodeInvalid, "this session was made without a challenge: its grant is stored with the consent, and there is nothing to finish")
	}
	if err := s.prove(ctx, c, req); err != nil {
		return perennial.ConnectSession{}, err
	}
	ctx = context.WithoutCancel(ctx)
	c, err = s.Store.AskFinish(ctx, c.ID, c.Starts, storeLease)
	if perennial.CodeOf(err) == perennial.CodeConflict {
		return s.settled(ctx, req.ID)
	}
	if err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxStore)
	defer cancel()
	return s.resume(ctx, c)
}

// prove compares code and verifier with the session's, in constant time.
func (s *Sessions) prove(ctx context.Context, c perennial.ConnectSession, req FinishRequest) error {
	refused := perennial.Errorf(perennial.CodeOtherUser, "this consent was not given in the session of the user for whom the link was made: nothing is stored. That user has to start again")
	if c.FinishCodeDigest == "" || subtle.ConstantTimeCompare([]byte(c.FinishCodeDigest), []byte(req.Code.Digest())) != 1 {
		return refused // a code cannot be guessed, so there is nothing to count
	}
	if subtle.ConstantTimeCompare([]byte(c.Challenge), []byte(Challenge(req.Verifier))) == 1 {
		return nil
	}
	s.Service.Log.Warn("a bound session's consent came back to another user of the product", "session_id", c.ID, "app", c.App, "tries", c.FinishTries+1)
	err := s.Store.NoteFinishTry(ctx, c.ID, c.Starts, maxFinishTries)
	if err != nil && perennial.CodeOf(err) != perennial.CodeConflict {
		return err
	}
	if c.FinishTries+1 >= maxFinishTries {
		if _, err := s.Finish(ctx, c.ID); err != nil {
			s.Service.Log.Error("grant not given up yet", "session_id", c.ID, "error", err) // FinishAll does
		}
	}
	return refused
}

// settleWithin bounds the wait for another process that finishes the same session, and
// settleEvery is the time between two looks.
const (
	settleWithin = 10 * time.Second
	settleEvery  = 100 * time.Millisecond
)

// settled returns the session once its grant no longer waits, at most settleWithin later.
func (s *Sessions) settled(ctx context.Context, id string) (perennial.ConnectSession, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for {
		c, err := s.Finish(context.WithoutCancel(ctx), id) // it leaves alone what another process works on
		if err != nil || !c.AwaitsFinish() && c.Outcome != perennial.ConnectUnfinished {
			return c, err
		}
		select {
		case <-ctx.Done():
			return c, nil
		case <-time.After(settleEvery):
		}
	}
}

// livesOn reports whether a grant may live on at the provider.
func livesOn(r perennial.Revocation) bool {
	return r == perennial.RevocationFailed || r == perennial.RevocationUnsupported
}

// giveUpFinish ends a bound session that the product has not finished in time. Its grant
// is refused like any other; what may live on at the provider is listed.
func (s *Sessions) giveUpFinish(ctx context.Context, app provider.App, c perennial.ConnectSession, k pendingReply) (perennial.ConnectSession, error) {
	account := provider.Account{Choices: k.Choices}
	if len(k.Choices) == 0 {
		account.ID = k.Chosen
	}
	if r := s.revoke(ctx, app, c, k, account); !livesOn(c.Revocation) { // the grant of an earlier consent stays listed
		c.Revocation = r
	}
	return s.end(ctx, c, perennial.ConnectNotFinished, nil, "")
}
