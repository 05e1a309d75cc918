package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// burstSize is how many requests a pacer has at a provider at once.
const burstSize = 64

// burstServer answers a burst once all of it has arrived, so that each request needs a
// connection of its own. opened and closed count connections.
type burstServer struct {
	*httptest.Server
	opened, closed atomic.Int64

	mu      sync.Mutex
	size    int
	waiting int
	full    chan struct{}
}

func newBurstServer(t testing.TB, size int, start func(*httptest.Server)) *burstServer {
	s := &burstServer{size: size, full: make(chan struct{})}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.arrive()
		fmt.Fprint(w, `{"access_token":"a","refresh_token":"r","expires_in":3600}`)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.opened.Add(1)
		case http.StateClosed:
			s.closed.Add(1)
		}
	}
	start(s.Server)
	t.Cleanup(s.Close)
	return s
}

func (s *burstServer) arrive() {
	s.mu.Lock()
	full := s.full
	if s.waiting++; s.waiting == s.size {
		s.waiting, s.full = 0, make(chan struct{})
		close(full)
	}
	s.mu.Unlock()
	<-full
}

// trusting returns a client with the production transport that trusts the server.
func trusting(s *httptest.Server) *Client {
	t := newTransport()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	t.TLSClientConfig = &tls.Config{RootCAs: roots}
	return NewClient(ClientConfig{Transport: t})
}

func burst(t testing.TB, c *Client, url string, size int) {
	var all sync.WaitGroup
	for range size {
		all.Go(func() {
			reply := c.Refresh(t.Context(), app(url), testSecret, testToken, free)
			assert.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, reply.Code)
		})
	}
	all.Wait()
}

// TestBurstsReuseConnections: over TLS and HTTP/1.1 the next bursts reuse the
// connections of a pacer's first burst. Two pacers of one app have room for both.
func TestBurstsReuseConnections(t *testing.T) {
	t.Parallel()
	for _, size := range []int{burstSize, 2 * burstSize} {
		s := newBurstServer(t, size, (*httptest.Server).StartTLS)
		c := trusting(s.Server)
		for range 3 {
			burst(t, c, s.URL, size)
		}
		assert.EqualValues(t, size, s.opened.Load(), "connections for three bursts of %d", size)
		c.transport.(*http.Transport).CloseIdleConnections()
	}
}

// TestHTTP2SharesOneConnection: with HTTP/2 a burst opens no further connection.
func TestHTTP2SharesOneConnection(t *testing.T) {
	t.Parallel()
	s := newBurstServer(t, 1, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() })
	c := trusting(s.Server)
	burst(t, c, s.URL, 1)
	s.mu.Lock()
	s.size = burstSize
	s.mu.Unlock()
	burst(t, c, s.URL, burstSize)
	assert.EqualValues(t, 1, s.opened.Load())
	c.transport.(*http.Transport).CloseIdleConnections()
}

// TestIdleConnectionsAreBounded: if each account has a host, there is not a socket for
// each account.
func TestIdleConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	s := newBurstServer(t, 1, (*httptest.Server).Start)
	transport := newTransport()
	dialer := &net.Dialer{}
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, s.Listener.Addr().String())
	}
	defer transport.CloseIdleConnections()
	c := NewClient(ClientConfig{Transport: transport})
	const hosts = idleConns + 100
	for i := range hosts {
		burst(t, c, fmt.Sprintf("http://shop-%d.test/", i), 1)
	}
	require.EqualValues(t, hosts, s.opened.Load())
	require.Eventually(t, func() bool { return s.opened.Load()-s.closed.Load() == idleConns }, 30*time.Second, 10*time.Millisecond)
}

// cpuTime returns the CPU time of this process.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBurst makes a burst of 64 refreshes over TLS and HTTP/1.1 at one host, with
// its server in the same process. idle-16 keeps 16 connections of a burst, as this
// client did before.
func BenchmarkBurst(b *testing.B) {
	for _, idle := range []int{16, idlePerHost} {
		b.Run(fmt.Sprintf("idle-%d", idle), func(b *testing.B) {
			s := newBurstServer(b, burstSize, (*httptest.Server).StartTLS)
			c := trusting(s.Server)
			c.transport.(*http.Transport).MaxIdleConnsPerHost = idle
			burst(b, c, s.URL, burstSize)
			before, bursts, cpu := s.opened.Load(), 0, cpuTime(b)
			for b.Loop() {
				burst(b, c, s.URL, burstSize)
				bursts++
			}
			refreshes := float64(bursts * burstSize)
			b.ReportMetric(float64(cpuTime(b)-cpu)/1e6/refreshes, "cpu-ms/refresh")
			b.ReportMetric(float64(s.opened.Load()-before)/refreshes, "connections/refresh")
			c.transport.(*http.Transport).CloseIdleConnections()
		})
	}
}
