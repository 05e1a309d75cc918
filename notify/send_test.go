package notify

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSignature is the example of the Standard Webhooks specification.
func TestSignature(t *testing.T) {
	t.Parallel()
	m := message{id: "msg_p5jXN8AQM9LWM0D4loKWxJek", at: time.Unix(1614265330, 0), body: []byte(`{"test": 2432232314}`),
		secrets: []perennial.Secret{perennial.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}}
	signed, err := sign(m)
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", signed)

	m.secrets = append(m.secrets, newSecret())
	both, err := sign(m)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(both, signed+" v1,"))

	m.secrets = []perennial.Secret{perennial.NewSecret("whsec_planted!")}
	_, err = sign(m)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "planted")
}

func TestNewSecret(t *testing.T) {
	t.Parallel()
	a, b := newSecret(), newSecret()
	require.NotEqual(t, a, b)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(a.Reveal(), "whsec_"))
	require.NoError(t, err)
	require.Len(t, raw, secretBytes)
}

func testMessage() message {
	return message{id: "evt_1", at: time.Now(), body: []byte(`{}`), secrets: []perennial.Secret{newSecret()}}
}

// serve starts a receiver on this machine.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func TestSendIsSigned(t *testing.T) {
	t.Parallel()
	m := testMessage()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		verifier, err := standardwebhooks.NewWebhook(m.secrets[0].Reveal())
		assert.NoError(t, err)
		assert.NoError(t, verifier.Verify(got, r.Header))
		assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusNoContent)
	})
	r, err := newSender(Addresses{AllowPrivate: true}, time.Minute).send(t.Context(), url, m)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, r.status)
}

// TestSendRefused: the address is checked when it is dialed, whatever it was at
// registration. Nothing reaches the receiver.
func TestSendRefused(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	url := serve(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	for _, to := range []string{url, strings.Replace(url, "127.0.0.1", "localhost", 1), strings.Replace(url, "127.0.0.1", "[::ffff:127.0.0.1]", 1)} {
		r, err := newSender(Addresses{}, time.Minute).send(t.Context(), to, testMessage())
		require.EqualError(t, err, "the address is not public", to)
		require.Zero(t, r.status)
	}
	require.Zero(t, reached.Load())
}

// TestSendPastProxies: a proxy from the environment is not used, because it would dial
// unchecked addresses.
func TestSendPastProxies(t *testing.T) {
	t.Parallel()
	require.Nil(t, newSender(Addresses{}, time.Minute).http.Transport.(*http.Transport).Proxy)
}

// TestSendReplies: what a receiver may answer, and the reported result, which never has
// the receiver's own text.
func TestSendReplies(t *testing.T) {
	t.Parallel()
	const planted = "PLANTED-reply"
	var target atomic.Int32
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { target.Add(1) })
	for name, c := range map[string]struct {
		reply  http.HandlerFunc
		status int
		says   string // empty: delivered
	}{
		"200": {func(http.ResponseWriter, *http.Request) {}, 200, ""},
		"202": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }, 202, ""},
		"500": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, planted, 500) }, 500, "the endpoint replied HTTP 500"},
		"404": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, planted, 404) }, 404, "the endpoint replied HTTP 404"},
		"302": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere+"/"+planted, http.StatusFound)
		}, 302, "redirects (HTTP 302)"},
		"308": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere+"/"+planted, http.StatusPermanentRedirect)
		}, 308, "redirects (HTTP 308)"},
		"slow": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // the server notices a caller that leaves only after that
			<-r.Context().Done()
		}, 0, "did not reply in time"},
		"a body without end": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(planted, 1000)); err != nil {
					return
				}
			}
		}, 200, ""},
		"headers without end": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Planted", strings.Repeat(planted, 10_000))
		}, 0, "the connection to the endpoint failed"},
		"not HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if assert.NoError(t, err) {
				_, _ = io.WriteString(conn, planted+"\r\n\r\n")
				_ = conn.Close()
			}
		}, 0, "the connection to the endpoint failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := 30 * time.Second
			if name == "slow" {
				timeout = 300 * time.Millisecond
			}
			r, err := newSender(Addresses{AllowPrivate: true}, timeout).send(t.Context(), serve(t, c.reply), testMessage())
			assert.Equal(t, c.status, r.status)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), planted)
			require.NotContains(t, err.Error(), "127.0.0.1", "nor the URL")
		})
	}
	t.Cleanup(func() { assert.Zero(t, target.Load(), "no redirect was followed") })
}

func TestSendCannotConnect(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	s := newSender(Addresses{AllowPrivate: true}, time.Minute)
	_, err = s.send(t.Context(), "http://"+address+"/planted", testMessage())
	require.EqualError(t, err, "the endpoint refuses connections")

	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	_, err = s.send(t.Context(), secure.URL, testMessage())
	require.EqualError(t, err, "the endpoint's certificate is not valid")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.send(ctx, secure.URL, testMessage())
	require.Error(t, err)
	require.Equal(t, "the connection to the endpoint failed", plain(errors.New("planted")))
}
