package client

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestObserved: what the observer receives for each call, to the nanosecond around the
// token's expiry.
func TestObserved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		left  time.Duration
		takes time.Duration // duration of a refresh that returns no new token
		want  Call
	}{
		"30 minutes left":                  {30 * time.Minute, 0, Call{Source: SourceStore, Left: 30 * time.Minute}},
		"2 minutes left":                   {2 * time.Minute, 0, Call{Source: SourceStore, Left: 2 * time.Minute}},
		"2 minutes - 1 ns left":            {2*time.Minute - 1, 0, Call{Source: SourceRemaining, Left: 2*time.Minute - 1}},
		"2 minutes - 1 ns left, 3 s later": {2*time.Minute - 1, 3 * time.Second, Call{Source: SourceRemaining, Left: 117*time.Second - 1, Waited: 3 * time.Second}},
		"1 ns left":                        {1, 0, Call{Source: SourceRemaining, Left: 1}},
		"expired 0 seconds ago":            {0, 0, Call{Source: SourceNone, Code: words.CodeUnavailable}},
		"expired 1 ns ago":                 {-1, 0, Call{Source: SourceNone, Code: words.CodeUnavailable, Left: -1}},
		"expired an hour ago, 3 s later":   {-time.Hour, 3 * time.Second, Call{Source: SourceNone, Code: words.CodeUnavailable, Left: -time.Hour - 3*time.Second, Waited: 3 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, func(c *Config) { c.Patience = time.Hour })
				b.backend.takes, b.backend.refreshErr = c.takes, errDown
				b.backend.change(func(h *TokenState) {
					h.ExpiresAt = time.Now().Add(c.left)
					h.RefreshedAt, h.DueAt = h.ExpiresAt.Add(-30*time.Minute), h.ExpiresAt.Add(-5*time.Minute)
				})
				_, err := b.Token(t.Context(), id)
				require.Equal(t, c.want.Code, words.CodeOf(err))
				c.want.App, c.want.Dated = "app", true
				assert.Equal(t, c.want, b.last())
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.get()
		assert.Equal(t, Call{App: "app", Source: SourceMemory, Left: 30 * time.Minute, Dated: true}, b.last(), "a hit waits for nothing")
	})
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.takes = time.Hour
		time.Sleep(31 * time.Minute) // the token expires
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Token(ctx, id)
		require.Error(t, err)
		assert.Equal(t, []any{"app", CodeCallerGone}, []any{b.last().App, b.last().Code}, "a caller that leaves waits for an app's token")
		time.Sleep(2 * time.Hour) // the refresh ends
	})
}
