package client

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"golang.org/x/oauth2"
)

// Config configures a [Client]. Backend is required.
type Config struct {
	Backend Backend

	// MinTTL is the remaining life that a token should have, at most 10 % of its whole
	// life. Defaults to 2 min.
	MinTTL time.Duration
	// Patience is how long a call waits for a refresh while the current token still
	// lives, at most half of what is left of it; then the call returns that token.
	// Defaults to 5 s.
	Patience time.Duration
	// LoadTimeout bounds one call of the backend's Load. Defaults to 3 s.
	LoadTimeout time.Duration
	// RefreshTimeout bounds the wait for one refresh. Defaults to 30 s.
	RefreshTimeout time.Duration
	// MaxConnections bounds the connections in memory. Past it, the client forgets
	// unused ones first. Defaults to 100,000.
	MaxConnections int

	// Base sends the requests of [Client.HTTPClient]. Defaults to
	// http.DefaultTransport.
	Base http.RoundTripper
	// AllowHTTP allows a token to travel to other machines without TLS. Defaults to
	// false: RFC 6750 section 5.3 forbids it.
	AllowHTTP bool

	Observer Observer         // may be nil
	Log      *slog.Logger     // Defaults to discarding.
	Now      func() time.Time // Defaults to time.Now; its readings have a monotonic part.
}

func (c Config) withDefaults() Config {
	c.MinTTL = cmp.Or(c.MinTTL, 2*time.Minute)
	c.Patience = cmp.Or(c.Patience, 5*time.Second)
	c.LoadTimeout = cmp.Or(c.LoadTimeout, 3*time.Second)
	c.RefreshTimeout = cmp.Or(c.RefreshTimeout, 30*time.Second)
	c.MaxConnections = cmp.Or(c.MaxConnections, 100_000)
	if c.Base == nil {
		c.Base = http.DefaultTransport
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) validate() error {
	if c.Backend == nil {
		return words.Errorf(words.CodeInvalid, "client: Backend is needed")
	}
	for name, d := range map[string]time.Duration{"MinTTL": c.MinTTL, "Patience": c.Patience, "LoadTimeout": c.LoadTimeout, "RefreshTimeout": c.RefreshTimeout} {
		if d < 0 {
			return words.Errorf(words.CodeInvalid, "client: %s must not be negative", name)
		}
	}
	if c.MaxConnections < 0 {
		return words.Errorf(words.CodeInvalid, "client: MaxConnections must not be negative")
	}
	return nil
}

// Client returns access tokens of one tenant's connections. It is safe for concurrent
// use. Make one for each tenant and process, and keep it.
type Client struct {
	Config
	clock clock

	entries sync.Map // connection id to *entry
	count   atomic.Int64

	away atomic.Bool    // the last load did not reach the backend
	work sync.WaitGroup // flights and notes
}

// New returns a client.
func New(c Config) (*Client, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Client{Config: c.withDefaults()}, nil
}

// Close waits for background work that callers have left behind. Close the backend
// after it.
func (c *Client) Close() { c.work.Wait() }

// Token returns a valid access token with at least MinTTL left. If no newer token can
// be had, it returns the last one until it expires. It never returns an expired token.
//
// If memory does not suffice, it waits for the backend and for a refresh. All callers
// share that wait. The end of ctx ends only this caller's wait.
func (c *Client) Token(ctx context.Context, id string) (Token, error) {
	now := c.Now()
	if known, ok := c.entries.Load(id); ok {
		if s := known.(*entry).last.Load(); s != nil && s.elapsed(now) < s.fresh {
			if c.Observer != nil {
				c.observe(ctx, now, s, SourceMemory, 0, nil)
			}
			return s.token, nil
		}
	}
	got := c.fetch(ctx, id, 0)
	after := c.Now()
	c.observe(ctx, after, got.snapshot, got.source, after.Sub(now), got.err)
	if got.err != nil {
		return Token{}, got.err
	}
	return got.snapshot.token, nil
}

// TokenSource returns a source of the connection's tokens for golang.org/x/oauth2. The
// end of ctx ends its waits. The Expiry of its tokens is when to ask again.
func (c *Client) TokenSource(ctx context.Context, id string) oauth2.TokenSource {
	return tokenSource(func() (*oauth2.Token, error) {
		t, err := c.Token(ctx, id)
		if err != nil {
			return nil, err
		}
		now, reuse := c.Now(), time.Duration(0)
		if known, ok := c.entries.Load(id); ok {
			if s := known.(*entry).last.Load(); s != nil {
				reuse = s.fresh - s.elapsed(now)
			}
		}
		return t.oauth2(now, reuse), nil
	})
}

type tokenSource func() (*oauth2.Token, error)

// Token implements [oauth2.TokenSource].
func (f tokenSource) Token() (*oauth2.Token, error) { return f() }

// HTTPClient returns an http.Client that uses the connection's tokens; see
// [Transport].
func (c *Client) HTTPClient(id string) *http.Client {
	return &http.Client{Transport: c.Transport(id)}
}

// Transport returns the transport inside [Client.HTTPClient], for example to set its
// hook.
func (c *Client) Transport(id string) *Transport { return &Transport{client: c, id: id} }
