package fakeprovider

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
)

// withoutRefreshTokens reports whether the provider gives no refresh tokens. An access
// token then is what its server looks up as one.
func (s *Server) withoutRefreshTokens() bool {
	return s.play != nil && s.play.Entry.Renewal != provider.RenewalRefreshToken
}

// exchanges reports whether a request is for the successor of an access token.
func (s *Server) exchanges(r *http.Request) bool {
	return s.play != nil && s.play.Entry.Renewal == provider.RenewalAccessToken && (r.Method == http.MethodGet || r.URL.Path != "/token")
}

// exchangeAccess serves a request that presents an access token for its successor: at the
// address, by the method and with the members that the provider wants, and no others.
func (s *Server) exchangeAccess(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.refuse(w, r, Knobs{}, refusal{"invalid_request", "The request cannot be read."})
		return
	}
	form, e := r.Form, s.play.Entry
	want, path := e.Exchange, "/exchange"
	s.mu.Lock()
	t := s.refresh[form.Get(want.Parameter)]
	if first := s.refresh[form.Get(e.FirstExchange.Parameter)]; e.FirstExchange.URL != "" && first != nil && first.First {
		t, want, path = first, e.FirstExchange, "/first-exchange"
	}
	client := form.Get("client_id")
	if t != nil && !slices.Contains(want.Client, "client_id") {
		client = s.grants[t.Grant].Client
	}
	s.requests = append(s.requests, request{s.now(), client})
	known := s.clients[client]
	s.mu.Unlock()
	if e.Exchange.URL == e.TokenURL {
		path = "/token"
	}
	members := []string{"grant_type", want.Parameter}
	members = append(members, want.Client...)
	slices.Sort(members)
	method := want.Method
	if method == "" {
		method = http.MethodPost
	}
	switch {
	case t == nil:
		s.refuse(w, r, Knobs{}, badGrant)
	case r.URL.Path != path, r.Method != method, form.Get("grant_type") != want.GrantType, !slices.Equal(names(form), members):
		s.refuse(w, r, Knobs{}, refusal{"invalid_request", "The request is another one."})
	case known == nil, slices.Contains(want.Client, "client_secret") && !slices.Contains(known.Secrets, form.Get("client_secret")):
		s.refuse(w, r, Knobs{}, badClient)
	default:
		r.PostForm = url.Values{"refresh_token": {form.Get(want.Parameter)}}
		s.refreshGrant(w, r, client)
	}
}

func names(form url.Values) (out []string) {
	for name := range form {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// exchangedLife sets the life of an exchanged access token, which is that of the sources'
// sample, unless somebody has changed the knob.
func (s *Server) exchangedLife(k *Knobs) {
	if s.play == nil || s.play.Entry.Renewal != provider.RenewalAccessToken || k.LifetimeSeconds != s.play.Knobs().LifetimeSeconds {
		return
	}
	if r, ok := s.play.File.First(fixtures.KindRefreshed); ok && r.Lifetime != "" {
		k.LifetimeSeconds = provider.Span(r.Lifetime).Duration().Seconds()
	}
}

// unending is the life of an access token that ends only when it is revoked.
const unending = 100 * 365 * 24 * time.Hour
