// Package config reads perennial.yaml and the PERENNIAL_* variables and checks
// everything at once. Each problem is one line that says what is wrong.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/strictyaml"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
)

// Sweep configures the sweep; see workflows.Sweep. Zero fields take its defaults.
type Sweep struct{ Every, Grace, FullEvery, Retention time.Duration }

// Worker configures one worker process.
type Worker struct {
	// Cache is how many workflows stay in memory between their wakes; 0: the SDK's
	// default, 10,000.
	Cache int
}

// pooledCache is the default of [Worker.Cache] if every app is pooled: workflows that
// wake once a day are worth neither their memory nor the collector's time.
const pooledCache = 500

// Notify configures webhooks.
type Notify struct {
	AllowPrivate bool // allows webhook endpoints on private networks, and plain http
}

// Discovery configures the reading of what providers say about themselves.
type Discovery struct {
	AllowPrivate bool // they, and the endpoints that they name, may be on private networks
}

// Server configures a server process.
type Server struct {
	Listen          string  // address of the API and the connect pages
	Health          string  // address of the health checks and metrics
	TLSCert, TLSKey string  // paths of PEM files; empty: TLS ends before the server
	Rate            float64 // each API key's limit of requests a second; 0: the API's default
	Burst           int     // requests at once; 0: the API's default
}

// Connect configures connect links and their pages.
type Connect struct {
	BaseURL    string   // the address of the pages for people; empty: no links
	ReturnURLs []string // a page may send the customer back to URLs below these
	// ReconnectURL is the product's page on which a customer starts a reconnect, with
	// placeholders; see [Connect.Links].
	ReconnectURL string
	Product      string        // the product that asks for access, as customers know it
	HelpURL      string        // each page links to it
	Lifetime     time.Duration // of a link; 0: 30 min
	BoundOnly    bool          // no shareable links
}

// Config is a checked configuration. It never changes after loading, so it may be
// shared.
type Config struct {
	DatabaseURL         string // postgres://... or sqlite:PATH
	DatabasePool        db.Pool
	KeysDir             string // directory of the keysets
	Spool               string // folder of the spool, on a persistent volume; empty: none
	KMSURI              string // of the key that wraps them; empty: plaintext files
	AllowPlaintextKeys  bool
	TaskQueue           string // Temporal's task queue
	Codec               Codec  // of the payloads that Temporal stores
	Listen              string // address of the health checks
	LogLevel, LogFormat string
	Timing              timing.Config
	Sweep               Sweep
	Worker              Worker
	Notify              Notify
	Discovery           Discovery
	Server              Server
	Connect             Connect
	Apps                []provider.App // in the file's order

	secretsMissing map[string]error // by app
	complete       func(provider.App) (provider.App, error)
}

// CompleteWith says what completes the apps whose providers describe themselves. A process
// calls it once, before anything asks for an app.
func (c *Config) CompleteWith(complete func(provider.App) (provider.App, error)) {
	c.complete = complete
}

// NeedSecrets returns the problem with an app's client secrets, of
// [perennial.CodeInvalid], or nil if they were read. Only a configuration from
// [LoadWithoutSecrets] can lack them.
func (c *Config) NeedSecrets(app string) error { return c.secretsMissing[app] }

// App returns an app by name, complete with what its provider says about itself. An
// unknown one is an error of [perennial.CodeNotFound] that lists the known ones; one that
// cannot be completed at present, of [perennial.CodeUnavailable].
func (c *Config) App(name string) (provider.App, error) {
	app, err := c.Configured(name)
	switch {
	case err != nil || app.Discovery == nil:
		return app, err
	case c.complete == nil:
		return app, perennial.Errorf(perennial.CodeUnavailable, "app %s: this program does not read what the provider says about itself", name)
	}
	return c.complete(app)
}

// Configured returns an app by name as the configuration describes it. An unknown one is
// an error of [perennial.CodeNotFound] that lists the known ones.
func (c *Config) Configured(name string) (provider.App, error) {
	var names []string
	for _, app := range c.Apps {
		if app.Name == name {
			return app, nil
		}
		names = append(names, app.Name)
	}
	if len(names) == 0 {
		names = []string{"none"}
	}
	return provider.App{}, perennial.Errorf(perennial.CodeNotFound, "there is no app %q in the configuration; there are: %s", name, strings.Join(names, ", "))
}

// LoadEnviron reads the file at path; the variables of environ (as from os.Environ)
// override it. An empty variable counts as not set. The error joins every problem
// found, one line each, in the order of the file, each a [perennial.Error] of
// [perennial.CodeInvalid]. It never holds a secret.
func LoadEnviron(path string, environ []string) (*Config, error) {
	return load(path, environ, false)
}

// LoadWithoutSecrets is LoadEnviron for a program that presents nothing to a provider:
// a client secret that is not set, or cannot be read, is no problem. Code that presents
// one after all must call [Config.NeedSecrets] first.
func LoadWithoutSecrets(path string, environ []string) (*Config, error) {
	return load(path, environ, true)
}

func load(path string, environ []string, secretsOptional bool) (*Config, error) {
	raw, err := read(path)
	if err != nil {
		return nil, err
	}
	l := newLoader(path, environ)
	l.secretsOptional = secretsOptional
	return l.parse(raw)
}

func read(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, perennial.Errorf(perennial.CodeInvalid, "there is no configuration at %s: copy config/perennial.example.yaml there, or name another file with --config", path)
	case err != nil:
		return nil, perennial.Errorf(perennial.CodeInvalid, "read the configuration: %w", err)
	}
	return raw, nil
}

// HealthAddresses returns the addresses of the health checks of a worker and a server
// with this configuration, as HOST:PORT. It checks nothing else. Without a path only
// the variables count.
func HealthAddresses(path string, environ []string) (worker, server string, err error) {
	var raw []byte
	if path != "" {
		if raw, err = read(path); err != nil {
			return "", "", err
		}
	}
	l := newLoader(path, environ)
	var f file
	if l.decode(raw, &f); l.doc.Unread {
		return "", "", l.err()
	}
	l.problems = nil // other settings are not checked
	known := map[string]bool{}
	worker = cmp.Or(l.variable("listen", known), f.Listen, defaultListen)
	l.checkListen(worker)
	server = l.server(f.Server, known).Health
	return worker, server, l.err()
}

const defaultListen = "127.0.0.1:8081"

func newLoader(path string, environ []string) *loader {
	return &loader{path: path, env: variables(environ), doc: &strictyaml.Document{}, from: map[string]string{}}
}

func parse(path string, raw []byte, environ []string) (*Config, error) {
	return newLoader(path, environ).parse(raw)
}

func (l *loader) parse(raw []byte) (*Config, error) {
	var f file
	if l.decode(raw, &f); l.doc.Unread {
		return nil, l.err()
	}
	known := map[string]bool{"PERENNIAL_CACHE_DIR": true}
	c := &Config{AllowPlaintextKeys: l.boolean("allow_plaintext_keys", f.AllowPlaintextKeys, known)}
	for _, s := range []struct {
		name     string // its variable is PERENNIAL_ and this in capitals
		file, to *string
		def      string
	}{
		{"database_url", &f.DatabaseURL, &c.DatabaseURL, ""},
		{"keys", &f.Keys, &c.KeysDir, ""},
		{"spool", &f.Spool, &c.Spool, ""},
		{"kms_uri", &f.KMSURI, &c.KMSURI, ""},
		{"task_queue", &f.TaskQueue, &c.TaskQueue, "perennial"},
		{"listen", &f.Listen, &c.Listen, defaultListen},
		{"log_level", &f.LogLevel, &c.LogLevel, "info"},
		{"log_format", &f.LogFormat, &c.LogFormat, "json"},
	} {
		*s.to = cmp.Or(l.variable(s.name, known), *s.file, s.def)
	}
	l.checkSettings(c)
	c.Codec = l.codec(f, known)
	c.DatabasePool = l.pool(f.DatabasePool)
	c.Timing = l.timing(f.Timing)
	c.Sweep = l.sweep(f.Sweep)
	c.Worker = l.worker(f.Worker)
	c.Notify = Notify(f.Notify)
	c.Discovery = Discovery(f.Discovery)
	c.Server = l.server(f.Server, known)
	c.Connect = l.connect(f.Connect, known)
	first := map[string]int{}
	most := 1
	for i, a := range f.Apps {
		app, missing := l.app(fmt.Sprintf("apps.%d", i), i, a)
		if missing != nil {
			if c.secretsMissing == nil {
				c.secretsMissing = map[string]error{}
			}
			c.secretsMissing[a.Name] = missing
		}
		for _, name := range slices.Concat(a.ClientSecretEnv, a.ClientKeyEnv) {
			known[name] = true
		}
		if j, twice := first[a.Name]; twice && a.Name != "" {
			l.at(fmt.Sprintf("apps.%d.name", i), "apps: number %d has the name of number %d", i+1, j+1)
		} else {
			first[a.Name] = i
		}
		most = max(most, len(a.ClientSecretEnv), len(a.ClientSecretFile), len(a.ClientKeyEnv), len(a.ClientKeyFile))
		c.Apps = append(c.Apps, app)
	}
	own := func(a provider.App) bool { return a.Pacers == 0 }
	if c.Worker.Cache == 0 && len(c.Apps) > 0 && !slices.ContainsFunc(c.Apps, own) {
		c.Worker.Cache = pooledCache
	}
	if err := c.Timing.Validate(most); err != nil {
		for text := range strings.Lines(err.Error()) {
			l.at("timing", "%s", strings.TrimSpace(text))
		}
	}
	l.unknownVariables(known)
	if err := l.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// variable returns the value of a setting's variable, "" for none.
func (l *loader) variable(name string, known map[string]bool) string {
	variable := "PERENNIAL_" + strings.ToUpper(name)
	known[variable] = true
	if l.env[variable] != "" {
		l.from[name] = variable
	}
	return l.env[variable]
}

// boolean returns a setting that is true or false: its variable's, or the file's.
func (l *loader) boolean(name string, inFile bool, known map[string]bool) bool {
	switch l.variable(name, known) {
	case "":
		return inFile
	case "true":
		return true
	case "false":
	default:
		l.setting(name, "must be true or false")
	}
	return false
}

func (l *loader) checkSettings(c *Config) {
	switch scheme, rest, _ := strings.Cut(c.DatabaseURL, ":"); {
	case c.DatabaseURL == "":
		l.needed("database_url", "postgres://... or sqlite:PATH")
	case (scheme == "postgres" || scheme == "postgresql") && strings.HasPrefix(rest, "//"), scheme == "sqlite" && rest != "":
	default:
		l.setting("database_url", "must be postgres://... or sqlite:PATH")
	}
	if c.KeysDir == "" {
		l.needed("keys", "the directory of the keysets; `perennial keys new` makes them")
	}
	if !oneOf(c.LogLevel, "debug", "info", "warn", "error") {
		l.setting("log_level", "must be debug, info, warn or error")
	}
	if !oneOf(c.LogFormat, "json", "text") {
		l.setting("log_format", "must be json or text")
	}
	l.checkListen(c.Listen)
}

func (l *loader) checkListen(address string) {
	if !isAddress(address) {
		l.setting("listen", "must be HOST:PORT, for example %s", defaultListen)
	}
}

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	_, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil
}

// needed records that a setting is missing. A value of the wrong type is recorded by
// its line already.
func (l *loader) needed(name, what string) {
	if !l.doc.Wrong[l.doc.Lines[name]] {
		l.at(name, "%s (or PERENNIAL_%s) is needed: %s", name, strings.ToUpper(name), what)
	}
}

func oneOf(value string, allowed ...string) bool { return slices.Contains(allowed, value) }

func variables(environ []string) map[string]string {
	env := map[string]string{}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	return env
}
