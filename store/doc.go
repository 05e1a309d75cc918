// Package store keeps connections and their ledger in PostgreSQL, or in SQLite for
// development and tests. The row is the fence of every refresh: each write names its
// columns and its guard, and compares times only with the database's own clock.
package store
