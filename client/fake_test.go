package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/require"
)

const (
	id     = "con_1"
	secret = "planted-access-token"
)

// fake is a backend with knobs. Its clock is the process's plus skew.
type fake struct {
	mu    sync.Mutex
	state TokenState
	skew  time.Duration
	life  time.Duration // of the tokens that a refresh returns

	loadErr, refreshErr  error
	loadTakes, takes     time.Duration // how long a load and a refresh take
	loads, refreshes     int
	asked                []int64 // generations that a refresh was asked for
	reported             []RefusalCause
	used, unauthorized   int
	onLoad               func(*TokenState)
	refreshBringsNothing bool
}

func (f *fake) now() time.Time { return time.Now().Add(f.skew) }

// token gives the connection a new token.
func (f *fake) token(life time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set(life)
}

func (f *fake) set(life time.Duration) {
	now := f.now()
	f.state.Generation++
	f.state.Access = words.NewSecret(fmt.Sprintf("%s-%d", secret, f.state.Generation))
	f.state.RefreshedAt, f.state.ExpiresAt, f.state.DueAt = now, now.Add(life), now.Add(life-min(5*time.Minute, life/4))
}

// change changes the row as another program would.
func (f *fake) change(do func(*TokenState)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(&f.state)
}

func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fake) Load(ctx context.Context, which string) (TokenState, error) {
	f.mu.Lock()
	f.loads++
	takes, err := f.loadTakes, f.loadErr
	f.mu.Unlock()
	if ended := pass(ctx, takes); ended != nil {
		return TokenState{}, ended
	}
	if err != nil {
		return TokenState{}, err
	}
	if which != id {
		return TokenState{}, words.Errorf(words.CodeNotFound, "no %q", which)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.state
	h.Now = f.now()
	if f.onLoad != nil {
		f.onLoad(&h)
	}
	return h, nil
}

func (f *fake) Refresh(ctx context.Context, _ string, generation int64) error {
	f.mu.Lock()
	f.refreshes++
	f.asked = append(f.asked, generation)
	takes, err := f.takes, f.refreshErr
	f.mu.Unlock()
	if ended := pass(ctx, takes); ended != nil {
		return ended
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && !f.refreshBringsNothing && f.state.Generation == generation {
		f.set(f.life)
	}
	return err
}

// Refused implements [Refuser].
func (f *fake) Refused(ctx context.Context, id string, generation int64, why RefusalCause) error {
	f.mu.Lock()
	f.reported = append(f.reported, why)
	f.mu.Unlock()
	return f.Refresh(ctx, id, generation)
}

func (f *fake) Note(_ context.Context, _ string, n Note) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n == NoteUsed {
		f.used++
		f.state.LastUsedAt = f.now()
	} else {
		f.unauthorized++
	}
	return nil
}

// seen is an observer that keeps what it receives.
type seen struct {
	mu      sync.Mutex
	calls   []Call
	refused []Refused
	offset  time.Duration
}

func (s *seen) Call(c Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
}

func (s *seen) Refused(r Refused) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, r)
}

func (s *seen) Clock(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset = d
}

// bundle is a client over a fake whose token lives for 30 minutes.
type bundle struct {
	*testing.T
	*Client
	backend *fake
	seen    *seen
	logs    *bytes.Buffer
}

func setup(t *testing.T, change ...func(*Config)) *bundle {
	t.Helper()
	b := &bundle{T: t, backend: &fake{life: 30 * time.Minute}, seen: &seen{}, logs: &bytes.Buffer{}}
	b.backend.state = TokenState{App: "app", Provider: "hubspot", Title: "HubSpot", Account: "portal-7", Status: words.StatusActive, LastUsedAt: time.Now().Add(time.Hour)}
	b.backend.token(30 * time.Minute)
	config := Config{Backend: b.backend, Observer: b.seen, Log: slog.New(slog.NewTextHandler(b.logs, nil))}
	for _, c := range change {
		c(&config)
	}
	c, err := New(config)
	require.NoError(t, err)
	b.Client = c
	t.Cleanup(func() {
		c.Close()
		require.NotContains(t, b.logs.String(), secret)
	})
	return b
}

// get asks for a token, and fails the test on an error.
func (b *bundle) get() Token {
	b.Helper()
	t, err := b.Token(context.Background(), id)
	require.NoError(b.T, err)
	return t
}

// fails asks for a token, and returns its error, which must not contain the token.
func (b *bundle) fails() error {
	b.Helper()
	_, err := b.Token(context.Background(), id)
	require.Error(b.T, err)
	require.NotContains(b.T, err.Error(), secret)
	return err
}

func (b *bundle) last() Call {
	b.seen.mu.Lock()
	defer b.seen.mu.Unlock()
	return b.seen.calls[len(b.seen.calls)-1]
}

var errDown = errors.New("connection refused")

func count(text, part string) int { return strings.Count(text, part) }
