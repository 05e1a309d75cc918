package connectui

import (
	"encoding/base64"
	"net/http"
	"time"

	"github.com/perennial-oauth/perennial"
)

// problemLasts is how long a browser keeps a problem: until the customer has read it.
const problemLasts = 10 * time.Minute

// keepProblem keeps a session's problem for the page to which the callback leads. It is
// in a cookie of this browser, because it is not stored and may have an address in it
// that somebody else wrote: no URL may carry it.
func (h *Handler) keepProblem(w http.ResponseWriter, c perennial.ConnectSession) {
	if c.Problem != "" {
		h.setCookie(w, problemCookie(c.ID), base64.RawURLEncoding.EncodeToString([]byte(c.Problem)), problemLasts)
	}
}

// keptProblem returns what keepProblem kept for an outcome that has a problem.
func (h *Handler) keptProblem(r *http.Request, c perennial.ConnectSession) string {
	if c.Outcome != perennial.ConnectMixedUp && c.Outcome != perennial.ConnectMisconfigured {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(h.cookie(r, problemCookie(c.ID)))
	if err != nil {
		return ""
	}
	return string(raw)
}

func problemCookie(id string) string { return "problem-" + sessionCookie(id) }
