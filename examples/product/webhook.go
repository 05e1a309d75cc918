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

// messageLimit is in bytes, far above the size of any message.
const messageLimit = 64 << 10

// webhooks takes Perennial's events. After any reply but 2xx, Perennial sends the event
// again.
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
		// The signature covers the id, the time and the exact bytes of the body. Verify
		// refuses messages older than five minutes.
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
