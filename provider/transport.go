package provider

import (
	"net"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial/internal/netguard"
)

// Keep-alive saves a TLS handshake for each refresh, which costs more than all
// the rest of it. net/http sends a request again on a fresh connection only if it
// may rewind the body; oneShot forbids that.
const (
	// idlePerHost is how many idle connections one host keeps: the bursts of an
	// app's two pacers (the default), 64 requests each.
	idlePerHost = 128
	// idleConns bounds them over all hosts; the longest idle ones are closed first.
	// An app whose accounts have hosts of their own may have 100,000 hosts.
	idleConns = 512
)

// newTransport returns the transport of a [Client]. It speaks HTTP/2 where the
// host offers it, and closes what was idle for 90 s (net/http's default). The name of
// an account's own host may resolve to anything: no token goes to a cloud's metadata
// service. The dialer's times are net/http's defaults.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.MaxIdleConns = idlePerHost, idleConns
	t.DialContext = (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, Control: netguard.Control}).DialContext
	return t
}
