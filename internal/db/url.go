package db

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/perennial-oauth/perennial"
)

// checkPostgresURL refuses a PostgreSQL URL that would connect differently from what it
// says: with an unrequested fall-back to plaintext, or with part of a password as its
// host. No error repeats any part of the URL, because in a malformed one a password may
// be anywhere.
func checkPostgresURL(raw string) error {
	if err := checkUserinfo(raw); err != nil {
		return err
	}
	c, err := pgconn.ParseConfig(raw) // also reads PGHOST, PGSSLMODE, PGSERVICE and such files
	if err != nil {
		return unparsed(err)
	}
	plain, encrypted := map[string]bool{}, map[string]bool{}
	note := func(host string, tls bool) {
		switch {
		case isLocal(host):
		case tls:
			encrypted[host] = true
		default:
			plain[host] = true
		}
	}
	note(c.Host, c.TLSConfig != nil)
	for _, f := range c.Fallbacks {
		note(f.Host, f.TLSConfig != nil)
	}
	for host := range plain {
		if encrypted[host] { // the modes prefer (the default) and allow
			return perennial.Errorf(perennial.CodeInvalid, "the database is on another machine, and its connection would fall back to plaintext: "+
				"state in the database URL sslmode=verify-full with sslrootcert=FILE (the certificate of its authority), or sslmode=disable if the network between is trusted. "+
				"Without sslmode, and with prefer or allow, whoever is between can read every query")
		}
	}
	return nil
}

// checkUserinfo finds a user or a password that some character in it cuts short.
func checkUserinfo(raw string) error {
	_, rest, _ := strings.Cut(raw, "://")
	authority, after := rest, ""
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		authority, after = rest[:end], rest[end:]
	}
	if strings.Count(authority, "@") > 1 || strings.ContainsAny(after, "@#") {
		return perennial.Errorf(perennial.CodeInvalid, "the database URL has a character that must be written with its code, in the user or the password most likely: "+
			"%%40 for @, %%2F for /, %%3F for ?, %%23 for #; in parameters too")
	}
	return nil
}

// unparsed says which part of a URL cannot be read, without repeating any of it.
func unparsed(err error) error {
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return perennial.Errorf(perennial.CodeInvalid, "the database URL, or a PG variable, names a file that cannot be read: %s", file.Err)
	}
	return perennial.Errorf(perennial.CodeInvalid, "the database URL is not readable: it must be postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE, "+
		"with special characters of the password written with their code (%%40 for @, %%2F for /, %%25 for %%); look also at the PG variables of the environment, such as PGSSLMODE, PGSSLROOTCERT and PGSERVICE")
}

// isLocal reports whether no network lies between this process and the host: it is a
// Unix socket or a loopback address.
func isLocal(host string) bool {
	if network, _ := pgconn.NetworkAddress(host, 0); network == "unix" || strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
