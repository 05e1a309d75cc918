package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// state returns a token of an hour's life with ten minutes left.
func state(change func(*wire.TokenState)) *wire.TokenState {
	s := &wire.TokenState{Access: words.NewSecret("token"), Status: words.StatusActive, Generation: 7, Now: now,
		RefreshedAt: now.Add(-50 * time.Minute), ExpiresAt: now.Add(10 * time.Minute)}
	if change != nil {
		change(s)
	}
	return s
}

// TestUsable: which token may be handed out at all.
func TestUsable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*wire.TokenState)
		elapsed time.Duration
		beyond  int64
		want    bool
	}{
		"alive":                              {want: true},
		"a nanosecond left":                  {elapsed: 10*time.Minute - 1, want: true},
		"expired at this moment":             {elapsed: 10 * time.Minute},
		"of the generation that was refused": {beyond: 7},
		"above the one that was refused":     {beyond: 6, want: true},
		"no token":                           {change: func(s *wire.TokenState) { s.Access = words.Secret{} }},
		"what is left of an ended grant":     {change: func(s *wire.TokenState) { s.Status = words.StatusReconnectRequired }, want: true},
		"paused":                             {change: func(s *wire.TokenState) { s.Status = words.StatusPaused }},
		"disconnected":                       {change: func(s *wire.TokenState) { s.Status = words.StatusDisconnected }},
		"no expiry known":                    {change: func(s *wire.TokenState) { s.ExpiresAt = time.Time{} }, elapsed: 1000 * time.Hour, want: true},
	} {
		assert.Equal(t, c.want, state(c.change).Usable(c.elapsed, c.beyond), name)
	}
}

// TestEnough: which token is handed out without a refresh.
func TestEnough(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*wire.TokenState)
		elapsed time.Duration
		minTTL  time.Duration
		want    bool
	}{
		"more than is asked for":              {minTTL: 5 * time.Minute, want: true},
		"exactly what is asked for":           {minTTL: 5 * time.Minute, elapsed: 5 * time.Minute, want: true},
		"a nanosecond less":                   {minTTL: 5 * time.Minute, elapsed: 5*time.Minute + 1},
		"a tenth of its life is enough":       {minTTL: time.Hour, elapsed: 4 * time.Minute, want: true},
		"less than a tenth of its life":       {minTTL: time.Hour, elapsed: 4*time.Minute + 1},
		"no more than when it is due":         {change: func(s *wire.TokenState) { s.DueAt = s.ExpiresAt.Add(-25 * time.Second) }, minTTL: time.Hour, elapsed: 10*time.Minute - 25*time.Second, want: true},
		"and it is due":                       {change: func(s *wire.TokenState) { s.DueAt = s.ExpiresAt.Add(-25 * time.Second) }, minTTL: time.Hour, elapsed: 10*time.Minute - 25*time.Second + 1},
		"due after its end, as a dormant one": {change: func(s *wire.TokenState) { s.DueAt = s.ExpiresAt.Add(time.Hour) }, minTTL: time.Hour, elapsed: 4*time.Minute + 1},
		"its whole life is not known":         {change: func(s *wire.TokenState) { s.RefreshedAt = time.Time{} }, minTTL: 11 * time.Minute},
		"no expiry known":                     {change: func(s *wire.TokenState) { s.ExpiresAt = time.Time{} }, minTTL: time.Hour, want: true},
		"paused, however much life is left":   {change: func(s *wire.TokenState) { s.Status = words.StatusPaused }},
	} {
		assert.Equal(t, c.want, state(c.change).Enough(c.elapsed, 0, c.minTTL), name)
	}
}

// TestTokenOf: the answer has the token once, and never the provider's token type.
func TestTokenOf(t *testing.T) {
	t.Parallel()
	got := wire.TokenOf(*state(func(s *wire.TokenState) { s.TokenType = "bot" }))
	assert.Equal(t, "token", got.AccessToken)
	assert.Equal(t, int64(600), got.ExpiresIn)
	assert.Equal(t, []string{"Bearer", "Bearer"}, []string{got.TokenType, got.State.TokenType})
	raw, err := json.Marshal(got.State)
	require.NoError(t, err)
	assert.NotContains(t, string(raw), "token\":\"token")
	assert.Zero(t, wire.TokenOf(*state(func(s *wire.TokenState) { s.ExpiresAt = time.Time{} })).ExpiresIn)
}
