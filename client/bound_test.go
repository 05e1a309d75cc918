package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (c *connecting) Finish(_ context.Context, req FinishRequest) (ConnectSession, error) {
	c.finished = append(c.finished, req)
	return ConnectSession{ID: req.Session, Connection: id, Outcome: c.outcome}, c.err
}

// TestBound: one call makes link and verifier, and the backend gets the challenge alone.
func TestBound(t *testing.T) {
	t.Parallel()
	b, fake := connector(t)
	_, first, err := b.ConnectBound(t.Context(), ConnectRequest{App: "crm"})
	require.NoError(t, err)
	_, second, err := b.ReconnectBound(t.Context(), id, ReconnectRequest{})
	require.NoError(t, err)
	require.Len(t, fake.challenges, 2)
	for i, verifier := range []words.Secret{first, second} {
		assert.Len(t, verifier.Reveal(), 43)
		sum := sha256.Sum256([]byte(verifier.Reveal()))
		assert.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), fake.challenges[i])
	}
	assert.NotEqual(t, first, second)
}

// TestFinish: another user's consent has an error of its own, also if that user has no
// verifier at all.
func TestFinish(t *testing.T) {
	t.Parallel()
	b, fake := connector(t)
	fake.outcome = words.ConnectConnected
	req := FinishRequest{Session: "cs_1", Code: words.NewSecret("fc_1"), Verifier: words.NewSecret("v")}
	s, err := b.Finish(t.Context(), req)
	require.NoError(t, err)
	assert.Equal(t, words.ConnectConnected, s.Outcome)
	assert.Equal(t, []FinishRequest{req}, fake.finished)

	for _, missing := range []FinishRequest{{Session: "cs_1", Code: req.Code}, {Session: "cs_1", Verifier: req.Verifier}} {
		_, err = b.Finish(t.Context(), missing)
		var other *ErrOtherUser
		require.ErrorAs(t, err, &other)
		assert.Equal(t, "cs_1", other.Session)
	}
	assert.Len(t, fake.finished, 1, "there was nothing to ask")
	fake.err = words.Errorf(words.CodeOtherUser, "x")
	_, err = b.Finish(t.Context(), req)
	var other *ErrOtherUser
	require.ErrorAs(t, err, &other)
	assert.Equal(t, words.CodeOtherUser, words.CodeOf(err))
	fake.err = words.Errorf(words.CodeNotFound, "x")
	_, err = b.Finish(t.Context(), req)
	var gone *ErrNotFound
	require.ErrorAs(t, err, &gone)
	fake.err = errors.New("no answer")
	_, err = b.Finish(t.Context(), req)
	var later *ErrUnavailable
	require.ErrorAs(t, err, &later)
}
