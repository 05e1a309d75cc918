package catalogue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"golang.org/x/oauth2"
)

// testdata has the fixtures.
const testdata = "../../provider/testdata"

// tenant has all connections.
const tenant = "acme"

// known is what is known of a provider: the catalogue's entry and the sources.
type known struct {
	entry provider.Entry
	file  fixtures.File
}

// lookup returns what is known of a provider of the catalogue. What an entry leaves to
// the configuration is set as a user would set it.
func lookup(name string) (known, error) {
	e, _ := provider.Lookup(name)
	f, err := fixtures.Read(testdata, name)
	return known{complete(e), f}, err
}

// complete returns an entry with the settings that it leaves to the configuration.
func complete(e provider.Entry) provider.Entry {
	if e.TokenURL == "" { // it runs anywhere
		e.AuthURL, e.TokenURL = "https://id.example.com/authorize", "https://id.example.com/token"
	}
	if e.AuthStyle == 0 {
		e.AuthStyle = oauth2.AuthStyleInHeader
	}
	if e.Account == (provider.AccountSource{}) {
		e.Account = provider.AccountSource{From: provider.AccountFromURL, URL: "https://account.example.com/me", Name: "id"}
	}
	return e
}

// world is one provider with a Perennial of its own, in a bubble. Each scenario has an
// app and a client of its own, so that no trouble of one reaches another.
type world struct {
	ctx      context.Context
	known    known
	play     *fakeprovider.Play
	server   *fakeprovider.Server
	store    *store.Store
	keys     *seal.Keyring
	engine   *refresh.Engine
	service  *connect.Service
	sessions *connect.Sessions
	rows     *db.DB
	timing   timing.Config

	away      bool     // no request is answered
	hooks     []func() // of the next presentations, once they are answered
	elsewhere string   // the host of the accounts that agree now; empty: as the link says
}

// newWorld makes a world whose provider is as the sources of pristine say, and whose
// Perennial knows it by this entry. Call it in the bubble, and close at its end.
func newWorld(t *testing.T, file string, pristine known, e provider.Entry) *world {
	w := &world{ctx: t.Context(), known: known{e, pristine.file}, timing: timing.Config{}.WithDefaults()}
	var err error
	w.play, err = fakeprovider.NewPlay(pristine.entry, pristine.file)
	must(err)
	clients := map[string]fakeprovider.Client{}
	for _, s := range scenarios {
		clients["client-"+s.name] = fakeprovider.Client{Secrets: []string{"secret of " + s.name}, RedirectURIs: []string{baseURL + "/connect/callback/" + s.name}}
	}
	w.server, err = fakeprovider.New(fakeprovider.Config{Clients: clients, Play: w.play})
	must(err)
	w.rows, err = db.Open(t.Context(), "sqlite:"+file, db.Pool{})
	must(err)
	w.store = store.New(w.rows)
	w.keys, err = seal.NewEphemeral()
	must(err)
	client := provider.NewClient(provider.ClientConfig{Transport: awayOr{w, w.server.Transport()}})
	w.engine = refresh.New(refresh.Config{Store: w.store, Presenter: hooked{client, w}, Revoker: client, Apps: w, Sealer: w.keys, Timing: w.timing})
	w.service = connect.New(connect.Config{Store: w.store, Apps: w, Sealer: w.keys, Workflows: w, Presenter: client})
	w.sessions, err = connect.NewSessions(connect.SessionsConfig{Service: w.service, Store: connect.NewSessionStore(w.rows), Provider: client, BaseURL: baseURL})
	must(err)
	return w
}

// awayOr loses requests while the provider is away.
type awayOr struct {
	w    *world
	next http.RoundTripper
}

func (t awayOr) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.w.away {
		return nil, errors.New("no answer")
	}
	return t.next.RoundTrip(req)
}

const baseURL = "https://connect.example.com"

// hooked runs the world's hooks.
type hooked struct {
	refresh.Presenter
	*world
}

// Refresh implements refresh.Presenter.
func (h hooked) Refresh(ctx context.Context, app provider.App, secret, token perennial.Secret, send func(context.Context) error) provider.Reply {
	reply := h.Presenter.Refresh(ctx, app, secret, token, send)
	if len(h.hooks) > 0 {
		hook := h.hooks[0]
		h.hooks = h.hooks[1:]
		hook()
	}
	return reply
}

// afterReply runs a function once, between the provider's next reply and its save.
func (w *world) afterReply(hook func()) { w.hooks = append(w.hooks, hook) }

// migrated returns a new database of this program's version, as a file that each world
// copies.
func migrated(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "perennial.db")
	s, err := store.Open(t.Context(), "sqlite:"+path)
	must(err)
	_, _, err = s.Migrate(t.Context())
	must(err)
	must(s.Close())
	raw, err := os.ReadFile(path)
	must(err)
	return raw
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (w *world) close() { must(w.rows.Close()) }

// App implements refresh.Apps.
func (w *world) App(name string) (provider.App, error) {
	scopes := []string{"read"}
	if w.known.entry.Account.From == provider.AccountFromIDToken {
		scopes = []string{"openid", "read"}
	}
	proof := perennial.NewSecret("secret of " + name)
	if w.known.entry.Proof() == provider.ProofKey {
		proof = perennial.NewSecret(appSigner.text)
	}
	return provider.App{Name: name, Provider: w.known.entry, ClientID: "client-" + name, ClientSecrets: []perennial.Secret{proof},
		Scopes: scopes, Buffer: provider.BufferQueue}, nil
}

// Signal implements connect.Workflows. [world.step] reads the row anyway.
func (w *world) Signal(context.Context, perennial.Connection, string) error { return nil }

// problem is what a scenario finds wrong. It ends the scenario.
type problem string

// want ends the scenario unless ok.
func want(ok bool, format string, args ...any) {
	if !ok {
		panic(problem(fmt.Sprintf(format, args...)))
	}
}

func wantNo(err error, what string) {
	if err != nil {
		panic(problem(what + ": " + err.Error()))
	}
}

// try runs a scenario and returns what it finds wrong, "" for nothing.
func try(w *world, s scenario) (found string) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case problem:
			found = s.name + ": " + string(cause)
		default:
			panic(cause)
		}
	}()
	s.run(w, s.name)
	return ""
}

// account returns the id of the n-th account: a number, or a host of its own.
func (w *world) account(n int) string {
	if w.known.entry.Account.From == provider.AccountFromHost {
		return w.host(n)
	}
	return fmt.Sprint(70_000 + n)
}

// host returns the host of the n-th account, "" if all accounts have the same.
func (w *world) host(n int) string {
	e := w.known.entry
	if !e.HostNeeded() || len(e.HostSuffixes) == 0 {
		return ""
	}
	host := e.HostSuffixes[0]
	if strings.HasPrefix(host, ".") {
		host = fmt.Sprintf("account%d%s", n, host)
	}
	return host
}

// consent lets the customer of an account follow a link.
func (w *world) consent(req connect.SessionRequest, account string, change func(url.Values)) perennial.ConnectSession {
	made, err := w.sessions.CreateSession(w.ctx, perennial.CommandLineAccess(), req)
	wantNo(err, "make a link")
	link := made.Link.Reveal()
	request, err := w.sessions.Start(w.ctx, perennial.NewSecret(link[strings.LastIndex(link, "/")+1:]))
	wantNo(err, "start a link")
	back := w.agrees(request.URL, url.Values{"account": {account}})
	if change != nil {
		change(back)
	}
	session, err := w.sessions.Answer(w.ctx, made.App, back, func(string) perennial.Secret { return request.Browser })
	wantNo(err, "answer the callback")
	return session
}

// agrees lets a customer agree at the provider, and returns the parameters of the
// callback. The form names the account, and its host if that is another one than the
// request's.
func (w *world) agrees(request string, form url.Values) url.Values {
	if w.elsewhere != "" {
		form.Set("host", w.elsewhere)
	}
	form.Set("answer", "allow")
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, request, strings.NewReader(form.Encode()))
	must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := w.server.Transport().RoundTrip(req)
	must(err)
	back, err := resp.Location()
	want(err == nil, "the authorization endpoint answers %s to %s", resp.Status, request)
	return back.Query()
}

// connects connects the n-th account through a link.
func (w *world) connects(app string, n int) perennial.Connection {
	session := w.consent(connect.SessionRequest{Tenant: tenant, App: app, Host: w.host(n)}, w.account(n), nil)
	want(session.Outcome == perennial.ConnectConnected, "the link ends as %q (%s)", session.Outcome, session.Problem)
	c := w.row(session.ResultID)
	want(c.AccountID == w.account(n), "the connection is of account %q instead of %q", c.AccountID, w.account(n))
	return c
}

func (w *world) row(id string) perennial.Connection {
	c, _, err := w.store.Get(w.ctx, perennial.WorkerAccess(), id)
	must(err)
	return c
}

// step waits as the connection's workflow does, and refreshes once.
func (w *world) step(id string) refresh.Result {
	for range 100 {
		c, now, err := w.store.Get(w.ctx, perennial.WorkerAccess(), id)
		must(err)
		at, trigger := timing.Wake(c, now)
		time.Sleep(max(at.Sub(now), 0) + time.Millisecond) // SQLite's clock has milliseconds
		if trigger == "" {
			want(c.Status != perennial.StatusActive, "nothing is due")
			return refresh.Result{Connection: c, Outcome: perennial.OutcomeRefused}
		}
		if res := w.refresh(c, trigger); res.Outcome != perennial.OutcomeThrottled {
			return res
		}
		time.Sleep(time.Second)
	}
	panic(problem("it is put off for ever"))
}

func (w *world) refresh(c perennial.Connection, trigger perennial.Trigger) refresh.Result {
	res, err := w.engine.Refresh(w.ctx, refresh.Request{ConnectionID: c.ID, App: c.App, Generation: c.Generation, Floor: c.Generation, Trigger: trigger})
	wantNo(err, "refresh")
	return res
}

// settles steps until the connection was refreshed or must be reconnected.
func (w *world) settles(id string) refresh.Result {
	for range 50 {
		res := w.step(id)
		if res.Outcome == perennial.OutcomeRefreshed || res.Connection.Status != perennial.StatusActive {
			return res
		}
	}
	panic(problem("it is neither refreshed nor refused for good"))
}

// token opens a stored token.
func (w *world) token(c perennial.Connection, field seal.Field) perennial.Secret {
	sealed := c.AccessTokenSealed
	if field == seal.FieldRefreshToken {
		sealed = c.RefreshTokenSealed
	}
	token, err := w.keys.Open(seal.BindingOf(c, field, c.Generation), sealed)
	must(err)
	var held struct {
		Token []byte `json:"held_access_token"`
	}
	if w.known.entry.Renewal != provider.RenewalRefreshToken && json.Unmarshal([]byte(token.Reveal()), &held) == nil && field == seal.FieldRefreshToken {
		return perennial.NewSecret(string(held.Token))
	}
	return token
}

// books returns what the provider knows of an account's grant.
func (w *world) books(c perennial.Connection) fakeprovider.GrantOracle {
	for _, g := range w.server.Oracle().Grants {
		if g.Client == "client-"+c.App && g.Account == c.AccountID {
			return g
		}
	}
	panic(problem("the provider has no grant of " + c.AccountID))
}

// presented returns the presentations of an account's refresh tokens.
func (w *world) presented(c perennial.Connection) (out []fakeprovider.Presentation) {
	for _, p := range w.server.Oracle().Presentations {
		if p.Grant == "client-"+c.App+"/"+c.AccountID {
			out = append(out, p)
		}
	}
	return out
}

// adjust changes how the provider treats an account.
func (w *world) adjust(c perennial.Connection, change func(*fakeprovider.Knobs)) {
	must(w.server.Adjust("client-"+c.App, c.AccountID, change))
}

// holds wants the stored tokens to be ones that the provider accepts.
func (w *world) holds(c perennial.Connection) {
	books := w.books(c)
	want(slices.Contains(books.LiveRefreshTokens, w.token(c, seal.FieldRefreshToken).Digest()), "the stored refresh token is none that the provider accepts")
	want(w.server.Accepts(w.token(c, seal.FieldAccessToken).Reveal()), "the stored access token is none that the provider accepts")
	want(books.ConsumedPresentations == 0, "a used refresh token was presented")
}
