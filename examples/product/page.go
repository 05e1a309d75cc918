package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"html/template"
	"log"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
)

//go:embed page
var files embed.FS

var settingsPage = template.Must(template.ParseFS(files, "page/settings.html"))

const settingsPath = "/settings/connections"

// logLength is the number of lines of the sync log on the page.
const logLength = 30

// pages registers the page and its forms. Each form leads back to the page, or on to
// Perennial's connect pages.
func (p *product) pages(mux *http.ServeMux) {
	mux.Handle("GET /{$}", http.RedirectHandler(settingsPath, http.StatusSeeOther))
	mux.HandleFunc("GET "+settingsPath, p.show)
	mux.HandleFunc("POST "+settingsPath+"/connect", p.connect)
	mux.HandleFunc("POST "+settingsPath+"/reconnect", p.reconnect)
	mux.HandleFunc("POST "+settingsPath+"/disconnect", p.disconnect)
	mux.HandleFunc("POST "+settingsPath+"/order", p.order)
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "page/style.css") })
}

// customer is the name that the connect page shows as the receiver of the access.
const customer = "Jane's Bikes"

// connect sends the customer to a link for a new connection.
func (p *product) connect(w http.ResponseWriter, r *http.Request) {
	s, verifier, err := p.tokens.ConnectBound(r.Context(), client.ConnectRequest{App: r.PostFormValue("app"), ReturnURL: p.settings, TenantTitle: customer})
	p.follow(w, r, s, verifier, err)
}

// reconnect sends the customer to a link that repairs a connection with one click and
// one consent. The connection keeps its id and settings.
func (p *product) reconnect(w http.ResponseWriter, r *http.Request) {
	s, verifier, err := p.tokens.ReconnectBound(r.Context(), r.PostFormValue("connection"), client.ReconnectRequest{ReturnURL: p.settings, TenantTitle: customer})
	p.follow(w, r, s, verifier, err)
}

// follow redirects to the link at once, and keeps its verifier in the user's session.
func (p *product) follow(w http.ResponseWriter, r *http.Request, s client.ConnectSession, verifier perennial.Secret, err error) {
	if err != nil {
		p.failed(w, r, err)
		return
	}
	p.users.keep(p.users.user(w, r), s.ID, verifier)
	http.Redirect(w, r, s.Link.Reveal(), http.StatusSeeOther)
}

func (p *product) disconnect(w http.ResponseWriter, r *http.Request) {
	if _, err := p.tokens.Disconnect(r.Context(), r.PostFormValue("connection")); err != nil {
		p.failed(w, r, err)
		return
	}
	http.Redirect(w, r, settingsPath, http.StatusSeeOther)
}

// order stands in for the customer's shop, which would enqueue every order like this.
func (p *product) order(w http.ResponseWriter, r *http.Request) {
	if err := p.store.add(r.Context(), "order-"+rand.Text(), r.PostFormValue("connection")); err != nil {
		p.failed(w, r, err)
		return
	}
	p.soon()
	http.Redirect(w, r, settingsPath, http.StatusSeeOther)
}

// failed shows the page with the error, in words for the customer.
func (p *product) failed(w http.ResponseWriter, r *http.Request, err error) {
	log.Printf("%s: %v", r.URL.Path, err)
	status, words := http.StatusInternalServerError, "That did not work. Please try again later."
	var later *client.ErrUnavailable
	var gone *client.ErrNotFound
	switch {
	case errors.As(err, &later):
		status, words = http.StatusServiceUnavailable, "That is not possible at present. Please try again in a minute."
	case errors.As(err, &gone):
		status, words = http.StatusNotFound, "There is no such connection any more."
	}
	p.render(w, r, status, &notice{Text: words, Bad: true})
}

// notice is the result of the customer's last action.
type notice struct {
	Text string
	Bad  bool
}

func (p *product) show(w http.ResponseWriter, r *http.Request) {
	id, query := r.FormValue("connect_session"), r.URL.Query()
	if query.Get("connect_code") != "" {
		if told := p.finish(r.Context(), p.users.user(w, r), query); told != nil {
			p.render(w, r, http.StatusOK, told)
			return
		}
		// The code is used up: the address bar need not keep it.
		http.Redirect(w, r, settingsPath+"?"+url.Values{"connect_session": {id}}.Encode(), http.StatusSeeOther)
		return
	}
	var told *notice
	if id != "" {
		told = p.returned(r.Context(), id)
	}
	p.render(w, r, http.StatusOK, told)
}

// returned reads the result of a consent from Perennial. The browser's URL names it
// too, but anybody can write a URL.
func (p *product) returned(ctx context.Context, id string) *notice {
	s, err := p.tokens.Session(ctx, id)
	if err != nil || s.Outcome == "" {
		return nil // the connections below show the result anyway
	}
	apps, _ := p.perennial.apps(ctx) // on an error the notice has no title
	title := s.App
	for _, a := range apps {
		if a.Name == s.App {
			title = a.Title
		}
	}
	words := perennial.DescribeConnect(s.Outcome, title)
	if s.Outcome == perennial.ConnectConnected {
		return &notice{Text: words.Label + "."}
	}
	return &notice{Text: strings.Join(append([]string{words.Label + ".", words.Detail}, s.MissingScopes...), " "), Bad: s.Outcome != perennial.ConnectUnfinished}
}

// view is the content of the page.
type view struct {
	Notice *notice
	Cards  []card
	Away   bool // Perennial does not answer, so there are no cards
	Log    []line
}

// card shows a connection, or an app that has none.
type card struct {
	App     app
	ID      string // empty: not connected
	Account string
	Words   perennial.StatusText
	Tone    string // good, warn, bad or off
	Status  perennial.Status
	Waiting int // number of syncs that were put aside
}

// line is one line of the sync log.
type line struct {
	entry
	Title any // the provider's title; nil: unknown
	Words string
	Tone  string
}

func (p *product) render(w http.ResponseWriter, r *http.Request, status int, n *notice) {
	v, err := p.view(r.Context())
	if err != nil {
		log.Printf("the page: %v", err)
		http.Error(w, "The page cannot be shown at present.", http.StatusInternalServerError)
		return
	}
	v.Notice = n
	var page bytes.Buffer
	if err := settingsPage.Execute(&page, v); err != nil {
		log.Printf("the page: %v", err)
		http.Error(w, "The page cannot be shown at present.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	// No form-action: Chromium also applies it to the redirect to the connect page.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // fails only if the customer has left
}

// view reads everything anew, so the page never shows an old state.
func (p *product) view(ctx context.Context) (*view, error) {
	v := &view{}
	entries, err := p.store.log(ctx, logLength)
	if err != nil {
		return nil, err
	}
	waiting, err := p.store.waiting(ctx)
	if err != nil {
		return nil, err
	}
	apps, err := p.perennial.apps(ctx)
	var connections []connection
	if err == nil {
		connections, err = p.perennial.connections(ctx)
	}
	if err != nil {
		log.Printf("the page: %v", err)
		v.Away = true
	}
	for _, a := range apps {
		cards := []card{}
		for _, c := range connections {
			if c.App == a.Name {
				cards = append(cards, card{App: a, ID: c.ID, Account: c.Account, Words: c.Words, Tone: tone(c), Status: c.Status, Waiting: waiting[c.ID]})
				p.titles.Store(c.ID, a.Title)
			}
		}
		if len(cards) == 0 {
			cards = append(cards, card{App: a, Words: perennial.StatusText{Label: "Not connected"}, Tone: "off"})
		}
		v.Cards = append(v.Cards, cards...)
	}
	for _, e := range entries {
		title, _ := p.titles.Load(e.Connection)
		v.Log = append(v.Log, lineOf(e, title))
	}
	return v, nil
}

func tone(c connection) string {
	switch {
	case c.Status == perennial.StatusActive && c.Health == perennial.HealthFailing:
		return "warn"
	case c.Status == perennial.StatusActive:
		return "good"
	case c.Status == perennial.StatusReconnectRequired:
		return "bad"
	}
	return "off"
}

// lineWords describes each state of a sync and each event.
var lineWords = map[string]struct{ words, tone string }{
	stateDone:    {"Synced", "good"},
	stateDue:     {"Queued", "off"},
	stateAside:   {"Waiting for the connection", "warn"},
	stateRefused: {"Not synced", "bad"},

	string(perennial.EventConnected):         {"Connected", "good"},
	string(perennial.EventRecovered):         {"Working again: what waited is being synced", "good"},
	string(perennial.EventReconnectRequired): {"Reconnect needed", "bad"},
	string(perennial.EventFailing):           {"Renewals fail at present", "warn"},
	string(perennial.EventExpiringSoon):      {"Reconnect soon", "warn"},
	string(perennial.EventScopesMissing):     {"A permission is missing", "warn"},
	string(perennial.EventScopesRestored):    {"All permissions are there again", "good"},
	string(perennial.EventDisconnected):      {"Disconnected", "off"},
}

func lineOf(e entry, title any) line {
	l := line{entry: e, Title: title, Words: lineWords[e.State].words, Tone: lineWords[e.State].tone}
	if e.State == stateDue && e.Tries > 0 {
		l.Words, l.Tone = "Trying again", "warn"
	}
	if e.What == "" { // an event's words begin with its label
		if e.Note != "" && e.State == string(perennial.EventReconnectRequired) {
			l.Words = e.Note
		}
		l.Note = ""
	}
	return l
}

// Clock formats the time for the log.
func (e entry) Clock() string { return e.At.Format("2 Jan 15:04") }

// Machine formats the time for the datetime attribute.
func (e entry) Machine() string { return e.At.Format(time.RFC3339) }
