package refresh

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
)

// A token set that could not be stored leaves the process: into the spool and into the
// workflow. What comes back may have been altered, replayed or made up, so the engine
// believes nothing of it but what its seals prove.
//
//	seal                      attempt            then
//	opens                     any                ours: stored, with the values in the seal
//	its key is not here       the row's          ours: set aside, another process may open it
//	its key is not here       another            not ours
//	altered, of another row   any                not ours
//	none; the tokens open     the row's          ours, of the release before: only its tokens are believed
//	none; the tokens open     another            not ours
//
// The row's attempts are its open one, and those in the ledger that may have brought
// tokens, see [store.MayHaveBroughtTokens].

// sealedRequest is the content of [store.SaveRequest.Seal]: the whole request, and the
// digests of the two sealed tokens, which stand outside.
type sealedRequest struct {
	Request store.SaveRequest
	Access  [sha256.Size]byte
	Refresh [sha256.Size]byte
}

// errForeign is the cause if a token set is not one that this program made for the row.
var errForeign = errors.New("it is not a token set that was received for this connection")

// Authenticate sets the seal of req, a request for connection c. Do it before the
// request leaves the process.
func Authenticate(s Sealer, c perennial.Connection, req *store.SaveRequest) error {
	inner := sealedRequest{Request: *req, Access: sha256.Sum256(req.AccessTokenSealed), Refresh: sha256.Sum256(req.RefreshTokenSealed)}
	inner.Request.AccessTokenSealed, inner.Request.RefreshTokenSealed, inner.Request.Seal = nil, nil, nil
	raw, err := json.Marshal(inner)
	if err != nil {
		return fmt.Errorf("seal a token set of connection %s: %w", c.ID, err)
	}
	sealed, err := s.Seal(seal.BindingOf(c, seal.FieldSaveRequest, req.NewGeneration), perennial.NewSecret(string(raw)))
	if err != nil {
		return fmt.Errorf("seal a token set of connection %s: %w", c.ID, err)
	}
	req.Seal = sealed
	return nil
}

// authentic opens the seal of req and returns the request as it was sealed. The fields
// that name the set must be the same outside.
func authentic(s Sealer, c perennial.Connection, req store.SaveRequest) (store.SaveRequest, error) {
	raw, err := s.Open(seal.BindingOf(c, seal.FieldSaveRequest, req.NewGeneration), req.Seal)
	if err != nil {
		return req, err
	}
	var inner sealedRequest
	if err := json.Unmarshal([]byte(raw.Reveal()), &inner); err != nil {
		return req, errForeign // without the error, which may quote
	}
	out := inner.Request
	if out.ID != c.ID || out.AttemptID != req.AttemptID || out.Generation != req.Generation || out.NewGeneration != req.NewGeneration ||
		sha256.Sum256(req.AccessTokenSealed) != inner.Access || sha256.Sum256(req.RefreshTokenSealed) != inner.Refresh {
		return req, errForeign
	}
	out.AccessTokenSealed, out.RefreshTokenSealed, out.Seal = req.AccessTokenSealed, req.RefreshTokenSealed, req.Seal
	return out, nil
}

// prove returns what may be believed of a set, and its refresh token, by the table
// above. A set that is not ours is an error of [perennial.CodeInvalid]; one of ours that
// does not open here is an error of [perennial.CodeSealed].
func (e *Engine) prove(ctx context.Context, row perennial.Connection, req store.SaveRequest) (store.SaveRequest, perennial.Secret, error) {
	if e.Sealer == nil { // this engine neither makes nor receives sets
		return req, perennial.Secret{}, nil
	}
	proven, token, err := e.open(row, req)
	if err == nil && len(req.Seal) > 0 {
		return proven, token, nil
	}
	if errors.Is(err, seal.ErrAltered) || errors.Is(err, errForeign) {
		return req, token, notOurs(req.ID, err)
	}
	known, lookErr := e.ofKnownAttempt(ctx, row, req)
	switch {
	case lookErr != nil:
		return req, token, lookErr
	case !known && err == nil && row.Status == perennial.StatusDisconnected:
		return tokensAlone(proven), token, nil // not stored, and revoked
	case !known && movedOn(row, req):
		return req, token, errUseless
	case !known:
		return req, token, notOurs(req.ID, errForeign)
	case err != nil:
		return req, token, err // another process has the keys
	}
	return tokensAlone(proven), token, nil
}

// open opens the seal of a set, if it has one, and both tokens as the row's at the set's
// new generation.
func (e *Engine) open(row perennial.Connection, req store.SaveRequest) (proven store.SaveRequest, token perennial.Secret, err error) {
	proven = req
	if len(req.Seal) > 0 {
		if proven, err = authentic(e.Sealer, row, req); err != nil {
			return req, token, err
		}
	}
	if _, err = e.Sealer.Open(seal.BindingOf(row, seal.FieldAccessToken, req.NewGeneration), req.AccessTokenSealed); err != nil {
		return req, token, err
	}
	token, err = e.Sealer.Open(seal.BindingOf(row, seal.FieldRefreshToken, req.NewGeneration), req.RefreshTokenSealed)
	if err == nil && !token.IsZero() {
		proven.RefreshTokenDigest = token.Digest() // only the opened token is proof
	}
	return proven, token, err
}

// movedOn reports whether the set can no longer replace the row's tokens.
func movedOn(row perennial.Connection, req store.SaveRequest) bool {
	return row.Generation > req.Generation || row.Status == perennial.StatusDisconnected
}

// errUseless is the error for a set that does not open and can replace nothing any more.
var errUseless = errors.New("the connection has moved past this token set")

func notOurs(id string, cause error) error {
	return perennial.Errorf(perennial.CodeInvalid, "a token set for connection %s is refused: %w", id, cause)
}

// ofKnownAttempt reports whether the set's attempt is the row's open one, or one of its
// ledger that may have brought tokens, and presented the row's refresh token.
func (e *Engine) ofKnownAttempt(ctx context.Context, row perennial.Connection, req store.SaveRequest) (bool, error) {
	if req.AttemptID == "" || row.Generation != req.Generation || row.RefreshTokenDigest != req.Digest {
		return false, nil
	}
	if row.Open.ID == req.AttemptID {
		return row.Open.Digest == req.Digest, nil
	}
	line, found, err := e.Store.Attempt(ctx, req.ID, req.AttemptID)
	return found && line.Generation == req.Generation && store.MayHaveBroughtTokens(line), err
}

// tokensAlone is a set of the release before, whose seals cover the two tokens only. Its
// texts and the ends of its grant are left out, and it is due at once: the next reply
// brings them. Such sets come only while a worker of that release runs beside this one,
// or lie in a spool since then. Remove this in the release after the next.
func tokensAlone(req store.SaveRequest) store.SaveRequest {
	req = withoutOptional(req)
	req.NextRefreshAt = req.Ledger.StartedAt
	return req
}

// withoutOptional leaves out everything of a set that a row can do without: the
// provider's texts, and the clocks that the row may keep.
func withoutOptional(req store.SaveRequest) store.SaveRequest {
	req.TokenType, req.Scopes, req.Metadata, req.FailingCode, req.MissingScopes = "", nil, nil, "", nil
	req.RefreshTokenExpiresAt, req.GrantExpiresAt = time.Time{}, time.Time{}
	l := req.Ledger
	req.Ledger = perennial.Attempt{ID: l.ID, ConnectionID: l.ConnectionID, Generation: req.Generation, Trigger: l.Trigger, Outcome: l.Outcome, HTTPStatus: l.HTTPStatus, StartedAt: l.StartedAt}
	return req
}
