package connectui

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/guard"
	"github.com/perennial-oauth/perennial/internal/unreachable"
)

// Config holds the handler's dependencies and the texts of its pages.
type Config struct {
	Sessions *connect.Sessions
	Product  string       // that asks for access, as customers know it. Defaults to "This service".
	HelpURL  string       // each page links to it; empty: no link
	Log      *slog.Logger // Defaults to discarding.
	// Failures is how many unknown links and states each client address may present in
	// a minute. Further ones get a 429 without a look-up. A known one always passes.
	// Defaults to 60.
	Failures int
}

// Handler serves everything below /connect/. It is safe for concurrent use.
type Handler struct {
	Config
	failures *guard.Failures
	known    *known
	base     *url.URL
	secure   bool // served over https: cookies are bound to this host (RFC 6265bis, __Host-)
	mux      *http.ServeMux
}

//go:embed static/*
var static embed.FS

//go:embed templates/*.html
var templates embed.FS

var pages = template.Must(template.ParseFS(templates, "templates/*.html"))

// maxForm bounds a posted form in bytes: it holds one token.
const maxForm = 4 << 10

// New returns the handler. Mount it at /connect/ of the base URL's host. If the base
// URL has a path, a proxy must remove it.
func New(c Config) (*Handler, error) {
	if c.Product == "" {
		c.Product = "This service"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	base, err := url.Parse(c.Sessions.BaseURL)
	if err != nil {
		return nil, perennial.Errorf(perennial.CodeInvalid, "connect.base_url is not a URL")
	}
	h := &Handler{Config: c, failures: guard.New(cmp.Or(c.Failures, defaultFailures)), known: &known{load: c.Sessions.Digests}, base: base, secure: base.Scheme == "https", mux: http.NewServeMux()}
	files, err := fs.Sub(static, "static")
	if err != nil {
		return nil, fmt.Errorf("open the static files: %w", err)
	}
	h.mux.Handle("GET /connect/static/{file}", http.StripPrefix("/connect/static/", cached(http.FileServerFS(files))))
	h.mux.HandleFunc("GET /connect/callback/{app}", h.callback)
	h.mux.HandleFunc("GET /connect/problem/{code}", h.problem)
	h.mux.HandleFunc("GET /connect/{link}", h.show)
	h.mux.HandleFunc("POST /connect/{link}", h.post)
	h.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { h.render(w, http.StatusNotFound, problems["link"]) })
	return h, nil
}

// pageTimeout bounds one page, so that a customer gets an answer even while the
// database says nothing. It is below the server's own limit for an answer.
const pageTimeout = 40 * time.Second

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer") // the callback's URL has a code in it
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Robots-Tag", "noindex")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Content-Security-Policy", policy+"; script-src 'none'")
	if h.secure {
		header.Set("Strict-Transport-Security", "max-age=31536000")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	h.mux.ServeHTTP(w, r.WithContext(ctx))
}

// policy is the Content-Security-Policy of each page. Forms may only go to our own
// origin: browsers also check every redirect after a form against form-action, and
// nobody knows where a provider redirects. So the way to the provider begins with a
// page.
const policy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		next.ServeHTTP(w, r)
	})
}

// path returns a path of ours as a browser sees it.
func (h *Handler) path(elements ...string) string {
	return strings.TrimSuffix(h.base.Path, "/") + "/connect/" + strings.Join(elements, "/")
}

// show serves a link's page. It changes nothing, because scanners open links too.
func (h *Handler) show(w http.ResponseWriter, r *http.Request) {
	link := perennial.NewSecret(r.PathValue("link"))
	v, ok := h.find(w, r, link)
	if !ok {
		return
	}
	h.render(w, http.StatusOK, h.page(w, r, link, v, false))
}

// find returns the session of a link. If there is nothing to show, it writes the page
// itself.
func (h *Handler) find(w http.ResponseWriter, r *http.Request, link perennial.Secret) (connect.View, bool) {
	if !connect.IsLink(link) {
		h.render(w, http.StatusNotFound, problems["link"])
		return connect.View{}, false
	}
	try, ok := h.admit(w, r, link)
	if !ok {
		return connect.View{}, false
	}
	v, err := h.Sessions.Find(r.Context(), link)
	settle(try, perennial.CodeOf(err) != perennial.CodeNotFound)
	switch {
	case perennial.CodeOf(err) == perennial.CodeNotFound:
		h.render(w, http.StatusNotFound, problems["link"])
	case err != nil:
		h.failed(w, err)
	case !connect.SameBrowser(v.ConnectSession, h.browser(r, v.ID)) && v.Done():
		h.render(w, http.StatusGone, problems["used"])
	case !v.Done() && !v.Open(v.Now) && !goesOn(v.Outcome):
		h.render(w, http.StatusGone, h.expired(v.ConnectSession))
	default:
		v.ConnectSession = connect.WithCode(v.ConnectSession, h.browser(r, v.ID))
		return v, true
	}
	return v, false
}

// post starts the consent, or checks again whether a grant is stored.
func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	link := perennial.NewSecret(r.PathValue("link"))
	v, ok := h.find(w, r, link)
	if !ok {
		return
	}
	if !h.ownForm(r, link) {
		h.render(w, http.StatusForbidden, h.page(w, r, link, v, true))
		return
	}
	switch {
	case v.Done(), v.AwaitsFinish():
		h.render(w, http.StatusOK, h.page(w, r, link, v, false))
	case v.Outcome == perennial.ConnectUnfinished:
		h.finish(w, r, v, link)
	case v.Outcome == perennial.ConnectChooseAccount:
		h.choose(w, r, v, link)
	default:
		h.start(w, r, link)
	}
}

// cookieOutlives is how long a link's cookie lives after the link, so that a customer
// who comes back too late learns why.
const cookieOutlives = time.Hour

func (h *Handler) start(w http.ResponseWriter, r *http.Request, link perennial.Secret) {
	a, err := h.Sessions.Start(r.Context(), link)
	switch {
	case errors.Is(err, connect.ErrExpired):
		h.render(w, http.StatusGone, problems["expired"])
		return
	case perennial.CodeOf(err) == perennial.CodeConflict: // the customer pressed twice: the other press goes on
		http.Redirect(w, r, h.path(link.Reveal()), http.StatusSeeOther)
		return
	case err != nil:
		h.failed(w, err)
		return
	}
	h.setCookie(w, sessionCookie(a.Session.ID), a.Browser.Reveal()+"."+link.Reveal(), a.Life+cookieOutlives)
	w.Header().Set("Refresh", "0; url="+a.URL)
	h.render(w, http.StatusOK, content{Heading: "Taking you to " + a.Title, Detail: "If nothing happens, use the button.", Onward: a.URL, OnwardLabel: "Continue to " + a.Title})
}

// goesOn reports whether a session with this outcome has a grant that waits to be stored,
// also after the link has expired.
func goesOn(o perennial.ConnectOutcome) bool {
	return o == perennial.ConnectUnfinished || o == perennial.ConnectChooseAccount || o == perennial.ConnectAwaitingFinish
}

// finish checks again whether a grant is stored. The answer to a form does not redirect
// to the product: see [policy].
func (h *Handler) finish(w http.ResponseWriter, r *http.Request, v connect.View, link perennial.Secret) {
	c, err := h.Sessions.Finish(r.Context(), v.ID)
	if err != nil {
		h.failed(w, err)
		return
	}
	h.finished(w, r, v, c, link)
}

// finished answers a form with which a grant went on: c is the session now.
func (h *Handler) finished(w http.ResponseWriter, r *http.Request, v connect.View, c perennial.ConnectSession, link perennial.Secret) {
	c = connect.WithCode(c, h.browser(r, c.ID))
	back := h.Sessions.BackURL(c)
	if !leaves(c) || c.Mode != perennial.ConnectPage || back == "" || !connect.SameBrowser(c, h.browser(r, c.ID)) {
		http.Redirect(w, r, h.path(link.Reveal()), http.StatusSeeOther)
		return
	}
	v.ConnectSession = c
	w.Header().Set("Refresh", "0; url="+back)
	h.render(w, http.StatusOK, h.outcome(v))
}

// callback serves an app's redirect URI. It shows nothing itself: its URL has a code in
// it, so the browser leaves it at once.
func (h *Handler) callback(w http.ResponseWriter, r *http.Request) {
	try, ok := h.admit(w, r, perennial.NewSecret(r.URL.Query().Get("state")))
	if !ok {
		return
	}
	c, err := h.Sessions.Answer(r.Context(), r.PathValue("app"), r.URL.Query(), func(id string) perennial.Secret { return h.browser(r, id) })
	if errors.Is(err, connect.ErrStateUnknown) && !r.URL.Query().Has("code") {
		c, err = h.Sessions.Cancelled(r.Context(), r.PathValue("app"), r.URL.Query(), h.begun(r))
	}
	settle(try, !errors.Is(err, connect.ErrStateUnknown))
	link := h.link(r, c.ID)
	code := ""
	switch {
	case err == nil, errors.Is(err, connect.ErrAnswered):
		h.onward(w, r, c, link)
		return
	case errors.Is(err, connect.ErrStateUnknown):
		code = "state"
		if q := r.URL.Query(); q.Get("state") == "" && q.Get("code") == "" {
			code = "cancelled"
		}
	case errors.Is(err, connect.ErrOtherBrowser):
		code = "browser"
	case errors.Is(err, connect.ErrExpired):
		code = "expired"
	default:
		h.Log.Error("authorization response not taken", "session_id", c.ID, "error", err)
		code = "ours"
	}
	http.Redirect(w, r, h.path("problem", code), http.StatusSeeOther)
}

// leaves reports whether the customer has nothing left to do here: the grant is stored, or
// the browser takes the code to the product.
func leaves(c perennial.ConnectSession) bool { return c.Done() || !c.FinishCode.IsZero() }

// onward leaves the callback: for the product if all is well, otherwise for the link's
// page, which shows the outcome.
func (h *Handler) onward(w http.ResponseWriter, r *http.Request, c perennial.ConnectSession, link perennial.Secret) {
	h.keepProblem(w, c)
	c = connect.WithCode(c, h.browser(r, c.ID))
	target := h.path(link.Reveal())
	if back := h.Sessions.BackURL(c); leaves(c) && c.Mode == perennial.ConnectPage && back != "" {
		target = back
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

func (h *Handler) problem(w http.ResponseWriter, r *http.Request) {
	p, ok := problems[r.PathValue("code")]
	status := http.StatusBadRequest
	if !ok {
		p, status = problems["link"], http.StatusNotFound
	}
	h.render(w, status, p)
}

// failed shows that the fault is ours.
func (h *Handler) failed(w http.ResponseWriter, err error) {
	h.Log.Error("connect page not served", "error", err)
	status := http.StatusInternalServerError
	if unreachable.Is(err) {
		status = http.StatusServiceUnavailable
	}
	h.render(w, status, problems["ours"])
}

// render writes a page. It renders the whole page first, so that no half page is sent.
func (h *Handler) render(w http.ResponseWriter, status int, c content) {
	c.Product, c.HelpURL, c.Static = h.Product, h.HelpURL, h.path("static")
	var page bytes.Buffer
	if err := pages.ExecuteTemplate(&page, "page.html", c); err != nil {
		h.Log.Error("connect page not made", "error", err)
		http.Error(w, "Something went wrong on our side.", http.StatusInternalServerError)
		return
	}
	if c.Message != nil {
		w.Header().Set("Content-Security-Policy", policy+"; script-src 'self'")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // an error means that the customer has left
}
