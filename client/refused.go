package client

import (
	"context"
	"errors"

	"github.com/perennial-oauth/perennial/client/words"
)

// RefusalCause says how a product learnt that a provider does not accept a token.
type RefusalCause = words.RefusalCause

// The causes.
const (
	TokenRefused      = words.RefusalTokenRefused // an API refused the token, and not by a 401
	RevokedAtProvider = words.RefusalRevoked      // the provider sent word that access was removed
)

// Refuser is a [Backend] to which products can report refusals. With a backend that is
// none, a report is a [Backend] Refresh.
type Refuser interface {
	// Refused is Refresh for a reported refusal. A generation of zero is the newest.
	Refused(ctx context.Context, id string, generation int64, why RefusalCause) error
}

// Refused reports that the provider does not accept the token of generation any more,
// although no 401 came: an API said so in other words ([TokenRefused]), or the provider
// sent a notice ([RevokedAtProvider], for which generation may be zero: the newest). It
// has the provider's token endpoint asked, once: only that answer decides.
//
// It returns a newer token; then the grant lives. If there was a newer one already,
// nothing is asked, and if the report is repeated neither. Otherwise the error says what
// stands: [ErrReconnectRequired] if the grant has ended; [ErrUnavailable] if the provider
// has not decided yet, with the time at which to ask again; [ErrStillUnauthorized] if
// newer tokens were refused before and another is not to be had yet; [ErrPaused],
// [ErrNotFound] or [ErrInvalid].
//
// A request of [Transport] needs no report, if the app's api_spellings know the answer.
func (c *Client) Refused(ctx context.Context, id string, generation int64, why RefusalCause) (Token, error) {
	if err := words.CheckRefusal(generation, why); err != nil {
		return Token{}, &ErrInvalid{Connection: id, Message: err.Error()}
	}
	if generation == 0 {
		got := c.fetch(ctx, id, 0)
		if got.err != nil || got.refreshed {
			return tokenOf(got)
		}
		generation = got.snapshot.token.Generation
	}
	got := c.fetchFor(ctx, id, need{generation, why})
	if unavailable, ok := errors.AsType[*ErrUnavailable](got.err); ok {
		return Token{}, c.undecided(unavailable, generation, why, got.snapshot)
	}
	return tokenOf(got)
}

func tokenOf(got result) (Token, error) {
	if got.err != nil {
		return Token{}, got.err
	}
	return got.snapshot.token, nil
}

// undecided returns the error of a report that brought no newer token. s may be nil.
func (c *Client) undecided(e *ErrUnavailable, generation int64, why RefusalCause, s *snapshot) error {
	if why == TokenRefused && s != nil && c.mended(e.Connection, generation, s) {
		return c.still(e.Connection, s.token, "", "")
	}
	out := *e
	out.Doing = "tell whether the provider still accepts its grant"
	return &out
}
