package wiring

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/private"
)

// The bounds of one request and of one network connection. The API's own limits are
// within them.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 20 * time.Second
	writeTimeout  = 60 * time.Second // a caller may wait 25 s for a refresh
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
)

// serving is a running HTTP server.
type serving struct {
	listener net.Listener
	server   *http.Server
	failed   chan error
}

func listen(c config.Server, h http.Handler, log *slog.Logger) (*serving, error) {
	s := &serving{failed: make(chan error, 1), server: &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}}
	if c.TLSCert != "" {
		if err := private.CheckFile("server.tls_key", c.TLSKey); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		certificate, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, perennial.Errorf(perennial.CodeInvalid, "server: the certificate %s and the key %s are not usable: %w", c.TLSCert, c.TLSKey, err)
		}
		s.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	}
	var err error
	if s.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("listen for the API (set PERENNIAL_SERVER_LISTEN): %w", err)
	}
	go func() {
		serve := s.server.Serve
		if s.server.TLSConfig != nil {
			serve = func(l net.Listener) error { return s.server.ServeTLS(l, "", "") }
		}
		if err := serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
	return s, nil
}

func (s *serving) address() string { return s.listener.Addr().String() }

// drain accepts no more requests and waits for the running ones.
func (s *serving) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), DrainTimeout)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("wait for running requests: %w", err), s.server.Close())
	}
	return nil
}
