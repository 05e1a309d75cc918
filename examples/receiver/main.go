// Command receiver is an example of a program that receives events: it verifies each
// message, takes each event once, and prints it.
//
//	WEBHOOK_SECRET=whsec_... go run ./examples/receiver
//	perennial webhook add http://127.0.0.1:8099/ # with notify: {allow_private: true}
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/perennial-oauth/perennial/notify"
)

func main() {
	r, err := newReceiver(os.Getenv("WEBHOOK_SECRET"), func(b notify.Body) error {
		_, err := fmt.Printf("%s %s %s\n", b.Timestamp.Format(time.RFC3339), b.Type, b.Data.ConnectionID)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "127.0.0.1:8099", Handler: r, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// receiver serves one endpoint.
type receiver struct {
	verifier *standardwebhooks.Webhook
	take     func(notify.Body) error

	mu    sync.Mutex
	taken map[string]bool // by webhook-id; use a table instead, written in take's transaction
}

func newReceiver(secret string, take func(notify.Body) error) (*receiver, error) {
	if secret == "" {
		return nil, fmt.Errorf("set WEBHOOK_SECRET to what `perennial webhook add` printed")
	}
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return nil, fmt.Errorf("WEBHOOK_SECRET is not a secret of `perennial webhook add`")
	}
	return &receiver{verifier: v, take: take, taken: map[string]bool{}}, nil
}

// bodyLimit is in bytes, far above the size of any message.
const bodyLimit = 64 << 10

// ServeHTTP implements http.Handler. After any reply but 2xx, Perennial sends the
// message again.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, req.Body, bodyLimit))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	// The signature covers the id, the time and the exact bytes of the body. Verify
	// refuses messages older than five minutes, which prevents replays.
	if err := r.verifier.Verify(raw, req.Header); err != nil {
		http.Error(w, "not signed with our secret, or too old", http.StatusUnauthorized)
		return
	}
	var body notify.Body
	if err := json.Unmarshal(raw, &body); err != nil {
		http.Error(w, "the body is not JSON", http.StatusBadRequest)
		return
	}
	id := req.Header.Get(standardwebhooks.HeaderWebhookID)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.taken[id] { // a message may come again: our reply may have been lost
		if err := r.take(body); err != nil {
			http.Error(w, "not taken", http.StatusInternalServerError)
			return
		}
		r.taken[id] = true
	}
	w.WriteHeader(http.StatusNoContent)
}
