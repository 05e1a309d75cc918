package db_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSSLModeIsStated: a connection to a database on another machine never falls back
// to plaintext unless the URL says so.
func TestSSLModeIsStated(t *testing.T) {
	for raw, fine := range map[string]bool{
		"postgres://u:p@db.example/d":                                  false,
		"postgresql://u:p@db.example/d":                                false,
		"postgres://u:p@db.example/d?sslmode=prefer":                   false,
		"postgres://u:p@db.example/d?sslmode=allow":                    false,
		"postgres://u:p@db.example/d?sslmode=":                         false,
		"postgres://u:p@db.example/d?SSLMODE=disable":                  false,
		"postgres://u:p@db.example/d?sslmod=require":                   false,
		"postgres://u:p@db.example/d?sslmode=disable":                  true,
		"postgres://u:p@db.example/d?sslmode=require":                  true,
		"postgres://u:p@db.example/d?sslmode=verify-ca":                true,
		"postgres://u:p@db.example/d?sslmode=verify-full":              true,
		"postgres://u:p@192.0.2.1:5432/d":                              false,
		"postgres://u:p@10.0.0.1/d":                                    false,
		"postgres://u:p@[2001:db8::1]:5432/d":                          false,
		"postgres://u:p@127.0.0.1.example/d":                           false,
		"postgres://u:p@localhost.example/d":                           false,
		"postgres://u:p@0.0.0.0/d":                                     false,
		"postgres://u:p@localhost/d":                                   true,
		"postgres://u:p@LOCALHOST/d":                                   true,
		"postgres://u:p@127.0.0.1:5432/d":                              true,
		"postgres://u:p@127.9.9.9/d":                                   true,
		"postgres://u:p@[::1]/d":                                       true,
		"postgres://u:p@[::ffff:127.0.0.1]/d":                          true,
		"postgres://u:p@/d?host=/run/postgresql":                       true,
		"postgres://u:p@/d?host=%2Frun%2Fpostgresql":                   true,
		"postgres://u:p@localhost/d?host=db.example":                   false,
		"postgres://u:p@localhost/d?host=/run/postgresql,db.example":   false,
		"postgres://u:p@127.0.0.1,db.example/d":                        false,
		"postgres://u:p@db.example,127.0.0.1/d":                        false,
		"postgres://u:p@127.0.0.1:1,[::1]:2/d":                         true,
		"postgres://u:p@a.example,b.example/d?sslmode=disable":         true,
		"postgres://u:p%40w%2Fx@db.example/d?sslmode=disable":          true,
		"postgres://u@db.example/d?sslmode=disable&password=x%40y%2Fz": true,
	} {
		err := db.CheckPostgresURL(raw)
		if fine {
			assert.NoError(t, err, raw)
			continue
		}
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), raw)
		assert.ErrorContains(t, err, "sslmode=verify-full", raw)
		assert.ErrorContains(t, err, "sslmode=disable", raw)
		_, opened := db.Open(t.Context(), raw, db.Pool{})
		assert.Equal(t, err, opened, "nothing is dialed")
	}
}

// TestSSLModeOfTheEnvironment: the PG variables and the service file count like the
// URL, for the host and for the mode.
func TestSSLModeOfTheEnvironment(t *testing.T) {
	service := filepath.Join(t.TempDir(), "pg_service.conf")
	require.NoError(t, os.WriteFile(service, []byte("[remote]\nhost=db.example\n[stated]\nhost=db.example\nsslmode=require\n"), 0o600))
	for name, c := range map[string]struct {
		env  map[string]string
		url  string
		fine bool
	}{
		"a host":                         {map[string]string{"PGHOST": "db.example"}, "postgres:///d", false},
		"a host beside":                  {map[string]string{"PGHOST": "db.example"}, "postgres://localhost/d", true},
		"a host and a mode":              {map[string]string{"PGHOST": "db.example", "PGSSLMODE": "disable"}, "postgres:///d", true},
		"a mode":                         {map[string]string{"PGSSLMODE": "require"}, "postgres://db.example/d", true},
		"a mode that falls back":         {map[string]string{"PGSSLMODE": "prefer"}, "postgres://db.example/d", false},
		"a mode that the URL overrides":  {map[string]string{"PGSSLMODE": "require"}, "postgres://db.example/d?sslmode=prefer", false},
		"a service":                      {map[string]string{"PGSERVICEFILE": service, "PGSERVICE": "remote"}, "postgres:///d", false},
		"a service in the URL":           {map[string]string{"PGSERVICEFILE": service}, "postgres:///d?service=remote", false},
		"a service that states its mode": {map[string]string{"PGSERVICEFILE": service, "PGSERVICE": "stated"}, "postgres:///d", true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"PGHOST", "PGSSLMODE", "PGSERVICE", "PGSERVICEFILE"} {
				t.Setenv(variable, "")
			}
			for variable, value := range c.env {
				t.Setenv(variable, value)
			}
			err := db.CheckPostgresURL(c.url)
			assert.Equal(t, c.fine, err == nil, "%v", err)
		})
	}
}

// TestPasswordsStayOut: no error about a malformed URL repeats the password or a part
// of it. Nothing is dialed, because that would look up a part of it as a name.
func TestPasswordsStayOut(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"postgres://u:head@planted@db.example/d",
		"postgres://u:head@planted/tail@db.example/d?sslmode=disable",
		"postgres://u:head/planted@db.example/d",
		"postgres://u:1234/planted@db.example/d",
		"postgres://u:head?planted@db.example/d",
		"postgres://u:head#planted@db.example/d",
		"postgres://u:head#planted",
		"postgres://u:head%planted@db.example/d",
		"postgres://u:head%zzplanted@db.example/d",
		"postgres://u:head planted@db.example/d",
		"postgres://u:head\\planted@db.example/d",
		"postgres://u:head[planted@db.example/d",
		"postgres://u:planted@db.example:port/d",
		"postgres://u:planted@db.example:99999/d",
		"postgres://u:planted@[::1/d",
		"postgres://u:planted",
		"postgres://u:planted/d",
		"postgres://u:planted@db.example/d?sslmode=planted",
		"postgres://u:planted@db.example/d?sslmode=disable&connect_timeout=planted",
		"postgres://u:head@planted:5432@db.example",
		"postgres://u:planted\n@db.example/d",
		"postgres://u:planted\x00@db.example/d",
		"postgres://u:x@localhost/d?password=head@planted",
		"postgres://u:x@localhost/d?sslmode=verify-full&sslrootcert=/planted/ca.pem",
		"postgres://u:x@localhost/d?sslmode=verify-full&sslpassword=planted&sslkey=/planted/k&sslcert=/planted/c",
		"postgres://u:x@localhost/d?service=planted",
		"postgres:u:planted@db.example/d",
		"Postgres://u:planted@db.example/d",
		"host=db.example password=planted",
		" postgres://u:planted@db.example/d",
		"jdbc:postgresql://u:planted@db.example/d",
	} {
		_, err := db.Open(t.Context(), raw, db.Pool{})
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), "%q: %v", raw, err)
		for _, part := range []string{"planted", "head", "tail", "1234"} {
			assert.NotContains(t, err.Error(), part, "%q", raw)
		}
	}
	// A failed dial does not repeat it either.
	for _, raw := range []string{"postgres://u:planted@127.0.0.1:1/d", "postgres://u:pl%40nted@127.0.0.1:1/d", "postgres://u@127.0.0.1:1/d?password=planted"} {
		_, err := db.Open(t.Context(), raw, db.Pool{})
		require.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err), "%q: %v", raw, err)
		for _, part := range []string{"planted", "pl@nted", "pl%40nted"} {
			assert.NotContains(t, err.Error(), part, "%q", raw)
		}
	}
}

// TestSSLModeAgainstAServer: a server without TLS is reached with disable and not with
// require: nothing falls back.
func TestSSLModeAgainstAServer(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testpg.URL(t))
	require.NoError(t, err)
	for mode, fine := range map[string]bool{"disable": true, "require": false} {
		query := u.Query()
		query.Set("sslmode", mode)
		u.RawQuery = query.Encode()
		s, err := db.Open(t.Context(), u.String(), db.Pool{})
		require.Equal(t, fine, err == nil, "%s: %v", mode, err)
		if err == nil {
			require.NoError(t, s.Close())
		}
	}
}

// TestSQLiteIsPrivate: no other user can read a database or its journals, whatever the
// umask. Open restricts a database of an older release.
func TestSQLiteIsPrivate(t *testing.T) {
	t.Parallel()
	for name, older := range map[string]bool{"new": false, "made by an older release": true} {
		path := filepath.Join(t.TempDir(), "p.db")
		if older {
			for _, file := range []string{path, path + "-wal", path + "-shm"} {
				require.NoError(t, os.WriteFile(file, nil, 0o600))
				require.NoError(t, os.Chmod(file, 0o644))
			}
		}
		s, err := db.Open(t.Context(), "sqlite:"+path, db.Pool{})
		require.NoError(t, err)
		_, _, err = s.Migrate(t.Context())
		require.NoError(t, err)
		for _, file := range []string{path, path + "-wal", path + "-shm"} {
			info, err := os.Stat(file)
			require.NoError(t, err, name)
			assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "%s: %s", name, file)
		}
		require.NoError(t, s.Close())
	}
}
