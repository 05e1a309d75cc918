package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/notify"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

const body = `{"type":"connection.recovered","timestamp":"2030-01-02T03:04:05Z","data":{"connection_id":"con_1","app":"app"}}`

func TestReceiver(t *testing.T) {
	t.Parallel()
	var taken []notify.Body
	fail := true
	r, err := newReceiver(secret, func(b notify.Body) error {
		if fail {
			return errors.New("not now")
		}
		taken = append(taken, b)
		return nil
	})
	require.NoError(t, err)
	post := func(id, body, signedBody string, at time.Time) int {
		v, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		signature, err := v.Sign(id, at, []byte(signedBody))
		require.NoError(t, err)
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		req.Header.Set("webhook-id", id)
		req.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		req.Header.Set("webhook-signature", signature)
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		return w.Code
	}
	now := time.Now()
	require.Equal(t, http.StatusInternalServerError, post("evt_1", body, body, now), "to be sent again")
	fail = false
	require.Equal(t, http.StatusNoContent, post("evt_1", body, body, now))
	require.Equal(t, http.StatusNoContent, post("evt_1", body, body, now), "again, and taken once")
	require.Equal(t, http.StatusUnauthorized, post("evt_2", body, body+" ", now), "altered")
	require.Equal(t, http.StatusUnauthorized, post("evt_2", body, body, now.Add(-10*time.Minute)), "replayed")
	require.Equal(t, http.StatusBadRequest, post("evt_2", strings.Repeat(" ", bodyLimit+1), body, now))
	require.Len(t, taken, 1)
	require.Equal(t, perennial.EventRecovered, taken[0].Type)
	require.Equal(t, "con_1", taken[0].Data.ConnectionID)

	_, err = newReceiver("", nil)
	require.ErrorContains(t, err, "perennial webhook add")
	_, err = newReceiver("whsec_!", nil)
	require.Error(t, err)
}
