package connectui_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
)

// TestTokenNotAcceptedYet: a grant whose token the API does not accept yet is kept and
// stored later. A token that it never accepts ends the session soon.
func TestTokenNotAcceptedYet(t *testing.T) {
	t.Parallel()
	var accepts atomic.Bool
	w := lookUp(t, "sub", func(rw http.ResponseWriter, _ *http.Request) {
		if !accepts.Load() {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(rw, `{"sub":"u1"}`)
	})
	finish := func() {
		w.Exec(t, "UPDATE connect_sessions SET lease_until = NULL")
		_, err := w.Sessions.FinishAll(t.Context(), 10)
		require.NoError(t, err)
	}
	s := w.Link(t, connect.SessionRequest{App: Web})
	p := w.Browser(t).Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, "Almost done", p.Heading())
	finish()
	assert.Equal(t, perennial.ConnectUnfinished, session(t, w, s.ID).Outcome)
	accepts.Store(true)
	finish()
	assert.Equal(t, perennial.ConnectConnected, session(t, w, s.ID).Outcome)

	accepts.Store(false)
	s = w.Link(t, connect.SessionRequest{App: Web})
	w.Browser(t).Go(s.Link.Reveal(), Consent{})
	tries := 0
	for ; session(t, w, s.ID).Outcome == perennial.ConnectUnfinished && tries < 20; tries++ {
		finish()
	}
	assert.Equal(t, perennial.ConnectAccountUnknown, session(t, w, s.ID).Outcome)
	assert.Equal(t, 4, tries, "half a minute of waits")
}
