package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/notify"
)

// disorder delivers events in the worst order. It holds reconnect_required back until
// the product has received the recovered event that follows it. Between the two, the
// provider takes no order.
type disorder struct{ repair, repaired, late step }

func newDisorder() *disorder { return &disorder{newStep(), newStep(), newStep()} }

// step is something that happens once.
type step struct {
	done chan struct{} // closed when it has happened
	end  func()
}

func newStep() step {
	done := make(chan struct{})
	return step{done, sync.OnceFunc(func() { close(done) })}
}

// before returns a handler that passes events on to the product at the given address.
func (d *disorder) before(address string) http.Handler {
	product := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // the product refuses a truncated body, because its signature is wrong
		r.Body = io.NopCloser(bytes.NewReader(body))
		var event notify.Body
		_ = json.Unmarshal(body, &event)
		switch event.Type {
		case perennial.EventReconnectRequired:
			select {
			case <-d.repaired.done:
			case <-r.Context().Done():
				return // the sender gave up, and will send it again
			}
			defer d.late.end()
		case perennial.EventRecovered:
			d.repair.end()
			defer d.repaired.end()
		}
		product.ServeHTTP(w, r)
	})
}

// wait holds an order back from the repair until the product has received the late
// event.
func (d *disorder) wait(r *http.Request) {
	select {
	case <-d.repair.done:
	default:
		return
	}
	select {
	case <-d.late.done:
	case <-r.Context().Done():
	}
}
