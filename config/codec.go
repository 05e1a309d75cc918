package config

import (
	"net/url"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// Codec names a codec server, which encodes and decodes the payloads that Temporal stores. The zero
// value is none.
type Codec struct {
	Endpoint string           // its URL; /encode and /decode are below it
	Auth     perennial.Secret // value of the Authorization header; empty: none is sent

	authMissing error
}

// NeedAuth returns the problem with the codec server's authorization, of
// [perennial.CodeInvalid], or nil if it was read or none is configured. Only a
// configuration from [LoadWithoutSecrets] can lack it.
func (c Codec) NeedAuth() error { return c.authMissing }

// codec reads the settings of the codec server and adds their variables to known.
func (l *loader) codec(f file, known map[string]bool) (c Codec) {
	setting := func(name, inFile string) string {
		if v := l.variable(name, known); v != "" {
			return v
		}
		return inFile
	}
	c.Endpoint = strings.TrimSuffix(setting("temporal_codec_endpoint", f.TemporalCodecEndpoint), "/")
	env := setting("temporal_codec_auth_env", f.TemporalCodecAuthEnv)
	path := setting("temporal_codec_auth_file", f.TemporalCodecAuthFile)
	if c.Endpoint != "" && !isEndpoint(c.Endpoint) {
		l.setting("temporal_codec_endpoint", "must be the URL of a codec server, for example https://codec.example.com, without a user, a query or a fragment")
	}
	switch {
	case env != "" && path != "":
		l.setting("temporal_codec_auth_file", "and temporal_codec_auth_env are both given: keep one")
	case env+path != "" && c.Endpoint == "":
		l.needed("temporal_codec_endpoint", "an authorization for it is configured")
	case env != "":
		known[env] = true
		value, why := l.secretVariable(env)
		c.Auth, c.authMissing = l.codecAuth("temporal_codec_auth_env", value, why)
	case path != "":
		value, why := secretFile(path)
		c.Auth, c.authMissing = l.codecAuth("temporal_codec_auth_file", value, why)
	}
	return c
}

// codecAuth checks the value of the Authorization header. If secrets are optional, it
// returns the problem with it instead of recording it.
func (l *loader) codecAuth(setting, value, why string) (auth perennial.Secret, missing error) {
	value = strings.TrimSpace(value)
	switch {
	case why == "" && value == "":
		why = "is empty"
	case why == "" && strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }):
		why = "names a value that no HTTP header may hold: give one line of plain text, for example Bearer and a token"
	}
	if why == "" {
		return perennial.NewSecret(value), nil
	}
	to := l
	if l.secretsOptional && why != notAName {
		to = &loader{path: l.path, doc: l.doc, from: l.from}
	}
	to.setting(setting, "%s", why)
	if to != l {
		missing = to.err()
	}
	return auth, missing
}

func isEndpoint(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}
