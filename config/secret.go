package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/private"
	"github.com/perennial-oauth/perennial/provider"
)

// maxSecret bounds a secret file, so that a path to something else is noticed at once.
const maxSecret = 64 << 10

// secrets reads the client secrets, or the client's keys, now, so that a missing one is
// noticed at start. If they are optional, it returns the problem with their values
// instead of recording it. No message repeats their values, nor a path or variable name
// from the file that does not look like one: people paste secrets there by mistake.
func (r *appReader) secrets(e provider.Entry) (all []perennial.Secret, missing error) {
	proof, env, files := e.Proof(), r.file.ClientSecretEnv, r.file.ClientSecretFile
	if proof == provider.ProofKey {
		env, files = r.file.ClientKeyEnv, r.file.ClientKeyFile
	}
	if r.proofsGiven(e); proof == provider.ProofNone {
		return nil, nil
	}
	inEnv, inFile := string(proof)+"_env", string(proof)+"_file"
	switch {
	case len(env) > 0 && len(files) > 0:
		r.problem(inFile, "and %s are both given: keep one", inEnv)
	case len(env)+len(files) == 0 && r.file.MCP != "": // registered, or a public client
	case len(env)+len(files) == 0:
		if r.doc.Lines[r.key+"."+inEnv]+r.doc.Lines[r.key+"."+inFile] == 0 {
			r.at(r.key, "%s: %s or %s is needed", r.name, inEnv, inFile)
		} else {
			r.at(r.key+"."+inEnv, "%s: name at least one secret", r.name)
		}
	}
	unread := &loader{path: r.path, doc: r.doc}
	add := func(key string, i int, value, why string) {
		value = strings.TrimRight(value, "\r\n")
		if why == "" && strings.TrimSpace(value) == "" {
			why = "is empty"
		}
		if why == "" {
			if err := e.CheckProof(perennial.NewSecret(value)); err != nil {
				why = err.Error()
			}
		}
		if why != "" {
			to := r.loader
			if r.secretsOptional && why != notAName {
				to = unread
			}
			to.at(fmt.Sprintf("%s.%s.%d", r.key, key, i), "%s: %s %s", r.name, key, why)
			return
		}
		all = append(all, perennial.NewSecret(value))
	}
	for i, name := range env {
		value, why := r.secretVariable(name)
		add(inEnv, i, value, why)
	}
	for i, path := range files {
		value, why := secretFile(path)
		add(inFile, i, value, why)
	}
	return all, unread.err()
}

// proofsGiven records the keys of secrets that the app's way of client authentication
// does not use: its owner would believe that it is used.
func (r *appReader) proofsGiven(e provider.Entry) {
	for key, proof := range map[string]provider.Proof{"client_secret_env": provider.ProofSecret, "client_secret_file": provider.ProofSecret,
		"client_key_env": provider.ProofKey, "client_key_file": provider.ProofKey} {
		if r.doc.Lines[r.key+"."+key] == 0 || proof == e.Proof() {
			continue
		}
		r.problem(key, "is not used with this auth_style: %s", map[provider.Proof]string{
			provider.ProofNone:   "a public client has no secret; leave it out",
			provider.ProofSecret: "it takes client_secret_env or client_secret_file",
			provider.ProofKey:    "it takes client_key_env or client_key_file",
		}[e.Proof()])
	}
}

// notAName is a mistake for whichever program reads the file.
const notAName = "must name an environment variable; the secret itself does not belong in the file"

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	shownName    = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)
)

func (l *loader) secretVariable(name string) (value, why string) {
	value, ok := l.env[name]
	named := "a variable that"
	if shownName.MatchString(name) {
		named = "the variable " + name + ", which"
	}
	switch {
	case !variableName.MatchString(name):
		return "", notAName
	case !ok:
		return "", "names " + named + " is not set"
	case strings.TrimSpace(value) == "":
		return "", "names " + named + " is empty"
	}
	return value, ""
}

// secretFile reads only regular files: a pipe or a device would block or never end.
func secretFile(path string) (value, why string) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return "", "names something that is not a file"
	}
	var raw []byte
	if err == nil {
		var f *os.File
		if f, err = os.Open(path); err == nil {
			defer f.Close()
			raw, err = io.ReadAll(io.LimitReader(f, maxSecret+1))
		}
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err // without the path
	}
	switch {
	case err != nil:
		return "", fmt.Sprintf("names a file that cannot be read: %s", err)
	case private.CheckFile("the secret", path) != nil: // its text has the path in it
		return "", "names a file that other users can read, write or replace: run `chmod 600` on it, and `chmod go-w` on the folders above it; in Kubernetes give the volume of the secret defaultMode 0440"
	case len(raw) > maxSecret:
		return "", "names a file that is too large for a secret"
	}
	return string(raw), ""
}
