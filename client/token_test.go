package client

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// TestJobOlderThanItsToken: a token that a job had carried along has expired. The token
// that it asks for has not, and the delay is visible.
func TestJobOlderThanItsToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		carried, enqueued := b.get(), time.Now()
		time.Sleep(45 * time.Minute)
		require.True(t, carried.ExpiresAt.Before(time.Now()))
		got, err := b.Token(WithEnqueuedAt(t.Context(), enqueued), id)
		require.NoError(t, err)
		assert.Greater(t, got.Generation, carried.Generation)
		assert.Equal(t, 30*time.Minute, time.Until(got.ExpiresAt))
		assert.Equal(t, 45*time.Minute, b.last().Queued)
		assert.Equal(t, SourceRefresh, b.last().Source)
		b.get()
		assert.Zero(t, b.last().Queued, "not said")
	})
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		become := func(s words.Status, r words.Reason) {
			b.backend.change(func(h *TokenState) { h.Status, h.Reason = s, r })
			time.Sleep(time.Minute) // until memory no longer answers
		}
		become(words.StatusPaused, "")
		var paused *ErrPaused
		for range 2 {
			require.ErrorAs(t, b.fails(), &paused)
		}
		assert.Equal(t, words.CodePaused, words.CodeOf(paused))
		become(words.StatusDisconnected, "")
		var gone *ErrNotFound
		require.ErrorAs(t, b.fails(), &gone)
		assert.True(t, gone.Disconnected)
		assert.Equal(t, words.CodeDisconnected, words.CodeOf(gone))
		_, err := b.Token(t.Context(), "con_of_another_tenant")
		require.ErrorAs(t, err, &gone)
		assert.False(t, gone.Disconnected)

		// The last token of an ended grant is handed out, and marked as such.
		since := time.Now().Add(-time.Hour).UTC()
		b.backend.change(func(h *TokenState) {
			h.Since, h.ReconnectURL, h.HelpURL = since, "https://app.example/r/1", "https://help.example"
		})
		become(words.StatusReconnectRequired, words.ReasonInvalidGrant)
		left := b.get()
		assert.Equal(t, words.StatusReconnectRequired, left.Status)
		assert.Equal(t, words.ReasonInvalidGrant, left.Reason)
		time.Sleep(time.Until(left.ExpiresAt) - 1)
		assert.Equal(t, left, b.get())
		time.Sleep(time.Nanosecond)
		var reconnect *ErrReconnectRequired
		require.ErrorAs(t, b.fails(), &reconnect)
		assert.Equal(t, &ErrReconnectRequired{Connection: id, Account: "portal-7", Reason: words.ReasonInvalidGrant, Since: since,
			Words:        words.Describe(words.StatusReconnectRequired, "", words.ReasonInvalidGrant, "HubSpot"),
			ReconnectURL: "https://app.example/r/1", HelpURL: "https://help.example"}, reconnect)
		assert.Equal(t, words.CodeReconnectRequired, words.CodeOf(reconnect))
		assert.Zero(t, b.backend.refreshes, "nothing is asked for a grant that has ended")
		become(words.StatusActive, "")
		b.backend.token(30 * time.Minute)
		b.get()
	})
}

func TestUsedIsNotedOnceAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.life = 1000 * time.Hour
		b.backend.token(1000 * time.Hour)
		b.backend.change(func(h *TokenState) { h.LastUsedAt = time.Time{} })
		for range 5 * 60 {
			b.get()
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		assert.Equal(t, 5, b.backend.used)
	})
}

// TestTokenSource: x/oauth2 asks again when memory expires, even through the
// ReuseTokenSource of oauth2.NewClient.
func TestTokenSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		source := oauth2.ReuseTokenSource(nil, b.TokenSource(t.Context(), id))
		get := func() string {
			token, err := source.Token()
			require.NoError(t, err)
			require.True(t, token.Valid())
			require.Equal(t, "Bearer", token.Type())
			return token.AccessToken
		}
		assert.Equal(t, secret+"-1", get())
		b.backend.token(30 * time.Minute)
		assert.Equal(t, secret+"-1", get())
		time.Sleep(time.Minute + 1)
		assert.Equal(t, secret+"-2", get())
		b.backend.change(func(h *TokenState) { h.Status = words.StatusPaused })
		time.Sleep(time.Minute + 1)
		_, err := source.Token()
		assert.ErrorAs(t, err, new(*ErrPaused))
	})
}

func TestNothingPrintsAToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		token := b.get()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			assert.NotContains(t, fmt.Sprintf(verb, token), secret, verb)
			assert.NotContains(t, fmt.Sprintf(verb, b.entryOf(id).last.Load()), secret, verb)
		}
		assert.Equal(t, secret+"-1", token.Access.Reveal())
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"Backend":        {},
		"MinTTL":         {Backend: &fake{}, MinTTL: -1},
		"Patience":       {Backend: &fake{}, Patience: -1},
		"LoadTimeout":    {Backend: &fake{}, LoadTimeout: -1},
		"RefreshTimeout": {Backend: &fake{}, RefreshTimeout: -1},
		"MaxConnections": {Backend: &fake{}, MaxConnections: -1},
	} {
		_, err := New(c)
		require.Equal(t, words.CodeInvalid, words.CodeOf(err), name)
		assert.Contains(t, err.Error(), name)
	}
}
