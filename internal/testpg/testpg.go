// Package testpg gives each test its own PostgreSQL database on a real server: the one
// that PERENNIAL_TEST_POSTGRES_URL names, else one that it starts from the binaries on
// this machine. It never skips a test.
package testpg

import (
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"net/url"
	"os"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/perennial-oauth/perennial/internal/pgserver"
)

// URLVariable names a server to use instead of starting one.
const URLVariable = "PERENNIAL_TEST_POSTGRES_URL"

// start runs at most once per test binary. The server ends with that process.
var start = sync.OnceValues(func() (*pgserver.Server, error) { return pgserver.Start("") })

// bounce starts a pooler in front of the server, at most once per test binary.
var bounce = sync.OnceValues(func() (string, error) { return pgserver.StartBouncer(server()) })

// PooledURL is [URL] through a PgBouncer in transaction mode.
func PooledURL(t testing.TB) string {
	t.Helper()
	direct, err := url.Parse(URL(t))
	if err != nil {
		t.Fatal("the database's URL is not one")
	}
	pooler, err := bounce()
	if err != nil {
		t.Fatalf("no PgBouncer for this test: %v\nInstall it (Debian: apt-get install pgbouncer).", err)
	}
	u, err := url.Parse(pooler)
	if err != nil {
		t.Fatal("the pooler's URL is not one")
	}
	u.Path = direct.Path
	return u.String()
}

// server returns the URL of the server. Call [URL] before: it starts the server.
func server() string {
	if admin := os.Getenv(URLVariable); admin != "" {
		return admin
	}
	s, _ := start()
	return s.URL
}

// URL creates a database for t and returns its URL. The database is dropped when t
// ends.
func URL(t testing.TB) string {
	t.Helper()
	if os.Getenv(URLVariable) == "" {
		if _, err := start(); err != nil {
			t.Fatalf("no PostgreSQL for this test: %v\nSet %s, or install it (Debian: apt-get install postgresql).", err, URLVariable)
		}
	}
	admin := server()
	var raw [6]byte
	_, _ = rand.Read(raw[:]) // never fails, see crypto/rand
	name := "perennial_" + hex.EncodeToString(raw[:])
	execute(t, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatalf("%s is not a URL", URLVariable)
	}
	u.Path = "/" + name
	return u.String()
}

func execute(t testing.TB, url, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatalf("open PostgreSQL: %v", err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
