package fakeprovider

import (
	"net/http"
	"strings"
)

// account serves one account's data to a token of that account, as QuickBooks serves
// /v3/company/{account}: 403 to a token of another account.
func (s *Server) account(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[token]
	switch {
	case t == nil || t.Dead || s.grants[t.Grant].Revoked || !s.now().Before(t.Expires):
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
	case s.grants[t.Grant].Account != r.PathValue("account"):
		reply(w, http.StatusForbidden, map[string]string{"error": "not_authorized"})
	default:
		reply(w, http.StatusOK, map[string]string{"id": s.grants[t.Grant].Account})
	}
}

// Accepts reports whether an access token is good now.
func (s *Server) Accepts(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[token]
	return t != nil && !t.Dead && !s.grants[t.Grant].Revoked && s.now().Before(t.Expires)
}
