package fakeprovider

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/perennial-oauth/perennial/provider"
)

// answer is one answer of a server.
type answer struct {
	status int
	header map[string]string
	body   []byte
}

func (a answer) send(w http.ResponseWriter) {
	contentType := "application/json"
	if shape := readShape(string(a.body)); shape != nil && shape.form {
		contentType = "application/x-www-form-urlencoded"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // fails only if the caller has disconnected
}

// tokens returns a token reply in the provider's shape: a sample of that kind, with the
// values of out in those places where the description looks for them.
func (p *Play) tokens(kind fixtures.Kind, out TokenReply, account string, now time.Time) answer {
	s, a := p.sample(kind)
	w := reshaping{p.Entry, s, now}
	w.put("access_token", out.AccessToken)
	switch {
	case out.RefreshToken == "", p.Entry.Renewal != provider.RenewalRefreshToken, p.takesCredentials():
		w.drop("refresh_token")
	case out.newRefresh || w.place("refresh_token", false) != nil || a.bare():
		w.put("refresh_token", out.RefreshToken)
	}
	w.lifetimes(out.ExpiresIn, a.bare())
	w.scopes(out.Scope, a.bare())
	if a.bare() {
		w.put("token_type", out.TokenType)
	}
	if from := p.Entry.Account; from.From == provider.AccountFromReply && account != "" &&
		(kind == fixtures.KindExchange || get(w.s.root, split(from.Name)) != nil) {
		w.account(from, account)
	}
	if out.IDToken != "" {
		w.s.root = set(w.s.root, []string{"id_token"}, out.IDToken)
	}
	a.body = w.s.write()
	return a
}

// bare reports whether an answer has no sample behind it.
func (a answer) bare() bool { return a.body == nil }

// sample returns the sample of a kind of token reply. A provider of which only one kind
// is known answers both in that way.
func (p *Play) sample(kind fixtures.Kind) (*shape, answer) {
	for _, k := range slices.Compact([]fixtures.Kind{kind, fixtures.KindExchange, fixtures.KindRefreshed}) {
		if r, ok := p.File.First(k); ok {
			return readShape(r.Body), answer{status: r.Status, header: r.Headers, body: []byte(r.Body)}
		}
	}
	return &shape{root: map[string]any{}}, answer{status: http.StatusOK}
}

// reshaping puts values into a sample reply.
type reshaping struct {
	entry provider.Entry
	s     *shape
	now   time.Time
}

// place returns the path at which the description looks for a member. Without add it is
// nil if the reply has none there.
func (w *reshaping) place(name string, add bool) []string {
	for _, path := range w.entry.MembersAt[name] {
		if get(w.s.root, split(path)) != nil {
			return split(path)
		}
	}
	holder := w.holder()
	if path := findAt(get(w.s.root, holder), name, 0); path != nil {
		return slices.Concat(holder, path)
	}
	if paths := w.entry.MembersAt[name]; len(paths) > 0 {
		if !add {
			return nil
		}
		return split(paths[0])
	}
	if path := find(w.s.root, name); path != nil && name == "refresh_token" && !w.twice() {
		return path // beside the object that has the access token
	}
	if !add {
		return nil
	}
	return slices.Concat(holder, []string{name})
}

// holder returns the path of the object that has the tokens: the top if it has an access
// token, or what the description names, or the only one.
func (w *reshaping) holder() []string {
	switch under := split(w.entry.TokensUnder); {
	case findAt(w.s.root, "access_token", 0) != nil || len(w.entry.MembersAt["access_token"]) > 0:
		return nil
	case under != nil:
		return under
	default:
		path := find(w.s.root, "access_token")
		return path[:max(len(path)-1, 0)]
	}
}

// twice reports whether the reply has an access token at the top and another one below.
func (w *reshaping) twice() bool {
	rest := w.s.root
	path := find(rest, "access_token")
	return path != nil && find(remove(rest, path), "access_token") != nil
}

func (w *reshaping) put(name, value string) {
	w.s.root = set(w.s.root, w.place(name, true), value)
}

func (w *reshaping) drop(name string) {
	if path := w.place(name, false); path != nil {
		w.s.root = remove(w.s.root, path)
	}
}

// The members with lifetimes that samples were seen to have.
var (
	accessLifetimes  = []string{"expires_in", "expires_in_ms", "expires_at", "expires_on", "expires", "expiry", "expiration", "access_token_expires_in", "access_token_expires_at", "token_expires_in", "token_expires_at"}
	refreshLifetimes = []string{"refresh_token_expires_in", "refresh_token_expires_at", "refresh_expires_in", "refresh_expires_at", "x_refresh_token_expires_in", "refresh_token_timeout"}
)

// lifetimes puts the access token's life into the members that the sample has for it,
// and the refresh token's.
func (w *reshaping) lifetimes(life any, bare bool) {
	if life == nil {
		return
	}
	if len(w.entry.MembersAt["expires_in"]) > 0 || bare {
		path := w.place("expires_in", true)
		w.s.root = set(w.s.root, path, w.like(get(w.s.root, path), "", life))
		return
	}
	for _, at := range [][]string{w.holder(), nil} {
		for _, name := range accessLifetimes {
			if path := findAt(get(w.s.root, at), name, 0); path != nil {
				path = slices.Concat(at, path)
				w.s.root = set(w.s.root, path, w.like(get(w.s.root, path), name, life))
			}
		}
		for _, name := range refreshLifetimes {
			path := slices.Concat(at, findAt(get(w.s.root, at), name, 0))
			v := get(w.s.root, path)
			if idle := w.entry.IdleLifetime; len(path) > len(at) && (idle > 0 || isInstant(v)) {
				w.s.root = set(w.s.root, path, w.like(v, name, int64(cmp.Or(idle, unusedLife)/time.Second)))
			}
		}
	}
}

// unusedLife is the life of an unused refresh token whose sample names an instant, if
// the sources do not say how far away that is.
const unusedLife = 30 * 24 * time.Hour

// like writes a lifetime in the way of a sample's: a number or a text, in the provider's
// unit, or an instant. What is no number of seconds is sent as it is.
func (w *reshaping) like(sample any, name string, life any) any {
	seconds, ok := life.(int64)
	if !ok {
		return life
	}
	unit := w.entry.LifetimeUnit
	switch {
	case strings.HasSuffix(name, "_ms"):
		unit = time.Millisecond
	case unit == 0:
		unit = time.Second
	}
	number := max(int64(time.Duration(seconds)*time.Second/unit), 1)
	at := w.now.Add(time.Duration(seconds) * time.Second)
	old := textOf(sample)
	n, err := strconv.ParseFloat(old, 64)
	switch {
	case err == nil && isInstant(sample):
		number = at.Unix()
		for ; n >= 1e11; n /= 1000 {
			number *= 1000
		}
	case isInstant(sample):
		return at.UTC().Format(time.RFC3339)
	}
	if _, text := sample.(string); text {
		return strconv.FormatInt(number, 10)
	}
	return json.Number(strconv.FormatInt(number, 10))
}

// isInstant reports whether a sample's value is a point in time.
func isInstant(v any) bool {
	old := textOf(v)
	n, err := strconv.ParseFloat(old, 64)
	_, date := time.Parse(time.RFC3339, old)
	return err == nil && n >= 1e9 || date == nil
}

// scopes puts the granted scopes into the members that the sample has for them.
func (w *reshaping) scopes(granted string, bare bool) {
	if bare {
		if granted != "" {
			w.put("scope", granted)
		}
		return
	}
	for _, name := range []string{"scope", "scopes"} {
		path := w.place(name, false)
		if path == nil {
			continue
		}
		var value any = granted
		switch sample := get(w.s.root, path).(type) {
		case []any:
			list := []any{}
			for _, one := range strings.Fields(granted) {
				list = append(list, one)
			}
			value = list
		case string:
			if strings.Contains(sample, ",") {
				value = strings.ReplaceAll(granted, " ", ",")
			}
		}
		w.s.root = set(w.s.root, path, value)
	}
}

// account puts the account's id where the description looks for it, as a number if the
// sample has one.
func (w *reshaping) account(from provider.AccountSource, account string) {
	path := split(from.Name)
	var value any = account
	if _, number := get(w.s.root, path).(json.Number); number {
		value = json.Number(account)
	}
	w.s.root = set(w.s.root, path, value)
}
