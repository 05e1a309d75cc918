package fakeprovider

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
)

// exchangeCode serves RFC 6749 section 4.1.3 with PKCE (RFC 7636). Presenting a code
// twice ends the tokens that it gave (section 4.1.2).
func (s *Server) exchangeCode(w http.ResponseWriter, r *http.Request, client string) {
	s.mu.Lock()
	if countdown(&s.clients[client].Knobs.ExchangeError) {
		s.mu.Unlock()
		http.Error(w, "upstream", http.StatusServiceUnavailable)
		return
	}
	knobs := s.clients[client].Knobs
	c := s.codes[r.PostForm.Get("code")]
	var no *refusal
	switch {
	case c == nil || c.Client != client || s.now().After(c.Expires):
		no = &badCode
	case c.Used:
		s.killTokens(grantKey(client, c.Account))
		no = &badCode
	case c.Host != "" && c.Host != r.Host:
		no = &badCode
	case c.RedirectURI != r.PostForm.Get("redirect_uri"):
		no = &refusal{"invalid_grant", "The redirect URI is another one."}
	case c.Challenge != "" && challenge(r.PostForm.Get("code_verifier")) != c.Challenge:
		c.Used = true
		no = &refusal{"invalid_grant", "The code verifier is wrong."}
	default:
		c.Used = true
	}
	s.mu.Unlock()
	if no != nil {
		s.refuse(w, r, s.echoOf(r), *no)
		return
	}
	out, err := s.Grant(client, c.Account, c.Scopes...)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if knobs.OmitScope {
		out.Scope = ""
	}
	if knobs.HubSpot {
		out.HubID, out.Scopes, out.Scope = c.Account, c.Scopes, ""
	}
	if knobs.OmitRefresh {
		out.RefreshToken = ""
	}
	if slices.Contains(c.Scopes, "openid") {
		out.IDToken = s.idToken(client, c.Account)
	}
	s.mu.Lock()
	s.grants[grantKey(client, c.Account)].Host = s.hostOf(r)
	s.mu.Unlock()
	s.answer(w, fixtures.KindExchange, out, c.Account)
}

// idToken returns an ID token (OpenID Connect Core section 2) without a signature:
// clients read it only from the token endpoint.
func (s *Server) idToken(client, account string) string {
	part := func(v any) string {
		raw, _ := json.Marshal(v) // strings always marshal
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	var claims any = map[string]any{"iss": s.issuerOf(), "aud": client, "sub": account}
	if s.play != nil && s.play.Entry.Account.From == provider.AccountFromIDToken {
		claims = set(claims, split(s.play.Entry.Account.Name), account)
	}
	return part(map[string]string{"alg": "none"}) + "." + part(claims) + "."
}

// challenge computes the S256 method of RFC 7636 section 4.2.
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
