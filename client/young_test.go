package client

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestYoungToken: what a 401 to a new token costs, by the token's age.
func TestYoungToken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		age   time.Duration // of the new token when the API refuses it; negative: not known
		sent  int
		young bool
	}{
		"just refreshed":               {0, 3, true},
		"the last moment":              {youngAge - youngWait - 1, 3, true},
		"grows up during the wait":     {youngAge - youngWait, 3, false},
		"the last moment for the wait": {youngAge - 1, 3, false},
		"old enough":                   {youngAge, 2, false},
		"of unknown age":               {-1, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.get()
				b.backend.token(30 * time.Minute) // another caller refreshed it
				b.backend.change(func(h *TokenState) {
					h.RefreshedAt = h.RefreshedAt.Add(-c.age)
					if c.age < 0 {
						h.RefreshedAt = time.Time{}
					}
				})
				a := &api{answers: []answer{bare401}}
				transport := b.Transport(id)
				transport.Base = a
				_, err := b.do(transport)
				assert.Len(t, a.got, c.sent)
				if c.young {
					require.ErrorAs(t, err, new(*ErrUnavailable))
					assert.Contains(t, err.Error(), "cannot use its newest access token now")
				} else {
					require.ErrorAs(t, err, new(*ErrStillUnauthorized))
				}
				assert.Zero(t, a.open, "every body is closed")
				assert.Zero(t, b.backend.refreshes)
			})
		})
	}
}

// TestYoungTokenOfAnother: a request that has the new token of another request's refresh
// waits for the API to know it. Nothing is refreshed again, and what must not be repeated
// is not.
func TestYoungTokenOfAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		transport := b.Transport(id)
		first := &api{answers: []answer{bare401, ok200}}
		transport.Base = first
		_, err := b.do(transport)
		require.NoError(t, err)

		a := &api{answers: []answer{bare401, ok200}}
		transport.Base = a
		status, err := b.do(transport)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.Len(t, a.got, 2)
		assert.Equal(t, a.got[0].Header.Get("Authorization"), a.got[1].Header.Get("Authorization"))

		a = &api{answers: []answer{bare401, ok200}}
		transport.Base = a
		resp, err := (&http.Client{Transport: transport}).Post(createURL, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, 401, resp.StatusCode)
		assert.Len(t, a.got, 1, "a POST is sent once")

		a = &api{answers: []answer{bare401, ok200}}
		transport.Base = a
		transport.BeforeRetry = func(Retry) (bool, error) { return true, nil }
		_, err = b.do(transport)
		require.ErrorAs(t, err, new(*ErrUnavailable))
		assert.Len(t, a.got, 1, "the hook decides about newer tokens only")
		synctest.Wait()
		assert.Equal(t, 1, b.backend.refreshes)
	})
}
