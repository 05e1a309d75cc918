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
)

// maxSecret bounds a secret file, so that a path to something else is noticed at once.
const maxSecret = 64 << 10

// secrets reads the client secrets now, so that a missing one is noticed at start. If
// they are optional, it returns the problem with their values instead of recording it.
// No message repeats their values, nor a path or variable name from the file that does
// not look like one: people paste secrets there by mistake.
func (r *appReader) secrets() (all []perennial.Secret, missing error) {
	env, files := r.file.ClientSecretEnv, r.file.ClientSecretFile
	switch {
	case len(env) > 0 && len(files) > 0:
		r.problem("client_secret_file", "and client_secret_env are both given: keep one")
	case len(env)+len(files) == 0:
		if r.doc.Lines[r.key+".client_secret_env"]+r.doc.Lines[r.key+".client_secret_file"] == 0 {
			r.at(r.key, "%s: client_secret_env or client_secret_file is needed", r.name)
		} else {
			r.at(r.key+".client_secret_env", "%s: name at least one secret", r.name)
		}
	}
	unread := &loader{path: r.path, doc: r.doc}
	add := func(key string, i int, value, why string) {
		value = strings.TrimRight(value, "\r\n")
		if why == "" && strings.TrimSpace(value) == "" {
			why = "is empty"
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
		add("client_secret_env", i, value, why)
	}
	for i, path := range files {
		value, why := secretFile(path)
		add("client_secret_file", i, value, why)
	}
	return all, unread.err()
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
