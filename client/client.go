package client

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

// Config configures a [Client]. Backend is needed.
type Config struct {
	Backend Backend

	// MinTTL is the life that a token is asked to have left, cut to 10 % of its
	// life. Defaults to 2 min.
	MinTTL time.Duration
	// Patience is how long a call waits for a refresh while the token at hand
	// still lives, at most half of what is left of it; then that one serves.
	// Defaults to 5 s.
	Patience time.Duration
	// LoadTimeout bounds one reading of the backend. Defaults to 3 s.
	LoadTimeout time.Duration
	// RefreshTimeout bounds the waiting for one refresh. Defaults to 30 s.
	RefreshTimeout time.Duration
	// MaxConnections is how many connections are kept in memory; past it, those
	// that are not in use are forgotten first. Defaults to 100,000.
	MaxConnections int

	// Base sends the requests of [Client.HTTPClient]. Defaults to
	// http.DefaultTransport.
	Base http.RoundTripper
	// AllowHTTP lets a token travel without TLS to other machines. Defaults to
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
		return perennial.Errorf(perennial.CodeInvalid, "client: Backend is needed")
	}
	for name, d := range map[string]time.Duration{"MinTTL": c.MinTTL, "Patience": c.Patience, "LoadTimeout": c.LoadTimeout, "RefreshTimeout": c.RefreshTimeout} {
		if d < 0 {
			return perennial.Errorf(perennial.CodeInvalid, "client: %s must not be negative", name)
		}
	}
	if c.MaxConnections < 0 {
		return perennial.Errorf(perennial.CodeInvalid, "client: MaxConnections must not be negative")
	}
	return nil
}

// Client hands out access tokens of one tenant's connections. It is safe for
// concurrent use; make one for each tenant and process, and keep it.
type Client struct {
	Config
	clock clock

	entries sync.Map // id to *entry
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

// Close waits for what is under way for callers that have left. The backend may
// be closed after it.
func (c *Client) Close() { c.work.Wait() }

// Token returns a valid access token with at least MinTTL left; or, while no
// newer one can be had, what is left of the last until it expires. It never
// returns an expired one.
//
// It waits for the backend and for a refresh where memory does not answer; all
// callers wait for the same. The end of ctx ends this caller's waiting only.
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

// TokenSource returns a source for golang.org/x/oauth2 of the connection's
// tokens. Its waiting ends with ctx. The tokens' Expiry is when to ask again.
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

// Transport returns what is inside [Client.HTTPClient], for setting its hook.
func (c *Client) Transport(id string) *Transport { return &Transport{client: c, id: id} }
