package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/remote"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRemoteCopiesAreWhole: no field is left out between the client and the API.
func TestRemoteCopiesAreWhole(t *testing.T) {
	t.Parallel()
	var asked wire.NewSession
	var finish wire.FinishSession
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/connect-sessions/cs_1/finish" {
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&finish))
		} else if r.Method == http.MethodPost {
			asked = wire.NewSession{}
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&asked))
		}
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/v1/connections/con_1/token" {
			_ = json.NewEncoder(w).Encode(fill.Of[wire.Token]())
			return
		}
		_ = json.NewEncoder(w).Encode(fill.Of[wire.ConnectSession]())
	}))
	t.Cleanup(server.Close)
	b, err := remote.New(remote.Config{URL: server.URL, Key: perennial.NewSecret("pk_key")})
	require.NoError(t, err)

	state, err := b.Load(t.Context(), "con_1")
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(state))
	request := fill.Of[client.ConnectRequest]()
	request.Lifetime = 3600e9
	s, err := b.Connect(t.Context(), request)
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(s))
	assert.Equal(t, []string{"ConnectionID"}, fill.Zeros(asked), "a connect")
	again := fill.Of[client.ReconnectRequest]()
	again.Lifetime = 3600e9
	_, err = b.Reconnect(t.Context(), "con_1", again)
	require.NoError(t, err)
	assert.Equal(t, []string{"App", "Host"}, fill.Zeros(asked), "they are the connection's")
	_, err = b.Finish(t.Context(), client.FinishRequest{Session: "cs_1", Code: perennial.NewSecret("code"), Verifier: perennial.NewSecret("verifier")})
	require.NoError(t, err)
	assert.Equal(t, wire.FinishSession{Code: "code", Verifier: "verifier"}, finish)
}
