package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/refresh"
	"go.yaml.in/yaml/v3"
)

// file is perennial.yaml.
type file struct {
	DatabaseURL        string     `yaml:"database_url"`
	Keys               string     `yaml:"keys"`
	KMSURI             string     `yaml:"kms_uri"`
	AllowPlaintextKeys bool       `yaml:"allow_plaintext_keys"`
	TaskQueue          string     `yaml:"task_queue"`
	Listen             string     `yaml:"listen"`
	LogLevel           string     `yaml:"log_level"`
	LogFormat          string     `yaml:"log_format"`
	Timing             fileTiming `yaml:"timing"`
	Apps               []fileApp  `yaml:"apps"`
}

type fileTiming struct {
	HTTPTimeout     string `yaml:"http_timeout"`
	SaveTimeout     string `yaml:"save_timeout"`
	StartToClose    string `yaml:"start_to_close"`
	AttemptDeadline string `yaml:"attempt_deadline"`
	WorkerStop      string `yaml:"worker_stop"`
	ConfirmDelay    string `yaml:"confirm_delay"`
}

type fileApp struct {
	Name             string   `yaml:"name"`
	Provider         string   `yaml:"provider"`
	Title            string   `yaml:"title"`
	ClientID         string   `yaml:"client_id"`
	ClientSecretEnv  list     `yaml:"client_secret_env"`
	ClientSecretFile list     `yaml:"client_secret_file"`
	Scopes           []string `yaml:"scopes"`
	Buffer           string   `yaml:"buffer"`
	ReplayClass      string   `yaml:"replay_class"`
	GraceWindow      string   `yaml:"grace_window"`
	AuthURL          string   `yaml:"auth_url"`
	TokenURL         string   `yaml:"token_url"`
	IntrospectURL    string   `yaml:"introspect_url"`
	RevokeURL        string   `yaml:"revoke_url"`
	AuthStyle        string   `yaml:"auth_style"`
	DefaultLifetime  string   `yaml:"default_lifetime"`
	IdleLifetime     string   `yaml:"idle_lifetime"`
	GrantLifetime    string   `yaml:"grant_lifetime"`
	MetadataFields   []string `yaml:"metadata_fields"`
}

// list is one string or a list of them.
type list []string

// UnmarshalYAML implements yaml.Unmarshaler.
func (l *list) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = list{n.Value}
		return nil
	}
	var many []string
	if err := n.Decode(&many); err != nil {
		return err
	}
	*l = many
	return nil
}

// loader gathers the problems of one configuration.
type loader struct {
	path     string
	env      map[string]string
	problems []string
}

var (
	unknownField = regexp.MustCompile(`^line (\d+): field (\S+) not found in type .*$`)
	quotedValue  = regexp.MustCompile("`[^`]*`?")
	goType       = regexp.MustCompile(`into config\.\w+`)
)

func (l *loader) decode(raw []byte, f *file) {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	err := decoder.Decode(f)
	if types, ok := errors.AsType[*yaml.TypeError](err); ok {
		for _, line := range types.Errors {
			if m := unknownField.FindStringSubmatch(line); m != nil {
				l.problem("line %s: unknown key %q", m[1], m[2])
				continue
			}
			// A value may be a secret that stands at the wrong key.
			l.problem("%s", goType.ReplaceAllString(quotedValue.ReplaceAllString(line, "a value"), "into its key"))
		}
		return
	}
	if err != nil && !errors.Is(err, io.EOF) {
		l.problem("not readable as YAML: %s", quotedValue.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "a value"))
	}
}

func (l *loader) duration(where, value string) time.Duration {
	if value == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		l.problem(`%s must be a duration above zero, for example "30s", "30m" or "2400h"`, where)
		return 0
	}
	return d
}

func (l *loader) timing(f fileTiming) refresh.Timing {
	return refresh.Timing{
		HTTPTimeout:     l.duration("timing: http_timeout", f.HTTPTimeout),
		SaveTimeout:     l.duration("timing: save_timeout", f.SaveTimeout),
		StartToClose:    l.duration("timing: start_to_close", f.StartToClose),
		AttemptDeadline: l.duration("timing: attempt_deadline", f.AttemptDeadline),
		WorkerStop:      l.duration("timing: worker_stop", f.WorkerStop),
		ConfirmDelay:    l.duration("timing: confirm_delay", f.ConfirmDelay),
	}.WithDefaults()
}

func (l *loader) oneOf(where, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		l.problem("%s must be one of %s", where, strings.Join(allowed, ", "))
	}
}

func (l *loader) boolean(where, value string) bool {
	l.oneOf(where, value, "true", "false")
	return value == "true"
}

// unknownVariables finds misspelt settings: a variable of ours that nothing
// reads. Those of tests are left alone.
func (l *loader) unknownVariables(known map[string]bool) {
	var unknown []string
	for name := range l.env {
		if strings.HasPrefix(name, "PERENNIAL_") && !strings.HasPrefix(name, "PERENNIAL_TEST_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		l.problem("the environment variable %s is not one that is read: unset it or correct its name", name)
	}
}
