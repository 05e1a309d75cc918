package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/strictyaml"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"go.yaml.in/yaml/v3"
)

// file is perennial.yaml.
type file struct {
	DatabaseURL        string   `yaml:"database_url"`
	DatabasePool       filePool `yaml:"database_pool"`
	Keys               string   `yaml:"keys"`
	Spool              string   `yaml:"spool"`
	KMSURI             string   `yaml:"kms_uri"`
	AllowPlaintextKeys bool     `yaml:"allow_plaintext_keys"`
	TaskQueue          string   `yaml:"task_queue"`

	TemporalCodecEndpoint string `yaml:"temporal_codec_endpoint"`
	TemporalCodecAuthEnv  string `yaml:"temporal_codec_auth_env"`
	TemporalCodecAuthFile string `yaml:"temporal_codec_auth_file"`

	Listen    string        `yaml:"listen"`
	LogLevel  string        `yaml:"log_level"`
	LogFormat string        `yaml:"log_format"`
	Timing    fileTiming    `yaml:"timing"`
	Sweep     fileSweep     `yaml:"sweep"`
	Worker    fileWorker    `yaml:"worker"`
	Notify    fileNotify    `yaml:"notify"`
	Discovery fileDiscovery `yaml:"discovery"`
	Server    fileServer    `yaml:"server"`
	Connect   fileConnect   `yaml:"connect"`
	Apps      []fileApp     `yaml:"apps"`
}

type filePool struct {
	MaxOpen  *int   `yaml:"max_open"`
	IdleTime string `yaml:"idle_time"`
}

type fileTiming struct {
	HTTPTimeout     string `yaml:"http_timeout"`
	SaveTimeout     string `yaml:"save_timeout"`
	StartToClose    string `yaml:"start_to_close"`
	AttemptDeadline string `yaml:"attempt_deadline"`
	WorkerStop      string `yaml:"worker_stop"`
	ConfirmDelay    string `yaml:"confirm_delay"`
	ProbeInterval   string `yaml:"probe_interval"`
	PaceFor         string `yaml:"pace_for"`
	ForcedFloor     string `yaml:"forced_floor"`
	ForcedFloorMax  string `yaml:"forced_floor_max"`
}

type fileSweep struct {
	Every     string `yaml:"every"`
	Grace     string `yaml:"grace"`
	FullEvery string `yaml:"full_every"`
	Retention string `yaml:"retention"`
}

type fileWorker struct {
	Cache *int `yaml:"cache"`
}

type fileNotify struct {
	AllowPrivate bool `yaml:"allow_private"`
}

type fileDiscovery struct {
	AllowPrivate bool `yaml:"allow_private"`
}

type fileServer struct {
	Listen  string   `yaml:"listen"`
	Health  string   `yaml:"health"`
	TLSCert string   `yaml:"tls_cert"`
	TLSKey  string   `yaml:"tls_key"`
	Rate    *float64 `yaml:"requests_per_second"`
	Burst   *int     `yaml:"burst"`
}

type fileConnect struct {
	BaseURL      string   `yaml:"base_url"`
	ReturnURLs   []string `yaml:"return_urls"`
	ReconnectURL string   `yaml:"reconnect_url"`
	Product      string   `yaml:"product"`
	HelpURL      string   `yaml:"help_url"`
	Lifetime     string   `yaml:"lifetime"`
	BoundOnly    bool     `yaml:"bound_only"`
}

// fileApp is an app: its own settings, and the description of its provider, which is
// laid over the catalogue's.
type fileApp struct {
	Name             string   `yaml:"name"`
	Provider         string   `yaml:"provider"`
	DescriptionFile  string   `yaml:"description"`
	ClientID         string   `yaml:"client_id"`
	ClientSecretEnv  list     `yaml:"client_secret_env"`
	ClientSecretFile list     `yaml:"client_secret_file"`
	ClientKeyEnv     list     `yaml:"client_key_env"`
	ClientKeyFile    list     `yaml:"client_key_file"`
	Scopes           []string `yaml:"scopes"`
	Buffer           string   `yaml:"buffer"`
	MaxPerSecond     *float64 `yaml:"max_refreshes_per_second"`
	Cadence          string   `yaml:"cadence"`
	Pace             string   `yaml:"pace"`
	Pacers           *int     `yaml:"pacers"`
	Replace          bool     `yaml:"replace"`

	provider.Description `yaml:",inline"`
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

func (l *loader) decode(raw []byte, f *file) {
	l.doc = strictyaml.Decode(raw, f)
	l.problems = append(l.problems, l.doc.Problems...)
}

func (l *loader) duration(at, where, value string) time.Duration {
	if value == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		l.at(at, `%s must be a duration above zero, for example "30s", "30m" or "2400h"`, where)
		return 0
	}
	return d
}

func (l *loader) timing(f fileTiming) timing.Config {
	return timing.Config{
		HTTPTimeout:     l.duration("timing.http_timeout", "timing: http_timeout", f.HTTPTimeout),
		SaveTimeout:     l.duration("timing.save_timeout", "timing: save_timeout", f.SaveTimeout),
		StartToClose:    l.duration("timing.start_to_close", "timing: start_to_close", f.StartToClose),
		AttemptDeadline: l.duration("timing.attempt_deadline", "timing: attempt_deadline", f.AttemptDeadline),
		WorkerStop:      l.duration("timing.worker_stop", "timing: worker_stop", f.WorkerStop),
		ConfirmDelay:    l.duration("timing.confirm_delay", "timing: confirm_delay", f.ConfirmDelay),
		ProbeInterval:   l.duration("timing.probe_interval", "timing: probe_interval", f.ProbeInterval),
		PaceFor:         l.duration("timing.pace_for", "timing: pace_for", f.PaceFor),
		ForcedFloor:     l.floor(f.ForcedFloor),
		ForcedFloorMax:  l.duration("timing.forced_floor_max", "timing: forced_floor_max", f.ForcedFloorMax),
	}.WithDefaults()
}

// floor reads the floor of forced refreshes. Zero is none.
func (l *loader) floor(value string) time.Duration {
	if d, err := time.ParseDuration(value); err == nil && d == 0 {
		return timing.NoFloor
	}
	return l.duration("timing.forced_floor", "timing: forced_floor", value)
}

// maxSilence bounds how long nobody checks an active connection.
const maxSilence = 30 * time.Minute

func (l *loader) sweep(f fileSweep) Sweep {
	s := Sweep{
		Every:     l.duration("sweep.every", "sweep: every", f.Every),
		Grace:     l.duration("sweep.grace", "sweep: grace", f.Grace),
		FullEvery: l.duration("sweep.full_every", "sweep: full_every", f.FullEvery),
		Retention: l.duration("sweep.retention", "sweep: retention", f.Retention),
	}
	if s.FullEvery+s.Every+s.Grace > maxSilence {
		l.at("sweep", "sweep: full_every, every and grace together are %s; no connection may go unlooked-at for more than %s", s.FullEvery+s.Every+s.Grace, maxSilence)
	}
	return s
}

func (l *loader) pool(f filePool) db.Pool {
	p := db.Pool{IdleTime: l.duration("database_pool.idle_time", "database_pool: idle_time", f.IdleTime)}
	if f.MaxOpen != nil {
		if p.MaxOpen = *f.MaxOpen; p.MaxOpen < 2 {
			l.at("database_pool.max_open", "database_pool: max_open must be at least 2; leave it out for the default, %d connections", db.DefaultMaxOpen)
		}
	}
	return p
}

func (l *loader) worker(f fileWorker) Worker {
	if f.Cache == nil {
		return Worker{}
	}
	if *f.Cache <= 0 {
		l.at("worker.cache", "worker: cache must be above 0; leave it out for the default, 10000 workflows")
	}
	return Worker{Cache: *f.Cache}
}

// server reads the settings of the server and adds their variables to known.
func (l *loader) server(f fileServer, known map[string]bool) Server {
	s := Server{TLSCert: f.TLSCert, TLSKey: f.TLSKey}
	for _, a := range []struct {
		name, file, def string
		to              *string
	}{{"listen", f.Listen, "127.0.0.1:8080", &s.Listen}, {"health", f.Health, "127.0.0.1:8082", &s.Health}} {
		variable := l.variable("server_"+a.name, known)
		*a.to = cmp.Or(variable, a.file, a.def)
		switch {
		case isAddress(*a.to):
		case variable != "":
			l.setting("server_"+a.name, "must be HOST:PORT, for example %s", a.def)
		default:
			l.at("server."+a.name, "server: %s must be HOST:PORT, for example %s", a.name, a.def)
		}
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		l.at("server", "server: tls_cert and tls_key are the paths of a certificate and its key; give both, or neither")
	}
	if f.Rate != nil {
		if s.Rate = *f.Rate; s.Rate <= 0 {
			l.at("server.requests_per_second", "server: requests_per_second must be above 0; leave it out for the default, 2000")
		}
	}
	if f.Burst != nil {
		if s.Burst = *f.Burst; s.Burst <= 0 {
			l.at("server.burst", "server: burst must be above 0; leave it out for the default, two seconds' requests")
		}
	}
	return s
}

// ofUsers has the variables of programs that use the HTTP API; the same shell may start
// a worker.
var ofUsers = map[string]bool{"PERENNIAL_URL": true, "PERENNIAL_KEY": true}

// unknownVariables finds misspelt settings: variables with our prefix that nothing
// reads. It ignores those of tests and of the API's users.
func (l *loader) unknownVariables(known map[string]bool) {
	var unknown []string
	for name := range l.env {
		if strings.HasPrefix(name, "PERENNIAL_") && !strings.HasPrefix(name, "PERENNIAL_TEST_") && !ofUsers[name] && !known[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	names := slices.Sorted(maps.Keys(known))
	for _, name := range unknown {
		l.at("", "the environment variable %s is not one that is read: unset it or correct its name%s", name, strictyaml.DidYouMean(name, names))
	}
}
