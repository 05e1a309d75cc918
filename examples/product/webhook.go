package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/perennial-oauth/perennial/notify"
)

// messageLimit is far above what a message is.
const messageLimit = 64 << 10

// webhooks takes Perennial's events. Any reply but 2xx has one sent again.
func (p *product) webhooks(secret string) (http.Handler, error) {
	verifier, err := standardwebhooks.NewWebhook(secret)
	if secret == "" || err != nil {
		return nil, errors.New("set WEBHOOK_SECRET to what `perennial webhook add` printed")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, messageLimit))
		if err != nil {
			http.Error(w, "the body cannot be read", http.StatusBadRequest)
			return
		}
		// Of the id, the time and the body's very bytes; older than five minutes is refused.
		if err := verifier.Verify(raw, r.Header); err != nil {
			http.Error(w, "not signed with our secret, or too old", http.StatusUnauthorized)
			return
		}
		var e notify.Body
		if err := json.Unmarshal(raw, &e); err != nil {
			http.Error(w, "the body is not JSON", http.StatusBadRequest)
			return
		}
		if err := p.store.take(r.Context(), r.Header.Get(standardwebhooks.HeaderWebhookID), e); err != nil {
			log.Printf("an event was not taken: %v", err)
			http.Error(w, "not taken", http.StatusInternalServerError)
			return
		}
		p.soon()
		w.WriteHeader(http.StatusNoContent)
	}), nil
}
