package connecttest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/web/connectui"
	"golang.org/x/oauth2"
)

// The apps of every world. Each has a client of its own.
const (
	CRM   = "crm"   // account id by introspection
	Books = "books" // account id in a parameter of the callback
	Login = "login" // account id in an ID token; the callback always has its issuer
	Web   = "web"   // account id from userinfo; its client secret is being rotated
	Hub   = "hub"   // the catalogue's HubSpot: account id in the token reply
)

// Tenant has the connections that the tests make.
const Tenant = "t1"

// ClientSecret must appear nowhere; tests search for it.
const ClientSecret = "PLANTED-client-secret-0123456789"

// World belongs to one test.
type World struct {
	DB          *db.DB
	Store       *store.Store
	SessionRows *connect.SessionStore
	Service     *connect.Service
	Sessions    *connect.Sessions
	Provider    *fakeprovider.Server // serves every app but Login
	Issuer      *fakeprovider.Server // serves Login
	Signals     *Signals
	Logs        *Logs

	Foreign *sql.DB          // the database as another program opens it
	URL     string           // address of the pages
	Server  *httptest.Server // serves the pages
	Product *httptest.Server // where customers return to
}

// Signals records the signals to workflows.
type Signals struct {
	mu   sync.Mutex
	all  []string
	Fail error // returned by Signal instead of recording
}

// Signal implements connect.Workflows.
func (t *Signals) Signal(_ context.Context, c perennial.Connection, signal string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Fail != nil {
		return t.Fail
	}
	t.all = append(t.all, c.ID+" "+signal)
	return nil
}

// All returns them in order: "con_1 reconnected".
func (t *Signals) All() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.all...)
}

// Logs keeps what is logged. It is safe for concurrent use.
type Logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns all of it.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

type apps map[string]provider.App

func (a apps) App(name string) (provider.App, error) {
	app, ok := a[name]
	if !ok {
		return app, perennial.Errorf(perennial.CodeNotFound, "there is no app %q", name)
	}
	return app, nil
}

// New returns a world on a PostgreSQL database of its own. If between is not nil, the
// sessions use what it returns instead of the provider's client.
func New(t testing.TB, between func(connect.Authorizer) connect.Authorizer) *World {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &World{Signals: &Signals{}, Logs: &Logs{}}
	var err error
	database := testpg.URL(t)
	w.Foreign, err = sql.Open("pgx", database)
	must(err)
	t.Cleanup(func() { _ = w.Foreign.Close() }) // the database is dropped next
	w.DB, err = db.Open(t.Context(), database, db.Pool{})
	must(err)
	t.Cleanup(func() { _ = w.DB.Close() }) // the database is dropped next
	_, _, err = w.DB.Migrate(t.Context())
	must(err)
	w.Store, w.SessionRows = store.New(w.DB), connect.NewSessionStore(w.DB)
	keys, err := seal.NewEphemeral()
	must(err)

	var pages http.Handler
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { pages.ServeHTTP(rw, r) }))
	w.URL = "https://" + w.Server.Listener.Addr().String()
	w.Product = httptest.NewServer(http.HandlerFunc(product))
	t.Cleanup(w.Product.Close)

	clients := map[string]fakeprovider.Client{}
	for _, name := range []string{CRM, Books, Login, Web, Hub} {
		clients["client-"+name] = fakeprovider.Client{Secrets: []string{ClientSecret}, RedirectURIs: []string{w.URL + "/connect/callback/" + name}}
	}
	w.Provider, err = fakeprovider.New(fakeprovider.Config{Clients: clients})
	must(err)
	first := httptest.NewServer(w.Provider)
	t.Cleanup(first.Close)
	second := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.Issuer.ServeHTTP(rw, r) }))
	issuer := "http://" + second.Listener.Addr().String()
	w.Issuer, err = fakeprovider.New(fakeprovider.Config{Clients: clients, Issuer: issuer})
	must(err)
	second.Start()
	t.Cleanup(second.Close)

	all := apps{}
	add := func(name, title, at string, scopes []string, account provider.AccountSource, iss string) {
		entry, _ := provider.Lookup("generic")
		entry.Title, entry.AuthStyle, entry.Account, entry.Issuer, entry.IssuerSent = title, oauth2.AuthStyleInHeader, account, iss, iss != ""
		entry.AuthURL, entry.TokenURL, entry.IntrospectURL, entry.RevokeURL = at+"/authorize", at+"/token", at+"/introspect", at+"/revoke"
		entry.MetadataFields = []string{"account"}
		must(entry.Validate())
		secrets := []perennial.Secret{perennial.NewSecret(ClientSecret)}
		if name == Web { // a rotation is under way: the provider knows only the second secret
			secrets = append([]perennial.Secret{perennial.NewSecret("not yet known")}, secrets...)
		}
		all[name] = provider.App{Name: name, Provider: entry, ClientID: "client-" + name, ClientSecrets: secrets,
			Scopes: scopes, Buffer: provider.BufferQueue}
	}
	add(CRM, "Acme CRM", first.URL, []string{"contacts.read", "contacts.write"}, provider.AccountSource{From: provider.AccountFromIntrospection, Name: "username"}, "")
	add(Books, "Acme Books", first.URL, []string{"ledger"}, provider.AccountSource{From: provider.AccountFromCallback, Name: "account", URL: first.URL + "/accounts/{account}"}, "")
	add(Login, "Acme Login", issuer, []string{"openid"}, provider.AccountSource{From: provider.AccountFromIDToken, Name: "sub"}, issuer)
	add(Web, "Acme Web", first.URL, nil, provider.AccountSource{From: provider.AccountFromURL, URL: first.URL + "/userinfo", Name: "sub"}, "")
	hub, _ := provider.Lookup("hubspot")
	hub.AuthURL, hub.TokenURL, hub.IntrospectURL, hub.RevokeURL = first.URL+"/authorize", first.URL+"/token", "", first.URL+"/revoke"
	all[Hub] = provider.App{Name: Hub, Provider: hub, ClientID: "client-" + Hub, ClientSecrets: []perennial.Secret{perennial.NewSecret(ClientSecret)},
		Scopes: []string{"crm.objects.contacts.read", "oauth"}, Buffer: provider.BufferQueue}
	must(w.Provider.SetKnobs("client-"+Hub, "", fakeprovider.Knobs{HubSpot: true}))

	log := slog.New(slog.NewJSONHandler(w.Logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.Service = connect.New(connect.Config{Store: w.Store, Apps: refresh.Apps(all), Sealer: keys, Workflows: w.Signals, Log: log})
	var authorizer connect.Authorizer = provider.NewClient(provider.ClientConfig{})
	if between != nil {
		authorizer = between(authorizer)
	}
	w.Sessions, err = connect.NewSessions(connect.SessionsConfig{Service: w.Service, Store: w.SessionRows, Provider: authorizer, BaseURL: w.URL,
		ReturnURLs: connect.ReturnURLs{w.Product.URL + "/settings"}})
	must(err)
	pages, err = connectui.New(connectui.Config{Sessions: w.Sessions, Product: "SimpleSync", HelpURL: w.Product.URL + "/help", Log: log})
	must(err)
	w.Server.StartTLS()
	t.Cleanup(w.Server.Close)
	return w
}

// Link creates a session. A zero request connects an account of the CRM.
func (w *World) Link(t testing.TB, req connect.SessionRequest) connect.Session {
	t.Helper()
	if req.Tenant == "" {
		req.Tenant = Tenant
	}
	if req.App == "" && req.ConnectionID == "" {
		req.App = CRM
	}
	s, err := w.Sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), req)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Exec changes the database as another program does.
func (w *World) Exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	if _, err := w.Foreign.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// product is a settings page. It opens a link in a popup and shows the message that it
// receives.
func product(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, `<!doctype html><meta name="viewport" content="width=device-width"><title>SimpleSync</title><h1>Settings</h1>
<button id="open">Connect</button><pre id="told"></pre><script>
document.getElementById("open").onclick = () => window.open(location.hash.slice(1), "connect", "width=480,height=640");
window.addEventListener("message", e => { document.getElementById("told").textContent = e.origin + " " + JSON.stringify(e.data); });
</script>`)
}
