package client

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"golang.org/x/oauth2"
)

// BenchmarkToken reads a token from memory, and compares that with x/oauth2 for one
// connection. Run it with -cpu 1,8.
func BenchmarkToken(b *testing.B) {
	ctx := context.Background()
	backend := &fake{life: 24 * time.Hour, state: TokenState{App: "app", Status: words.StatusActive, LastUsedAt: time.Now()}}
	backend.token(24 * time.Hour)
	client, err := New(Config{Backend: backend})
	if err != nil {
		b.Fatal(err)
	}
	reuse := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "x", Expiry: time.Now().Add(24 * time.Hour)}, nil)
	for _, run := range []struct {
		name string
		get  func() error
	}{
		{"memory", func() error { _, err := client.Token(ctx, id); return err }},
		{"ReuseTokenSource", func() error { _, err := reuse.Token(); return err }},
	} {
		b.Run(run.name, func(b *testing.B) {
			if err := run.get(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := run.get(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
