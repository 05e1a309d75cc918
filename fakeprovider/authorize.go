package fakeprovider

import (
	"cmp"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// code is an authorization code (RFC 6749 section 4.1.2).
type code struct {
	Client, Account, RedirectURI, Challenge string
	Host                                    string // of the account's own endpoints, if the consent says it
	Scopes                                  []string
	Expires                                 time.Time
	Used                                    bool
}

var consent = template.Must(template.New("consent").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Allow access</title>
<style>body{font:16px/1.5 system-ui,sans-serif;background:#f4f5f7;margin:0;display:grid;place-items:center;min-height:100vh}
main{background:#fff;border:1px solid #dfe1e6;border-radius:8px;padding:2rem;max-width:24rem;margin:1rem}
button{font:inherit;padding:.6rem 1rem;border-radius:6px;border:1px solid #b3bac5;background:#fff;cursor:pointer}
button.yes{background:#0b5fff;border-color:#0b5fff;color:#fff}input[type=text]{font:inherit;padding:.4rem;width:100%;box-sizing:border-box;margin:.3rem 0 1rem}ul{list-style:none;padding:0}</style></head>
<body><main><h1>Allow access?</h1><p><b>{{.Client}}</b> asks for {{if .Scopes}}these permissions.{{else}}basic access.{{end}}</p>
<form method="post" action="/authorize?{{.Query}}"><input type="hidden" name="shown" value="yes"><ul>{{range .Scopes}}<li><label><input type="checkbox" name="scope" value="{{.}}" checked> {{.}}</label></li>{{end}}</ul>
<label>Account <input type="text" name="account" value="{{.Account}}" required></label>
<button class="yes" name="answer" value="allow">Allow</button> <button name="answer" value="deny">Deny</button></form></main></body></html>`))

// redirectTarget checks the client and the redirect URI. Unless both match exactly, it
// redirects nowhere (RFC 9700 section 4.1).
func (s *Server) redirectTarget(w http.ResponseWriter, q url.Values) (*url.URL, bool) {
	s.mu.Lock()
	c := s.clients[q.Get("client_id")]
	known := c != nil && slices.Contains(c.RedirectURIs, q.Get("redirect_uri"))
	s.mu.Unlock()
	if name := lacks(q, s.wantsFrom()); name != "" {
		http.Error(w, "The request needs another "+name+".", http.StatusBadRequest)
		return nil, false
	}
	target, err := url.Parse(q.Get("redirect_uri"))
	if !known || err != nil || q.Get("response_type") != "code" {
		http.Error(w, "The client, its redirect URI or the response type is not known here.", http.StatusBadRequest)
		return nil, false
	}
	return target, true
}

func (s *Server) authorizePage(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	target, ok := s.redirectTarget(w, q)
	if !ok {
		return
	}
	if refusal := s.authError(q.Get("client_id")); refusal != "" {
		s.back(w, r, target, url.Values{"state": {q.Get("state")}, "error": {refusal}})
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	account := q.Get("login_hint")
	if account == "" {
		account = "account-1"
	}
	_ = consent.Execute(w, map[string]any{"Client": q.Get("client_id"), "Scopes": s.scopesOf(q), "Query": template.URL(q.Encode()), "Account": account})
}

func (s *Server) authorizeAnswer(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	target, ok := s.redirectTarget(w, q)
	if !ok {
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form cannot be read.", http.StatusBadRequest)
		return
	}
	back := url.Values{}
	if state := q.Get("state"); state != "" {
		back.Set("state", state)
	}
	switch {
	case r.PostForm.Get("answer") != "allow":
		back.Set("error", "access_denied")
	case q.Has("code_challenge") && q.Get("code_challenge_method") != "S256":
		back.Set("error", "invalid_request")
	default:
		scopes := s.scopesOf(q)
		if r.PostForm.Has("shown") { // the scopes that the user left selected
			scopes = slices.DeleteFunc(scopes, func(scope string) bool { return !slices.Contains(r.PostForm["scope"], scope) })
		}
		host := s.consentHost(r)
		if name := s.hostName(); name != "" {
			host = cmp.Or(r.PostForm.Get("host"), host)
			back.Set(name, "https://"+host)
		}
		value := newToken("fac_")
		s.mu.Lock()
		s.codes[value] = &code{Client: q.Get("client_id"), Account: r.PostForm.Get("account"), RedirectURI: q.Get("redirect_uri"),
			Host: host, Challenge: q.Get("code_challenge"), Scopes: scopes, Expires: s.now().Add(time.Minute)}
		s.mu.Unlock()
		back.Set("code", value)
		if name := s.callbackName(); name != "" {
			back.Set(name, r.PostForm.Get("account"))
		}
	}
	s.back(w, r, target, back)
}

// hostOf returns the host of an account's own endpoints, "" if all accounts have the
// same.
func (s *Server) hostOf(r *http.Request) string {
	if s.play != nil && s.play.Entry.HostNeeded() {
		return r.Host
	}
	return ""
}

// consentHost returns the host at which a consent is given, "" if all accounts have the
// same.
func (s *Server) consentHost(r *http.Request) string {
	if s.play != nil && strings.Contains(s.play.Entry.AuthURL, "{host}") {
		return r.Host
	}
	return ""
}

// authError returns the error with which the client's knobs make the authorization
// endpoint answer, without showing a consent page.
func (s *Server) authError(client string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[client].Knobs.AuthError
}

// back redirects the browser to the client with an authorization response.
func (s *Server) back(w http.ResponseWriter, r *http.Request, target *url.URL, response url.Values) {
	if issuer := s.issuerOf(); issuer != "" {
		response.Set("iss", issuer) // RFC 9207
	}
	q := target.Query()
	for name := range response {
		q.Set(name, response.Get(name))
	}
	target.RawQuery = q.Encode()
	http.Redirect(w, r, target.String(), http.StatusSeeOther)
}
