package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/client"
)

// Health answers /healthz (the process lives), /readyz (it can work: the database
// and Temporal answer, and it is not stopping) and /metrics.
type Health struct {
	listener net.Listener
	server   *http.Server
	draining atomic.Bool
}

// probeTimeout bounds one readiness check.
const probeTimeout = 3 * time.Second

// ServeHealth serves health checks and metrics at listen.
func ServeHealth(listen string, s *store.Store, t client.Client, metrics http.Handler, log *slog.Logger) (*Health, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listen for health checks (set PERENNIAL_LISTEN, or PERENNIAL_SERVER_HEALTH for a server): %w", err)
	}
	h := &Health{listener: l}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		switch {
		case h.draining.Load():
			http.Error(w, "stopping", http.StatusServiceUnavailable)
		case s.Ping(ctx) != nil:
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		case temporalSick(ctx, t):
			http.Error(w, "Temporal does not answer", http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ready")
		}
	})
	h.server = &http.Server{Handler: mux, ReadHeaderTimeout: probeTimeout}
	go func() {
		if err := h.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("health checks are not served any more", "error", err)
		}
	}()
	return h, nil
}

func temporalSick(ctx context.Context, t client.Client) bool {
	_, err := t.CheckHealth(ctx, &client.CheckHealthRequest{})
	return err != nil
}

// Address is where it listens.
func (h *Health) Address() string { return h.listener.Addr().String() }

// Stopping makes /readyz say so, so that nobody counts on this process.
func (h *Health) Stopping() { h.draining.Store(true) }

// Close ends it.
func (h *Health) Close() error { return h.server.Close() }
