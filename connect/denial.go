package connect

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
)

// ownErrorNames are the parameters in which providers name the error of an authorization
// response that has no error (RFC 6749 section 4.1.2.1). They count only without a code.
var ownErrorNames = []string{"error_code", "error_reason", "errorCode", "denied"}

// refusalIn returns the outcome of an authorization response without a usable code, "" if
// it has one. Its descriptions are never shown, because anybody can make such a URL.
func refusalIn(response url.Values) perennial.ConnectOutcome {
	if response.Has("error") {
		return refusal(response.Get("error"))
	}
	if response.Get("code") != "" {
		return ""
	}
	for _, name := range ownErrorNames {
		if response.Has(name) {
			return refusal(response.Get(name))
		}
	}
	return perennial.ConnectDenied // the customer came back with nothing
}

// refusal returns the outcome of an error response (RFC 6749 section 4.1.2.1).
func refusal(code string) perennial.ConnectOutcome {
	switch strings.ToLower(strings.TrimSpace(code)) {
	case "server_error", "temporarily_unavailable":
		return perennial.ConnectProviderDown
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_client":
		return perennial.ConnectMisconfigured
	default: // access_denied in any spelling, a code of OpenID Connect, or one of the provider's: the user did not complete the consent
		return perennial.ConnectDenied
	}
}

// Begun is what a browser has of a session: the link, and the secret of its request for
// consent.
type Begun struct{ Link, Browser perennial.Secret }

// maxBegun bounds the sessions of a browser that are looked up.
const maxBegun = 10

// Cancelled takes an authorization response that has neither a code nor a state: some
// providers send a customer back so who said no. begun are the sessions of the browser.
// Cancelled writes the refusal into the newest of the app's that still waits for a
// response, and returns it. It returns [ErrStateUnknown] if there is none, or if the
// response is another.
//
// Anybody can make such a response, so it ends nothing: the state stays good, and the
// provider's own response still counts.
func (s *Sessions) Cancelled(ctx context.Context, app string, response url.Values, begun []Begun) (perennial.ConnectSession, error) {
	if response.Get("state") != "" || response.Get("code") != "" {
		return perennial.ConnectSession{}, ErrStateUnknown
	}
	newest, err := s.newestBegun(ctx, app, begun)
	if err != nil {
		return newest, err
	}
	newest.Outcome = refusalIn(response)
	s.Service.Log.Info("authorization response without a state", "session_id", newest.ID, "app", app, "outcome", string(newest.Outcome))
	if err := s.Store.NoteRefusal(ctx, newest.ID, newest.Starts, newest.Outcome); perennial.CodeOf(err) == perennial.CodeConflict {
		return newest, ErrAnswered
	} else if err != nil {
		return newest, err
	}
	return newest, nil
}

// newestBegun returns the newest session of an app that this browser began and that waits
// for a response.
func (s *Sessions) newestBegun(ctx context.Context, app string, begun []Begun) (perennial.ConnectSession, error) {
	var newest perennial.ConnectSession
	for _, b := range begun[:min(len(begun), maxBegun)] {
		if !IsLink(b.Link) {
			continue
		}
		c, now, err := s.Store.ByLink(ctx, b.Link.Digest())
		switch {
		case perennial.CodeOf(err) == perennial.CodeNotFound:
		case err != nil:
			return newest, err
		case c.App == app && SameBrowser(c, b.Browser) && waits(c, now) && (newest.ID == "" || c.CreatedAt.After(newest.CreatedAt)):
			newest = c
		}
	}
	if newest.ID == "" {
		return newest, ErrStateUnknown
	}
	return newest, nil
}

// waits reports whether a session's newest request still waits for its response.
func waits(c perennial.ConnectSession, now time.Time) bool {
	return c.Open(now) && c.AnsweredAt.IsZero()
}
