package refresh

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
)

// CodeNoLifetime is the failing code of a connection whose access token has no known
// lifetime, from neither the reply nor the catalogue. The token is renewed every half
// hour, and the code is shown, so that nobody relies on a guess.
const CodeNoLifetime = "no_lifetime"

// maxLife bounds a lifetime that a provider names. A longer one counts as a mistake,
// and as not given.
const maxLife = 10 * 365 * 24 * time.Hour

// Tokens seals a token set as generation of connection c and computes its times. start
// is the database's time at or before the request was sent, so that an expiry is never
// later than the truth. refreshToken is an argument of its own because a reply without
// one keeps the old.
func Tokens(s Sealer, app provider.App, c perennial.Connection, generation int64, t perennial.TokenSet, refreshToken perennial.Secret, start time.Time) (store.TokenWrite, error) {
	w := store.TokenWrite{
		Generation: generation,
		SealedTokens: store.SealedTokens{
			RefreshTokenDigest: refreshToken.Digest(),
			TokenType:          t.TokenType,
			Scopes:             t.Scopes,
			Metadata:           t.Metadata,
		},
		ClientIDDigest: perennial.NewSecret(app.ClientID).Digest(),
		Status:         perennial.StatusActive,
	}
	var err error
	if w.AccessTokenSealed, err = s.Seal(seal.BindingOf(c, seal.FieldAccessToken, generation), t.AccessToken); err != nil {
		return store.TokenWrite{}, fmt.Errorf("seal access token: %w", err)
	}
	if w.RefreshTokenSealed, err = s.Seal(seal.BindingOf(c, seal.FieldRefreshToken, generation), refreshToken); err != nil {
		return store.TokenWrite{}, fmt.Errorf("seal refresh token: %w", err)
	}
	life := knownLife(t.ExpiresIn, app.Provider.DefaultLifetime)
	if life <= 0 && app.Provider.Renewal == provider.RenewalNone {
		life = maxLife // it ends when it is revoked
	}
	if life > 0 {
		w.ExpiresAt = start.Add(life)
	} else {
		w.FailingCode = CodeNoLifetime
	}
	if provider.IsBound(t) {
		w.FailingCode = provider.CodeBoundToken
	}
	w.NextRefreshAt = timing.DueAfter(lifeOf(c), start, life, app.Buffer, c.ID, generation)
	if life > 0 {
		w.NextRefreshAt = timing.Late(w.NextRefreshAt, w.ExpiresAt, app.Provider, c.ID, generation)
	}
	if app.Provider.Renewal == provider.RenewalNone {
		// Once a day, and at its end: no look before that brings another token.
		w.NextRefreshAt = timing.Due(start, 2*timing.MaxRest, app.Buffer, c.ID, generation)
		if w.ExpiresAt.Before(w.NextRefreshAt) {
			w.NextRefreshAt = w.ExpiresAt
		}
	} else if c.Dormant(start) {
		// Only its refresh token needs to be kept alive: use the longest rest, in its
		// own place.
		w.NextRefreshAt = timing.Due(start, 2*timing.MaxRest, app.Buffer, c.ID, generation)
	}
	if idle := knownLife(t.RefreshTokenExpiresIn, app.Provider.IdleLifetime); idle > 0 {
		w.RefreshTokenExpiresAt = start.Add(idle)
		if half := start.Add(idle / 2); half.Before(w.NextRefreshAt) {
			w.NextRefreshAt = half
		}
	}
	if t.GrantExpiresIn > 0 && t.GrantExpiresIn <= maxLife {
		w.GrantExpiresAt = start.Add(t.GrantExpiresIn)
	}
	return w, nil
}

// lifeOf returns roughly the life of the row's token set, zero if unknown. It is too
// short by the duration of the request that brought the set.
func lifeOf(c perennial.Connection) time.Duration {
	if c.ExpiresAt.IsZero() || c.LastRefreshedAt.IsZero() {
		return 0
	}
	return max(c.ExpiresAt.Sub(c.LastRefreshedAt), 0)
}

// knownLife returns the reply's lifetime if it is usable, else the catalogue's.
func knownLife(named, catalogue time.Duration) time.Duration {
	if named > 0 && named <= maxLife {
		return named
	}
	return catalogue
}

// maxTexts bounds the scopes and members of a reply, in bytes of JSON, so that a token
// set fits into a message: with it and the longest tokens that a reply can hold, a
// [store.SaveRequest] has less than 1 MiB.
const maxTexts = 64 << 10

func textSize(t perennial.TokenSet) int {
	raw, err := json.Marshal([]any{t.Scopes, t.Metadata})
	if err != nil { // texts always marshal
		return maxTexts + 1
	}
	return len(raw)
}
