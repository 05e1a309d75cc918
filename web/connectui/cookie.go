package connectui

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
)

// formCookie holds the key of a form's token. It lives as long as the browser runs.
const formCookie = "connect-form"

// sessionPrefix begins the names of the cookies of sessions.
const sessionPrefix = "connect-"

// sessionCookie returns the name of the cookie that binds a session's state to one
// browser. Each session has its own, so that two tabs do not disturb each other.
func sessionCookie(id string) string {
	sum := sha256.Sum256([]byte(id))
	return sessionPrefix + hex.EncodeToString(sum[:8])
}

// cookieName adds the prefix that makes browsers accept a cookie only from this host
// and only over https, so that no other host of the domain can plant one.
func (h *Handler) cookieName(name string) string {
	if h.secure {
		return "__Host-" + name
	}
	return name // http is only for this machine
}

func (h *Handler) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: h.cookieName(name), Value: value, Path: "/", MaxAge: int(life / time.Second), Secure: h.secure, HttpOnly: true,
		SameSite: http.SameSiteLaxMode}) // Lax, because the provider sends the browser back
}

func (h *Handler) cookie(r *http.Request, name string) string {
	c, err := r.Cookie(h.cookieName(name))
	if err != nil {
		return ""
	}
	return c.Value
}

// browser returns the secret that the browser presents for a session.
func (h *Handler) browser(r *http.Request, id string) perennial.Secret {
	secret, _, _ := strings.Cut(h.cookie(r, sessionCookie(id)), ".")
	return perennial.NewSecret(secret)
}

// link returns the token of the session's link, which is not in the callback's URL.
func (h *Handler) link(r *http.Request, id string) perennial.Secret {
	_, link, _ := strings.Cut(h.cookie(r, sessionCookie(id)), ".")
	return perennial.NewSecret(link)
}

// begun returns what the browser has of all sessions that it began.
func (h *Handler) begun(r *http.Request) []connect.Begun {
	var out []connect.Begun
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, h.cookieName(sessionPrefix)) {
			continue
		}
		if secret, link, ok := strings.Cut(c.Value, "."); ok {
			out = append(out, connect.Begun{Link: perennial.NewSecret(link), Browser: perennial.NewSecret(secret)})
		}
	}
	return out
}

// formToken returns the token that the form of a link's page must send back, bound to
// this browser and this link. It sets the cookie if it is missing.
func (h *Handler) formToken(w http.ResponseWriter, r *http.Request, link perennial.Secret) string {
	key := h.cookie(r, formCookie)
	if len(key) < 32 {
		var raw [32]byte
		_, _ = rand.Read(raw[:]) // it never fails: crypto/rand ends the program instead
		key = base64.RawURLEncoding.EncodeToString(raw[:])
		h.setCookie(w, formCookie, key, 0)
	}
	return tokenOf(key, link)
}

func tokenOf(key string, link perennial.Secret) string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write([]byte(link.Digest())) // it never fails, see hash.Hash
	return hex.EncodeToString(mac.Sum(nil))
}

// ownForm reports whether our own page in this browser sent the form. Otherwise another
// site could start a consent, and a provider that does not ask twice would connect the
// customer's account without a click of theirs.
func (h *Handler) ownForm(r *http.Request, link perennial.Secret) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return false
	}
	key := h.cookie(r, formCookie)
	return len(key) >= 32 && hmac.Equal([]byte(r.PostFormValue("form")), []byte(tokenOf(key, link)))
}
