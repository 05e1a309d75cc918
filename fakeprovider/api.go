package fakeprovider

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/provider"
)

// api is a protected resource that answers like HubSpot's: 401 with the category
// EXPIRED_AUTHENTICATION for an expired token. It records every write.
func (s *Server) api(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[token]
	now := s.now()
	switch {
	case !ok || t == nil || t.Dead || s.grants[t.Grant].Revoked:
		deny(w, "The access token is not valid.", "INVALID_AUTHENTICATION")
	case !now.Before(t.Expires):
		deny(w, fmt.Sprintf("The OAuth token used to make this call expired %s ago.", ago(now.Sub(t.Expires))), "EXPIRED_AUTHENTICATION")
	case strings.HasPrefix(r.URL.Path, "/api/forbidden"):
		reply(w, http.StatusForbidden, map[string]string{"status": "error", "message": "This app lacks a scope.", "category": "MISSING_SCOPES"})
	default:
		g := s.grants[t.Grant]
		if r.Method != http.MethodGet {
			g.write(r)
			if countdown(&s.knobsAt(g).WriteDropAfter) {
				panic(http.ErrAbortHandler)
			}
		}
		reply(w, http.StatusOK, map[string]any{"account": g.Account, "path": r.URL.Path})
	}
}

// write performs a write once for each Idempotency-Key: a repetition gets the first
// answer (draft-ietf-httpapi-idempotency-key-header).
func (g *grant) write(r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	what := r.Method + " " + r.URL.Path + " " + key
	if key != "" && slices.Contains(g.Writes, what) {
		g.Repeats++
		return
	}
	g.Writes = append(g.Writes, what)
}

// ago words a duration as HubSpot does: seconds under a minute, else minutes.
func ago(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d second(s)", int(d.Seconds()))
	}
	return fmt.Sprintf("%d minute(s)", int(d.Minutes()))
}

func deny(w http.ResponseWriter, message, category string) {
	reply(w, http.StatusUnauthorized, map[string]string{"status": "error", "message": message, "category": category})
}

// introspect serves RFC 7662.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form cannot be read.", http.StatusBadRequest)
		return
	}
	client, ok := s.authenticate(r)
	if !ok {
		s.refuse(w, r, Knobs{}, badClient)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if countdown(&s.clients[client].Knobs.InfoError) {
		http.Error(w, "upstream", http.StatusServiceUnavailable)
		return
	}
	token := r.PostForm.Get("token")
	if t := s.access[token]; t != nil && !t.Dead && s.now().Before(t.Expires) && s.grants[t.Grant].Client == client {
		var body any = map[string]any{"active": true, "exp": t.Expires.Unix(), "username": s.grants[t.Grant].Account, "client_id": client,
			"scope": strings.Join(s.grants[t.Grant].Scopes, " ")}
		if s.play != nil && s.play.Entry.Account.From == provider.AccountFromIntrospection {
			body = set(body, split(s.play.Entry.Account.Name), s.grants[t.Grant].Account)
		}
		reply(w, http.StatusOK, body)
		return
	}
	if t := s.refresh[token]; t != nil && !t.Dead && s.grants[t.Grant].Client == client {
		reply(w, http.StatusOK, map[string]any{"active": true, "username": s.grants[t.Grant].Account, "client_id": client})
		return
	}
	reply(w, http.StatusOK, map[string]any{"active": false})
}

// userinfo serves OpenID Connect Core section 5.3: the account is the subject.
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[token]
	switch {
	case t == nil || t.Dead || s.grants[t.Grant].Revoked || !s.now().Before(t.Expires):
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
	case countdown(&s.clients[s.grants[t.Grant].Client].Knobs.InfoError):
		http.Error(w, "upstream", http.StatusServiceUnavailable)
	default:
		reply(w, http.StatusOK, map[string]string{"sub": s.grants[t.Grant].Account})
	}
}

// revoke serves RFC 7009: an unknown token is a success too.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form cannot be read.", http.StatusBadRequest)
		return
	}
	client, ok := s.authenticate(r)
	if !ok {
		s.refuse(w, r, Knobs{}, badClient)
		return
	}
	s.mu.Lock()
	key := ""
	if t := s.refresh[r.PostForm.Get("token")]; t != nil {
		key = t.Grant
	} else if t := s.access[r.PostForm.Get("token")]; t != nil {
		key = t.Grant
	}
	g := s.grants[key]
	s.mu.Unlock()
	if g != nil && g.Client == client {
		if err := s.Revoke(g.Client, g.Account); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.WriteHeader(http.StatusOK)
}
