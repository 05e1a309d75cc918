package remote

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func backend(t *testing.T, url, key string) *Backend {
	t.Helper()
	b, err := New(Config{URL: url, Key: words.NewSecret(key)})
	require.NoError(t, err)
	t.Cleanup(b.http.CloseIdleConnections)
	return b
}

// TestNotTheAPI: the client does not believe another server, and sends it no key.
func TestNotTheAPI(t *testing.T) {
	t.Parallel()
	var followed atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	t.Cleanup(elsewhere.Close)
	for name, answer := range map[string]http.HandlerFunc{
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"a page":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>planted-access-token") },
		"a 404 of a proxy": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "planted-access-token", 404) },
		"a problem of a proxy": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(404)
			fmt.Fprint(w, `{"title": "no"}`)
		},
		"an answer that breaks": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"access_token": "planted-access-token`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			t.Cleanup(server.Close)
			_, err := backend(t, server.URL, "pk_secret").Load(t.Context(), "con_1")
			require.Error(t, err)
			assert.NotEqual(t, words.CodeNotFound, words.CodeOf(err), "memory would forget its token")
			assert.NotContains(t, err.Error(), "planted")
			assert.NotContains(t, err.Error(), "pk_secret")
		})
	}
	assert.Zero(t, followed.Load())
}

func TestConfig(t *testing.T) {
	t.Parallel()
	key := words.NewSecret("pk_1")
	for _, bad := range []Config{{}, {URL: "https://x.example"}, {Key: key}, {URL: "x.example", Key: key}, {URL: "ftp://x.example", Key: key},
		{URL: "http://x.example", Key: key}, {URL: "https://u:p@x.example", Key: key}, {URL: "https://x.example?a=b", Key: key}} {
		_, err := New(bad)
		assert.Equal(t, words.CodeInvalid, words.CodeOf(err), bad.URL)
	}
	for _, good := range []Config{{URL: "https://x.example", Key: key}, {URL: "http://x.example", Key: key, AllowHTTP: true}, {URL: "http://127.0.0.1:8080/", Key: key}} {
		_, err := New(good)
		assert.NoError(t, err, good.URL)
	}
}

// TestAnswersAreWhole: the key reaches the requests, a session says which connection came
// of it, and a refused generation says the row's.
func TestAnswersAreWhole(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "key-1", backend(t, "http://127.0.0.1:1", "key-1").key.Reveal())
	asked := shown(wire.ConnectSession{ID: "s", ConnectionID: "con_1"})
	assert.Equal(t, "con_1", asked.Connection)
	assert.Equal(t, "con_2", shown(wire.ConnectSession{ID: "s", ResultID: "con_2"}).Connection)
	err := (&problem{wire.Problem{Code: words.CodeGenerationAhead, State: &wire.TokenState{Generation: 7}}}).err("con_1")
	var ahead *words.GenerationAheadError
	require.ErrorAs(t, err, &ahead)
	assert.Equal(t, words.GenerationAheadError{Connection: "con_1", Generation: 7}, *ahead)
}
