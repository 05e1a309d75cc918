package browser

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/store"
)

// users is a product whose users connect accounts. A cookie says who is signed in.
type users struct {
	t  *testing.T
	w  *connecttest.World
	at string

	mu        sync.Mutex
	verifiers map[string]perennial.Secret // by user and connect session
}

// start makes a link for the signed-in user, and leads to it.
func (p *users) start(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	verifier := perennial.NewSecret("the-verifier-of-" + user + "-0123456789-0123456789")
	s := p.w.Link(p.t, connect.SessionRequest{Challenge: connect.Challenge(verifier), ReturnURL: p.at + "/settings"})
	p.mu.Lock()
	p.verifiers[user+s.ID] = verifier
	p.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "user", Value: user, Path: "/"})
	fmt.Fprintf(w, `<!doctype html><h1>Settings of %s</h1><a href="%s">Connect</a>`, html.EscapeString(user), s.Link.Reveal())
}

// back finishes, as the signed-in user.
func (p *users) back(w http.ResponseWriter, r *http.Request) {
	user := ""
	if c, err := r.Cookie("user"); err == nil {
		user = c.Value
	}
	id := r.FormValue("connect_session")
	p.mu.Lock()
	verifier := p.verifiers[user+id]
	p.mu.Unlock()
	c, err := p.w.Sessions.FinishBound(r.Context(), perennial.WorkerAccess(), connect.FinishRequest{ID: id, Code: perennial.NewSecret(r.FormValue("connect_code")), Verifier: verifier})
	says := string(c.Outcome)
	if perennial.CodeOf(err) == perennial.CodeOtherUser {
		says = "Somebody else started this"
	} else {
		assert.NoError(p.t, err)
	}
	fmt.Fprintf(w, `<!doctype html><h1>%s</h1>`, html.EscapeString(says))
}

// TestTwoUsers: the first user sends his link to the second, who allows access to an
// account of her own. Nothing is stored, and the product says why.
func TestTwoUsers(t *testing.T) {
	w := connecttest.New(t, nil)
	p := &users{t: t, w: w, verifiers: map[string]perennial.Secret{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /start", p.start)
	mux.HandleFunc("GET /settings", p.back)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.at = server.URL
	w.Sessions.ReturnURLs = append(w.Sessions.ReturnURLs, p.at+"/settings")
	stored := func() []perennial.Connection {
		all, err := w.Store.List(t.Context(), perennial.WorkerAccess(), store.Filter{})
		require.NoError(t, err)
		return all
	}

	first := open(t, w, chromium(t))
	second := open(t, w, first.ctx, chromedp.WithNewBrowserContext())
	first.navigate(p.at + "/start?user=first")
	link := get(first, chromedp.Evaluate[string](`document.querySelector("a").href`))
	second.navigate(p.at + "/start?user=second")
	second.navigate(link)
	second.heading("Connect Acme CRM")
	second.click("button")
	second.consent("62515", "", "allow")
	second.heading("Somebody else started this")
	assert.Empty(t, stored())

	first.navigate(link)
	first.heading("This sign-in began in another browser")
	first.show("15-bound-elsewhere")
	first.navigate(p.at + "/start?user=first")
	first.click("a")
	first.heading("Connect Acme CRM")
	first.click("button")
	first.consent("4711", "", "allow")
	first.heading("connected")
	all := stored()
	require.Len(t, all, 1)
	assert.Equal(t, "4711", all[0].AccountID)
	first.quiet("all of it")
	second.quiet("all of it")
}
