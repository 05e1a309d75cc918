package db

import (
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// The ways in which a database URL connects; see [Transport].
const (
	TransportLocal     = "local"     // no network lies between
	TransportPlain     = "plaintext" // as sslmode=disable states
	TransportEncrypted = "encrypted" // the server's certificate is not verified
	TransportVerified  = "verified"  // encrypted, and the certificate is verified
)

// Transport says how the connection that url names is protected. It returns the weakest
// way if url names several hosts, and an empty string if url cannot be read.
func Transport(url string) string {
	if strings.HasPrefix(url, "sqlite:") {
		return TransportLocal
	}
	c, err := pgconn.ParseConfig(url)
	if err != nil {
		return ""
	}
	out := transport(c.Host, c)
	for _, f := range c.Fallbacks {
		out = weaker(out, transport(f.Host, &pgconn.Config{TLSConfig: f.TLSConfig}))
	}
	return out
}

func transport(host string, c *pgconn.Config) string {
	switch {
	case isLocal(host):
		return TransportLocal
	case c.TLSConfig == nil:
		return TransportPlain
	case c.TLSConfig.InsecureSkipVerify && c.TLSConfig.VerifyPeerCertificate == nil:
		return TransportEncrypted
	}
	return TransportVerified // verify-ca sets InsecureSkipVerify too, and verifies by itself
}

func weaker(a, b string) string {
	for _, t := range []string{TransportPlain, TransportEncrypted, TransportVerified} {
		if a == t || b == t {
			return t
		}
	}
	return TransportLocal
}
