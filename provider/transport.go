package provider

import (
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial/internal/netguard"
)

// Keep-alive saves each refresh a TLS handshake, which costs more than all its other
// work. net/http sends a request again on a new connection only if it may rewind the
// body; oneShot prevents that.
const (
	// idlePerHost bounds the idle connections to one host: enough for the bursts of an
	// app's two pacers (the default), 64 requests each.
	idlePerHost = 128
	// idleConns bounds the idle connections to all hosts; those idle for longest are
	// closed first. An app with a host for each account may have 100,000 hosts.
	idleConns = 512
)

// newTransport returns the transport of a [Client]. It uses HTTP/2 if the host offers
// it, and closes connections that were idle for 90 s (net/http's default). The name of
// an account's own host may resolve to anything, so it never connects to a cloud's
// metadata service. The dialer's times are net/http's defaults.
func newTransport() *http.Transport { return transport(netguard.Control) }

// newPublicTransport returns a transport that connects to public addresses only. It uses
// no proxy, which would dial past the check.
func newPublicTransport() *http.Transport {
	t := transport(netguard.PublicControl)
	t.Proxy = nil
	return t
}

func transport(control func(network, address string, c syscall.RawConn) error) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.MaxIdleConns = idlePerHost, idleConns
	t.DialContext = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, Control: control}).DialContext
	return t
}
