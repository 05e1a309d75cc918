package fakeprovider

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/perennial-oauth/perennial/internal/fixtures"
)

// refusal is an error reply before a spelling is applied.
type refusal struct{ code, description string }

var (
	badClient = refusal{"invalid_client", "Client authentication failed."}
	badGrant  = refusal{"invalid_grant", "Token has been expired or revoked."}
	badCode   = refusal{"invalid_grant", "The code has been used or has expired."}
)

// token serves RFC 6749 section 3.2.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if s.play.takesCredentials() {
		s.credentialToken(w, r)
		return
	}
	if s.exchanges(r) {
		s.exchangeAccess(w, r)
		return
	}
	if err := s.readForm(r); err != nil {
		s.refuse(w, r, Knobs{}, refusal{"invalid_request", "The request cannot be read: " + err.Error()})
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, request{s.now(), clientOf(r)})
	s.mu.Unlock()
	client, ok := s.authenticate(r)
	if !ok {
		knobs := s.echoOf(r)
		s.refuse(w, r, knobs, s.wrongClient(r, knobs))
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		s.exchangeCode(w, r, client)
	case "refresh_token":
		s.refreshGrant(w, r, client)
	default:
		s.refuse(w, r, Knobs{}, refusal{"unsupported_grant_type", "The grant type is not supported."})
	}
}

// wrongClient returns the refusal of a request whose client is wrong: of its refresh token
// if that is looked at first and is wrong too.
func (s *Server) wrongClient(r *http.Request, k Knobs) refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.refresh[r.PostForm.Get("refresh_token")]
	switch {
	case k.GrantFirst && (t == nil || t.Dead):
		return badGrant
	case k.ClientSpends && t != nil:
		t.Dead = true
	}
	return badClient
}

// readForm reads a token request and checks its form.
func (s *Server) readForm(r *http.Request) error {
	if s.play == nil {
		return r.ParseForm()
	}
	if err := s.play.readForm(r); err != nil {
		return err
	}
	if s.play.misplaced(r) {
		return errors.New("this is the endpoint for another grant type")
	}
	if name := lacks(r.PostForm, s.play.Entry.RefreshParams); name != "" {
		return errors.New(name + " is missing")
	}
	return nil
}

// echoOf returns the knobs of the client that a request claims to come from.
func (s *Server) echoOf(r *http.Request) Knobs {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[clientOf(r)]; c != nil {
		return c.Knobs
	}
	return Knobs{}
}

// clientOf returns the client id that a request claims, unchecked.
func clientOf(r *http.Request) string {
	id := r.PostForm.Get("client_id")
	if user, _, ok := r.BasicAuth(); ok {
		id, _ = url.QueryUnescape(user) // a bad escape matches no client id
	}
	return id
}

// authenticate checks the client's secret, in the header or in the form (RFC 6749
// section 2.3.1).
func (s *Server) authenticate(r *http.Request) (string, bool) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		id, _ = url.QueryUnescape(user) // a bad escape matches no client id
		secret, _ = url.QueryUnescape(password)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.play != nil {
		var ok bool
		if id, secret, ok = s.play.credentials(r); !ok {
			return "", false
		}
		if id == "" {
			id = s.ownerOf(secret)
		}
		if s.play.public() {
			return id, s.clients[id] != nil
		}
	}
	c := s.clients[id]
	if c == nil {
		return "", false
	}
	for _, want := range c.Secrets {
		if subtle.ConstantTimeCompare([]byte(want), []byte(secret)) == 1 {
			return id, true
		}
	}
	return "", false
}

// refreshGrant serves RFC 6749 section 6, with every knob.
func (s *Server) refreshGrant(w http.ResponseWriter, r *http.Request, client string) {
	presented := r.PostForm.Get("refresh_token")
	s.mu.Lock()
	t := s.refresh[presented]
	if t == nil {
		knobs := s.clients[client].Knobs
		s.mu.Unlock()
		s.refuse(w, r, knobs, badGrant)
		return
	}
	g := s.grants[t.Grant]
	if g.Host != "" && g.Host != r.Host { // another account's endpoint
		s.mu.Unlock()
		s.refuse(w, r, *s.knobsAt(g), badGrant)
		return
	}
	g.InFlight++
	g.MostInFlight = max(g.MostInFlight, g.InFlight)
	defer func() {
		s.mu.Lock()
		g.InFlight--
		s.mu.Unlock()
	}()
	at := s.knobsAt(g)
	before := time.Duration(at.LatencyBeforeMS) * time.Millisecond
	s.mu.Unlock()

	if !pause(r.Context(), before) {
		return // the caller disconnected before the work
	}
	s.mu.Lock()
	at = s.knobsAt(g)
	k := *at
	var act func()
	switch {
	case countdown(&at.DropBefore):
		act = func() { panic(http.ErrAbortHandler) }
	case s.play != nil && s.limited(g) > 0:
		wait := s.limited(g)
		act = func() { s.refuseLimited(w, wait) }
	case countdown(&at.RateLimited):
		act = func() {
			if k.RetryAfter != "" {
				w.Header().Set("Retry-After", k.RetryAfter)
			}
			reply(w, http.StatusTooManyRequests, map[string]string{"error": "rate_limited", "message": "You have reached your limit."})
		}
	case countdown(&at.ServerError):
		act = func() { http.Error(w, "upstream", http.StatusServiceUnavailable) }
	case countdown(&at.HTML):
		act = func() {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html><body>Down for maintenance</body></html>"))
		}
	case countdown(&at.SayRevoked):
		act = func() { s.refuse(w, r, k, badGrant) }
	}
	if act != nil {
		s.mu.Unlock()
		act()
		return
	}
	out, no := s.work(client, presented, t, g, k)
	shown := len(s.presented) - 1
	drop, half, gateway := no == nil && countdown(&at.DropAfter), no == nil && countdown(&at.Truncate), no == nil && countdown(&at.BadGateway)
	saved := s.save()
	s.mu.Unlock()
	switch {
	case saved != nil:
		http.Error(w, saved.Error(), http.StatusInternalServerError)
		return
	case no != nil:
		s.refuse(w, r, k, *no)
		return
	}
	pause(context.Background(), time.Duration(k.LatencyAfterMS)*time.Millisecond)
	if left := r.Context().Err() != nil; left || drop || half || gateway {
		s.mu.Lock()
		p := &s.presented[shown]
		p.Undelivered, p.Left, p.After = true, left, s.now().Sub(p.At)
		s.mu.Unlock()
	}
	switch {
	case drop:
		panic(http.ErrAbortHandler)
	case gateway:
		http.Error(w, "<html>502 Bad Gateway</html>", http.StatusBadGateway)
	case half:
		raw, err := json.Marshal(out)
		if s.play != nil {
			raw = s.play.tokens(fixtures.KindRefreshed, out, g.Account, s.now()).body
		}
		if err == nil {
			_, _ = w.Write(raw[:len(raw)/2])
		}
	default:
		s.answer(w, fixtures.KindRefreshed, out, g.Account)
	}
}

// answer sends a token reply, in the shape of the provider that the server plays.
func (s *Server) answer(w http.ResponseWriter, kind fixtures.Kind, out TokenReply, account string) {
	if s.play == nil {
		reply(w, http.StatusOK, out)
		return
	}
	s.play.tokens(kind, out, account, s.now()).send(w)
}

// work performs the effect of one presentation, once, under the lock.
func (s *Server) work(client, presented string, t *refreshToken, g *grant, k Knobs) (TokenReply, *refusal) {
	now := s.now()
	t.Presented++
	s.presented = append(s.presented, Presentation{Grant: t.Grant, Digest: digest(presented), At: now, AfterConsumed: !t.Consumed.IsZero(), LiveFor: s.liveFor(t)})
	ended := k.IdleSeconds > 0 && now.Sub(g.LastUsed) > time.Duration(k.IdleSeconds)*time.Second ||
		k.HardSeconds > 0 && now.Sub(g.Since) > time.Duration(k.HardSeconds)*time.Second
	if g.Client != client || g.Revoked || t.Dead && t.Reply == nil || ended {
		return TokenReply{}, &badGrant
	}
	if early := time.Duration(k.EarlySeconds) * time.Second; early > 0 && s.liveFor(t) > early {
		return TokenReply{}, &tooEarly
	}
	if !t.Consumed.IsZero() {
		grace := time.Duration(k.GraceSeconds * float64(time.Second))
		next := s.refresh[t.Reply.RefreshToken]
		if grace > 0 && now.Sub(t.Consumed) < grace && next != nil && next.Consumed.IsZero() && !next.Dead {
			if k.GraceNewPair {
				next.Dead = true
				out := s.issue(g, k, "")
				t.Reply = &out
			}
			return *t.Reply, nil
		}
		g.Consumed++
		if k.ReuseRevokes && t.Consent == g.Consent { // each consent is a separate grant (RFC 9700, 4.14.2)
			g.Revoked = true
			s.killTokens(t.Grant)
		}
		return TokenReply{}, &badGrant
	}
	g.Refreshes++
	g.LastUsed = now
	s.exchangedLife(&k)
	if k.KillsAccess {
		for _, a := range s.accessOf[t.Grant] {
			a.Dead = true
		}
	}
	if !k.Rotate || g.Refreshes%max(k.RotateEvery, 1) != 0 {
		out := s.issue(g, k, presented)
		if k.OmitRefresh {
			out.RefreshToken = ""
		}
		return out, nil
	}
	out := s.issue(g, k, "")
	if k.KeepOld {
		return out, nil
	}
	t.Consumed, t.Dead, t.Reply = now, true, &out
	return out, nil
}

// liveFor returns the remaining lifetime of the access tokens that were issued with the
// refresh token. Tokens from its use do not count: their owner also has the newer
// refresh token.
func (s *Server) liveFor(t *refreshToken) time.Duration {
	var longest time.Duration
	for _, a := range s.accessOf[t.Grant] {
		if !a.Dead && (t.Consumed.IsZero() || a.Issued.Before(t.Consumed)) {
			longest = max(longest, a.Expires.Sub(s.now()))
		}
	}
	return longest
}

// pause waits for d; it returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refuse answers in the knobs' spelling: RFC 6749 section 5.2, or that of a real
// provider.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, k Knobs, no refusal) {
	if kind := kindOf(no); s.play != nil && kind != "" {
		s.play.refusal(kind).send(w)
		return
	}
	body := map[string]any{"error": no.code, "error_description": no.description}
	status := http.StatusBadRequest
	if no.code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	if no.code == "invalid_grant" {
		switch k.Spelling {
		case "hubspot":
			body = map[string]any{"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token", "error": "invalid_grant"}
		case "slack":
			status, body = http.StatusOK, map[string]any{"ok": false, "error": "invalid_refresh_token"}
		case "github":
			status, body = http.StatusOK, map[string]any{"error": "bad_refresh_token", "error_description": "The refresh token passed is incorrect or expired."}
		case "atlassian":
			status, body = http.StatusForbidden, map[string]any{"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."}
		}
	}
	if k.Echo {
		body["error_description"] = no.description + " Request was: " + r.PostForm.Encode() + " Authorization: " + r.Header.Get("Authorization")
		body["request"] = r.PostForm
	}
	reply(w, status, body)
}
