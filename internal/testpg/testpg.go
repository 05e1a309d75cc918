// Package testpg gives each test a PostgreSQL database of its own, on a real
// server: the one that PERENNIAL_TEST_POSTGRES_URL names, else one that it
// starts from the binaries on this machine. It never skips.
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

// start runs at most once per test binary; the server dies with it.
var start = sync.OnceValues(func() (*pgserver.Server, error) { return pgserver.Start("") })

// URL makes a database for t and returns its URL. The database is dropped when t
// ends.
func URL(t testing.TB) string {
	t.Helper()
	admin := os.Getenv(URLVariable)
	if admin == "" {
		s, err := start()
		if err != nil {
			t.Fatalf("no PostgreSQL for this test: %v\nSet %s, or install it (Debian: apt-get install postgresql).", err, URLVariable)
		}
		admin = s.URL
	}
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
