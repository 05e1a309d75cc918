package connectui

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/guard"
)

// defaultFailures is how many unknown links and states each client address may present
// in a minute.
const defaultFailures = 60

// admit reports whether the token of a link, or a state, may be looked up; otherwise it
// writes the page that says so. An address over its limit may still look up a known
// one, so that nobody can lock out the customers behind the same NAT or proxy. The
// caller must settle the try.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, token perennial.Secret) (try *guard.Try, ok bool) {
	try = h.failures.Try(guard.Client(r.RemoteAddr), time.Now())
	if try.Reserve() {
		return try, true
	}
	known, err := h.known.holds(r.Context(), token)
	if err != nil {
		h.failed(w, err)
		return nil, false
	}
	if known {
		return try, true
	}
	wait, tell, _ := try.Failed()
	if tell {
		h.Log.Warn("many connect links that are not known", "address", try.From.String())
	}
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	h.render(w, http.StatusTooManyRequests, problems["many"])
	return nil, false
}

// settle ends a try. A known token costs nothing.
func settle(try *guard.Try, found bool) {
	if found {
		try.Release()
	}
}

// knownEvery bounds how often the list of known links and states is read.
const knownEvery = 3 * time.Second

// known has the digests of all links and states. It is read only while an address is
// over its limit. It is safe for concurrent use.
type known struct {
	load func(ctx context.Context) ([]string, error)

	mu      sync.Mutex
	digests map[string]bool
	readAt  time.Time
}

func (k *known) holds(ctx context.Context, token perennial.Secret) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.digests == nil || time.Since(k.readAt) >= knownEvery {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), knownEvery)
		defer cancel()
		all, err := k.load(ctx)
		if err != nil {
			return false, err
		}
		k.digests, k.readAt = make(map[string]bool, len(all)), time.Now()
		for _, digest := range all {
			k.digests[digest] = true
		}
	}
	return k.digests[connect.Digest(token)], nil
}
