package db

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestTransport: how each form of a URL connects.
func TestTransport(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"sqlite:perennial.db":                                 TransportLocal,
		"postgres://p@127.0.0.1/x?sslmode=disable":            TransportLocal,
		"postgres://p@localhost/x?sslmode=require":            TransportLocal,
		"postgres://p@db.example/x?sslmode=disable":           TransportPlain,
		"postgres://p@db.example/x?sslmode=require":           TransportEncrypted,
		"postgres://p@db.example/x?sslmode=verify-full":       TransportVerified,
		"postgres://p@db.example/x?sslmode=verify-ca":         TransportVerified,
		"postgres://p@db1.example,db2/x?sslmode=disable":      TransportPlain,
		"postgres://p@localhost,db.example/x?sslmode=disable": TransportPlain,
		"postgres://p@db.example/x?sslmode=nonsense":          "",
	} {
		assert.Equal(t, want, Transport(url), url)
	}
}
