// Package config reads perennial.yaml and the PERENNIAL_* variables, checks all
// of it at once and says in one line each what is wrong.
package config

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
)

// Config is a checked configuration. It is not changed after loading, so it may
// be shared.
type Config struct {
	DatabaseURL         string // postgres://... or sqlite:PATH
	KeysDir             string // directory of the keysets
	KMSURI              string // of the key that wraps them; empty: plaintext files
	AllowPlaintextKeys  bool
	TaskQueue           string // of Temporal
	Listen              string // address of the health checks
	LogLevel, LogFormat string
	Timing              refresh.Timing
	Apps                []provider.App // in the file's order
}

// App returns an app by name; an unknown one is an error of
// [perennial.CodeNotFound] that lists those there are.
func (c *Config) App(name string) (provider.App, error) {
	var names []string
	for _, app := range c.Apps {
		if app.Name == name {
			return app, nil
		}
		names = append(names, app.Name)
	}
	return provider.App{}, perennial.Errorf(perennial.CodeNotFound, "there is no app %q in the configuration; there are: %s", name, strings.Join(names, ", "))
}

// setting is one value of the file that a variable may override.
type setting struct {
	name  string // PERENNIAL_ and this in capitals
	value *string
	def   string
}

// LoadEnviron reads the file at path and lays the variables of environ (as from
// os.Environ) over it. The error joins every problem found, one line each; it
// never holds a secret.
func LoadEnviron(path string, environ []string) (*Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, perennial.Errorf(perennial.CodeInvalid, "there is no configuration at %s: copy config/perennial.example.yaml there, or name another file with --config", path)
		}
		return nil, perennial.Errorf(perennial.CodeInvalid, "read the configuration: %w", err)
	}
	return parse(path, raw, environ)
}

func parse(path string, raw []byte, environ []string) (*Config, error) {
	l := &loader{path: path, env: variables(environ)}
	var f file
	l.decode(raw, &f)
	plaintext := ""
	if f.AllowPlaintextKeys {
		plaintext = "true"
	}
	c := &Config{}
	settings := []setting{
		{"database_url", &f.DatabaseURL, ""},
		{"keys", &f.Keys, ""},
		{"kms_uri", &f.KMSURI, ""},
		{"allow_plaintext_keys", &plaintext, "false"},
		{"task_queue", &f.TaskQueue, "perennial"},
		{"listen", &f.Listen, "127.0.0.1:8081"},
		{"log_level", &f.LogLevel, "info"},
		{"log_format", &f.LogFormat, "json"},
	}
	known := map[string]bool{"PERENNIAL_CACHE_DIR": true}
	for _, s := range settings {
		name := "PERENNIAL_" + strings.ToUpper(s.name)
		known[name] = true
		if v, ok := l.env[name]; ok {
			*s.value = v
		}
		if *s.value == "" {
			*s.value = s.def
		}
	}
	c.DatabaseURL, c.KeysDir, c.KMSURI = f.DatabaseURL, f.Keys, f.KMSURI
	c.TaskQueue, c.Listen, c.LogLevel, c.LogFormat = f.TaskQueue, f.Listen, f.LogLevel, f.LogFormat
	c.AllowPlaintextKeys = l.boolean("allow_plaintext_keys", plaintext)
	l.oneOf("log_level", c.LogLevel, "debug", "info", "warn", "error")
	l.oneOf("log_format", c.LogFormat, "json", "text")
	if !strings.HasPrefix(c.DatabaseURL, "postgres://") && !strings.HasPrefix(c.DatabaseURL, "postgresql://") && !strings.HasPrefix(c.DatabaseURL, "sqlite:") {
		l.problem("database_url (or PERENNIAL_DATABASE_URL) must begin with postgres:// or sqlite:")
	}
	if c.KeysDir == "" {
		l.problem("keys (or PERENNIAL_KEYS) must name the directory of the keysets; `perennial keys new` makes them")
	}
	c.Timing = l.timing(f.Timing)
	names := map[string]bool{}
	most := 1
	for i, a := range f.Apps {
		app, used := l.app(i, a)
		for _, name := range used {
			known[name] = true
		}
		if names[app.Name] {
			l.problem("apps: the name %q is given twice", app.Name)
		}
		names[app.Name] = true
		most = max(most, len(app.ClientSecrets))
		c.Apps = append(c.Apps, app)
	}
	if err := c.Timing.Validate(most); err != nil {
		l.problem("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	l.unknownVariables(known)
	if len(l.problems) > 0 {
		return nil, &perennial.Error{Code: perennial.CodeInvalid, Message: strings.Join(l.problems, "\n")}
	}
	return c, nil
}

func variables(environ []string) map[string]string {
	env := map[string]string{}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	return env
}

func (l *loader) problem(format string, args ...any) {
	l.problems = append(l.problems, l.path+": "+fmt.Sprintf(format, args...))
}
