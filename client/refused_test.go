package client

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSecond401: a new token is refused too. That does not mean a reconnect, and the
// next such request does not refresh again.
func TestSecond401(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.skew = 7 * time.Second
		a := &api{answers: []answer{bare401}}
		transport := b.Transport(id)
		transport.Base = a
		_, err := b.do(transport)
		var young *ErrUnavailable
		require.ErrorAs(t, err, &young, "the token is a second old")
		assert.Equal(t, CodeNotAcceptedYet, young.Code)
		assert.Len(t, a.got, 3)
		time.Sleep(time.Until(young.RetryAt))
		var still *ErrStillUnauthorized
		_, err = b.do(transport)
		require.ErrorAs(t, err, &still)
		assert.Equal(t, &ErrStillUnauthorized{Connection: id, Account: "portal-7", Method: "GET",
			Endpoint: "https://api.example/crm/v3/objects/contacts", Generation: 2, ClockOffset: 7 * time.Second}, still)
		assert.NotContains(t, still.Error(), "planted")
		assert.Len(t, a.got, 4)
		synctest.Wait()
		assert.Equal(t, 3, b.backend.unauthorized)
		assert.Equal(t, []Refused{{App: "app", Means: resource.UnauthorizedUnclear, Second: true}, {App: "app", Means: resource.UnauthorizedUnclear, Refreshed: true, Retried: true},
			{App: "app", Means: resource.UnauthorizedUnclear}}, b.seen.refused)

		for range 10 {
			_, err = b.do(transport)
			require.ErrorAs(t, err, &still)
		}
		post, err := (&http.Client{Transport: transport}).Post(createURL, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		require.NoError(t, post.Body.Close())
		synctest.Wait()
		assert.Equal(t, 1, b.backend.refreshes, "one 401 in a minute causes a refresh")
		time.Sleep(time.Minute)
		_, err = b.do(transport)
		require.ErrorAs(t, err, &young)
		assert.Equal(t, 2, b.backend.refreshes)
		assert.Zero(t, a.open)
	})
}

// TestFloored401: a token that callers had refreshed again and again is refused. Nobody
// asks for another before the backend allows it; the error says when, and how old the
// token is. Meanwhile the client hands out a token that is alive.
func TestFloored401(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.skew = 7 * time.Second
		retryAt := time.Now().Add(80 * time.Second)
		b.backend.change(func(s *TokenState) {
			s.RefreshedAt = b.backend.now().Add(-2 * time.Minute)
			s.ForcedAt, s.RetryAt = s.RefreshedAt, retryAt.Add(b.backend.skew)
		})
		a := &api{answers: []answer{bare401}}
		transport := b.Transport(id)
		transport.Base = a
		for range 3 {
			_, err := b.do(transport)
			var still *ErrStillUnauthorized
			require.ErrorAs(t, err, &still)
			assert.Equal(t, &ErrStillUnauthorized{Connection: id, Account: "portal-7", Method: "GET", Endpoint: "https://api.example/crm/v3/objects/contacts",
				Generation: 1, ClockOffset: 7 * time.Second, RetryAt: retryAt.Round(0), ForcedAgo: 2 * time.Minute}, still)
			assert.ErrorContains(t, err, "it was refreshed 2m0s ago because a caller asked, and may be again at "+retryAt.UTC().Format(time.RFC3339))
		}
		token, err := b.Token(t.Context(), id)
		require.NoError(t, err)
		assert.EqualValues(t, 1, token.Generation)
		assert.Zero(t, b.backend.refreshes)
		time.Sleep(80 * time.Second)
		_, err = b.do(transport)
		require.ErrorAs(t, err, new(*ErrUnavailable), "the new token is too young to tell")
		assert.Equal(t, 1, b.backend.refreshes, "then it is asked for")
		synctest.Wait()
	})
}

// TestRefusedByAnotherStatus: the configuration says that this API refuses a token by 403.
// A 403 then renews once; if it stays, it means what it says and is the caller's.
func TestRefusedByAnotherStatus(t *testing.T) {
	t.Parallel()
	forbidden := answer{status: 403, body: `{"error":"token expired"}`}
	said := &resource.Server{Spellings: []resource.Spelling{{HTTPStatus: 403, Contains: "expired", Means: resource.UnauthorizedToken}, {HTTPStatus: 403, Code: "token expired", Means: resource.UnauthorizedToken}}}
	for name, c := range map[string]struct {
		api       *resource.Server
		answers   []answer
		status    int
		refreshes int
	}{
		"a newer token helps":      {said, []answer{forbidden, ok200}, 200, 1},
		"it stays":                 {said, []answer{forbidden}, 403, 1},
		"other words":              {said, []answer{{status: 403, body: `{"error":"no access"}`}}, 403, 0},
		"another status":           {said, []answer{{status: 400, body: forbidden.body}}, 400, 0},
		"nothing said, as at most": {nil, []answer{forbidden}, 403, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.backend.change(func(s *TokenState) { s.API = c.api })
				a := &api{answers: c.answers}
				transport := b.Transport(id)
				transport.Base = a
				for range 5 { // the last answer repeats
					status, err := b.do(transport)
					require.NoError(t, err)
					assert.Equal(t, c.status, status)
				}
				synctest.Wait()
				assert.Equal(t, c.refreshes, b.backend.refreshes)
				assert.Zero(t, a.open)
				if c.refreshes > 0 {
					assert.Equal(t, resource.UnauthorizedToken, b.seen.refused[0].Means)
				}
			})
		})
	}
}

// TestRefusedByAnotherStatusAndStale: the token that was refused had been replaced already.
// The newer one is refused as well, so the status means what it says, and causes no refresh.
func TestRefusedByAnotherStatusAndStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(s *TokenState) {
			s.API = &resource.Server{Spellings: []resource.Spelling{{HTTPStatus: 403, Means: resource.UnauthorizedToken}}}
		})
		b.get()
		b.backend.token(30 * time.Minute)
		a := &api{answers: []answer{{status: 403}}}
		transport := b.Transport(id)
		transport.Base = a
		for range 5 {
			status, err := b.do(transport)
			require.NoError(t, err)
			assert.Equal(t, 403, status)
		}
		synctest.Wait()
		assert.Zero(t, b.backend.refreshes)
		assert.Len(t, a.got, 6)
	})
}

// TestRefusedByAnotherStatusAndFloored: callers had the token refreshed just before, so
// nobody may ask for another yet. The status then means what it says.
func TestRefusedByAnotherStatusAndFloored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(s *TokenState) {
			s.API = &resource.Server{Spellings: []resource.Spelling{{HTTPStatus: 403, Means: resource.UnauthorizedToken}}}
			s.RefreshedAt = b.backend.now().Add(-2 * time.Minute)
			s.ForcedAt, s.RetryAt = s.RefreshedAt, b.backend.now().Add(80*time.Second)
		})
		a := &api{answers: []answer{{status: 403}}}
		transport := b.Transport(id)
		transport.Base = a
		for range 3 {
			status, err := b.do(transport)
			require.NoError(t, err)
			assert.Equal(t, 403, status)
		}
		synctest.Wait()
		assert.Zero(t, b.backend.refreshes)
		assert.Zero(t, a.open)
	})
}

// TestStaleToken: the generation has changed, so nothing is refreshed.
func TestStaleToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.token(30 * time.Minute)
		transport := b.Transport(id)
		a := &api{answers: []answer{expired, ok200}}
		transport.Base = a
		status, err := b.do(transport)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.Zero(t, b.backend.refreshes)
		assert.Equal(t, "Bearer "+secret+"-2", a.got[1].Header.Get("Authorization"))
		assert.Equal(t, []Refused{{App: "app", Means: resource.UnauthorizedToken, Stale: true, Retried: true}}, b.seen.refused)
	})
}

// TestRestoredDatabase: the database went back from generation 5 to 2. At the first 401
// the client forgets its own generation and uses the row's token. The next refresh is
// of the row's generation.
func TestRestoredDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(h *TokenState) { h.Generation = 4 })
		b.backend.token(30 * time.Minute) // generation 5
		b.get()
		b.backend.change(func(h *TokenState) { h.Generation = 1 })
		b.backend.token(30 * time.Minute) // generation 2
		transport := b.Transport(id)
		a := &api{answers: []answer{expired, ok200}}
		transport.Base = a
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := b.do(transport)
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		assert.Zero(t, b.backend.refreshes)
		assert.Less(t, b.backend.loads, 20)
		assert.EqualValues(t, 2, b.get().Generation)
		assert.Contains(t, b.logs.String(), "the database was restored")

		a = &api{answers: []answer{expired, ok200}}
		transport.Base = a
		_, err := b.do(transport)
		require.NoError(t, err)
		assert.Equal(t, []int64{2}, b.backend.asked)
		assert.Equal(t, "Bearer "+secret+"-3", a.got[1].Header.Get("Authorization"))
	})
}

// TestRefreshBehindTheRow: the row goes back between a load and the refresh.
func TestRefreshBehindTheRow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(h *TokenState) { h.Generation = 8 })
		b.backend.token(30 * time.Minute)                                     // generation 9
		b.backend.change(func(h *TokenState) { h.ExpiresAt = h.RefreshedAt }) // and it has expired
		b.backend.onLoad = func(h *TokenState) {
			if h.Generation == 9 {
				b.backend.state.Generation = 2
				b.backend.set(30 * time.Minute)
				b.backend.refreshErr = &words.GenerationAheadError{Connection: id, Generation: 3}
			}
		}
		assert.EqualValues(t, 3, b.get().Generation)
		assert.Equal(t, []int64{9}, b.backend.asked)
	})
}

// TestManyStale: two hundred requests with an old token cause one refresh.
func TestManyStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.takes = time.Second
		transport := b.Transport(id)
		transport.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
			status := 200
			if r.Header.Get("Authorization") == "Bearer "+secret+"-1" {
				status = 401
			}
			return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}}, nil
		})
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				status, err := b.do(transport)
				assert.NoError(t, err)
				assert.Equal(t, 200, status)
			})
		}
		wg.Wait()
		assert.Equal(t, 1, b.backend.refreshes)
		refreshed := 0
		for _, r := range b.seen.refused {
			if r.Refreshed {
				refreshed++
			}
		}
		assert.Equal(t, 1, refreshed, "counted once")
	})
}

// TestNothingNewer: a 401, and there is no newer token.
func TestNothingNewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		transport := b.Transport(id)
		a := &api{answers: []answer{expired}}
		transport.Base = a
		b.backend.refreshErr = errDown
		_, err := b.do(transport)
		assert.ErrorAs(t, err, new(*ErrUnavailable))
		assert.ErrorIs(t, err, errDown)
		b.backend.change(func(h *TokenState) {
			h.Status, h.Reason = words.StatusReconnectRequired, words.ReasonInvalidGrant
		})
		time.Sleep(time.Minute)
		_, err = b.do(transport)
		assert.ErrorAs(t, err, new(*ErrReconnectRequired), "what was left of the grant is not good any more")
		assert.Len(t, a.got, 2, "nothing was sent a second time")
		assert.Zero(t, a.open)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.backend.change(func(h *TokenState) {
			h.Status = words.StatusActive
			b.backend.refreshErr = nil
			b.backend.takes = time.Hour
		})
		time.Sleep(time.Minute)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, createURL, nil)
		require.NoError(t, err)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = (&http.Client{Transport: transport}).Do(req.WithContext(ctx))
		assert.ErrorIs(t, err, context.DeadlineExceeded, "the caller's context ends its waiting")
	})
}

// TestStaleAndSecond: a token that another caller had refreshed is refused too. That
// counts as a second 401, and the next one causes no refresh.
func TestStaleAndSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.token(30 * time.Minute)
		transport := b.Transport(id)
		transport.Base = &api{answers: []answer{bare401}}
		_, err := b.do(transport)
		require.ErrorAs(t, err, new(*ErrUnavailable), "it is too young to tell")
		time.Sleep(youngAge)
		for range 3 {
			_, err := b.do(transport)
			require.ErrorAs(t, err, new(*ErrStillUnauthorized))
		}
		assert.Zero(t, b.backend.refreshes)
	})
}

// TestPausedMeanwhile: what a 401 revealed replaces what memory says.
func TestPausedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.change(func(h *TokenState) { h.Status = words.StatusPaused })
		transport := b.Transport(id)
		transport.Base = &api{answers: []answer{expired}}
		_, err := b.do(transport)
		assert.ErrorAs(t, err, new(*ErrPaused))
		assert.ErrorAs(t, b.fails(), new(*ErrPaused))
	})
}

// TestStaleWrite: the write is not sent again, and the next one causes no refresh.
func TestStaleWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		transport := b.Transport(id)
		transport.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
			b.backend.token(30 * time.Minute) // while the request is in flight
			time.Sleep(time.Minute)
			b.get()
			return &http.Response{StatusCode: 401, Body: http.NoBody, Header: http.Header{}}, nil
		})
		resp, err := (&http.Client{Transport: transport}).Post(createURL, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		synctest.Wait()
		assert.Zero(t, b.backend.refreshes)
		assert.Equal(t, []Refused{{App: "app", Means: resource.UnauthorizedUnclear, Stale: true}}, b.seen.refused)
	})
}

// TestRenewedThenRefused: a 401 is believed even if the token was refreshed just
// before.
func TestRenewedThenRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		time.Sleep(30 * time.Minute)
		assert.EqualValues(t, 2, b.get().Generation)
		transport := b.Transport(id)
		transport.Base = &api{answers: []answer{expired, ok200}}
		status, err := b.do(transport)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.EqualValues(t, 3, b.get().Generation)
	})
}
