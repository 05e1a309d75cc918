package wiring

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
)

// TestCodecServerThatDoesNotWork: each says so before Temporal is dialled, in bounded
// time, and nothing that the server answers is repeated.
func TestCodecServerThatDoesNotWork(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect is followed") }))
	t.Cleanup(elsewhere.Close)
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body)) // the caller may be gone
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		code    int
		says    string
	}{
		"an error":     {answer(500, "planted"), program.ExitUnavailable, "the codec server answers with HTTP status 500"},
		"too many":     {answer(429, "planted"), program.ExitUnavailable, "HTTP status 429"},
		"another key":  {answer(401, "planted"), program.ExitUsage, "check temporal_codec_auth_env"},
		"another page": {answer(404, "planted"), program.ExitUsage, "temporal_codec_endpoint does not name it"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, program.ExitUsage, "HTTP status 307"},
		"a page of HTML":   {answer(200, "<html>"), program.ExitOther, "encode a payload"},
		"no payload":       {answer(200, "{}"), program.ExitOther, "expected 1"},
		"another payload":  {answer(200, `{"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "Ingi"}]}`), program.ExitOther, "does not give back the payload"},
		"a huge answer":    {answer(200, strings.Repeat(" ", maxCodecReply+1)), program.ExitOther, "too large"},
		"no answer at all": {func(http.ResponseWriter, *http.Request) { <-hang }, program.ExitUnavailable, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(c.handler)
			t.Cleanup(s.Close)
			if name == "no answer at all" {
				t.Cleanup(func() { close(hang) }) // before Close, which waits
			}
			cfg := &config.Config{Codec: config.Codec{Endpoint: s.URL, Auth: perennial.NewSecret("planted-auth")}}
			began := time.Now()
			_, err := Dial(t.Context(), cfg, []string{"TEMPORAL_ADDRESS=127.0.0.1:1", "HOME=" + t.TempDir()}, slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, "the payload codec does not work")
			assert.ErrorContains(t, err, c.says)
			assert.Equal(t, c.code, program.ExitCode(err), err)
			assert.NotContains(t, err.Error(), "planted")
			assert.Less(t, time.Since(began), 3*codecTimeout)
		})
	}
}

// TestCodecOfTemporalsOwnConfiguration: nobody believes that it encodes anything.
func TestCodecOfTemporalsOwnConfiguration(t *testing.T) {
	t.Parallel()
	for environ, warned := range map[string]bool{"TEMPORAL_CODEC_ENDPOINT=http://codec.example": true, "OTHER=1": false} {
		var logs strings.Builder
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := Dial(ctx, &config.Config{}, []string{"TEMPORAL_ADDRESS=127.0.0.1:1", "HOME=" + t.TempDir(), environ}, slog.New(slog.NewTextHandler(&logs, nil)))
		cancel()
		require.Error(t, err)
		assert.Equal(t, warned, strings.Contains(logs.String(), "set temporal_codec_endpoint"), environ)
	}
}

// TestCustomizeThatFails: its error reaches the caller with its code.
func TestCustomizeThatFails(t *testing.T) {
	t.Parallel()
	_, err := Dial(t.Context(), &config.Config{}, []string{"HOME=" + t.TempDir()}, slog.New(slog.DiscardHandler),
		func(_ context.Context, o client.Options) (client.Options, error) {
			return o, perennial.Errorf(perennial.CodeInvalid, "no key")
		})
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	assert.ErrorContains(t, err, "customize the Temporal client: no key")
}

// TestFailureWhileTheCodecIsAway: the default failure converter panics; ours gives a
// failure without the text that the codec should hide, and a cancellation stays one.
func TestFailureWhileTheCodecIsAway(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, over := overCodecServer(config.Codec{Endpoint: s.URL}, "default")
	calm := withoutPanic(over)
	assert.Panics(t, func() { over.ErrorToFailure(errors.New("planted")) }, "it still does")
	f := calm.ErrorToFailure(temporal.NewNonRetryableApplicationError("planted", "x", nil, 7))
	assert.NotContains(t, f.String(), "planted")
	assert.False(t, f.GetApplicationFailureInfo().GetNonRetryable(), "it is tried again")
	assert.NotNil(t, calm.ErrorToFailure(temporal.NewCanceledError()).GetCanceledFailureInfo())
	assert.Nil(t, calm.ErrorToFailure(nil))
	assert.Equal(t, "text", withoutPanic(nil).ErrorToFailure(errors.New("text")).Message)
}
