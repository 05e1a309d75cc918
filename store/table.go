package store

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// table is a table whose rows are values of T. It is the only place that says which
// column holds which part of T: inserts, reads and the statements written by hand all
// follow it.
type table[T any] struct {
	name    string
	columns []column[T]
}

// column is a column and the part of T that it holds.
type column[T any] struct {
	name  string
	into  func(v *T) sql.Scanner
	value func(v *T) any
}

// names returns the names of the columns.
func (t table[T]) names() []string {
	var names []string
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	return names
}

// list returns the columns for a statement that calls the table alias. A statement names
// its columns, because one that a newer program adds must not change what an older
// program's prepared statement returns.
func (t table[T]) list(alias string) string {
	return alias + "." + strings.Join(t.names(), ", "+alias+".")
}

// marks returns a parameter for each column.
func (t table[T]) marks() string { return strings.Repeat(", ?", len(t.columns))[2:] }

// values returns the values of an insert of v, in the order of the columns.
func (t table[T]) values(v T) []any {
	var out []any
	for _, c := range t.columns {
		out = append(out, c.value(&v))
	}
	return out
}

// insert writes a new row. end is the end of the statement: "" or an ON CONFLICT.
func (t table[T]) insert(tx *gorm.DB, v T, end string) error {
	return tx.Exec("INSERT INTO "+t.name+" ("+strings.Join(t.names(), ", ")+") VALUES ("+t.marks()+") "+end, t.values(v)...).Error
}

// apply returns v after a write of some columns.
func (t table[T]) apply(v T, set columns) (T, error) {
	for _, c := range t.columns {
		if value, ok := set[c.name]; ok {
			if err := c.into(&v).Scan(value); err != nil {
				return v, fmt.Errorf("column %s: %w", c.name, err)
			}
		}
	}
	return v, nil
}

// scan reads the current row: the table's columns in their order, then more.
func (t table[T]) scan(rows *sql.Rows, more ...any) (v T, err error) {
	to := make([]any, 0, len(t.columns)+len(more))
	for _, c := range t.columns {
		to = append(to, c.into(&v))
	}
	err = rows.Scan(append(to, more...)...)
	return v, err
}

// find returns the rows that q matches.
func (t table[T]) find(q *gorm.DB) ([]T, error) {
	all := []T{}
	if q.Statement.Table == "" {
		q = q.Table(t.name)
	}
	rows, err := q.Select(t.names()).Rows()
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		v, err := t.scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, errors.Join(rows.Err(), rows.Close())
}

// without returns the table without the columns whose names end with suffix.
func (t table[T]) without(suffix string) table[T] {
	out := table[T]{name: t.name}
	for _, c := range t.columns {
		if !strings.HasSuffix(c.name, suffix) {
			out.columns = append(out.columns, c)
		}
	}
	return out
}

// only returns the table with the named columns alone, in the order of the names.
func (t table[T]) only(names ...string) table[T] {
	out := table[T]{name: t.name}
	for _, name := range names {
		i := slices.IndexFunc(t.columns, func(c column[T]) bool { return c.name == name })
		out.columns = append(out.columns, t.columns[i])
	}
	return out
}

// scanner reads a column of any kind. Null is the zero value.
type scanner[V any] struct{ set func(V) }

func (s scanner[V]) Scan(value any) error {
	var n sql.Null[V]
	if err := n.Scan(value); err != nil {
		return err
	}
	s.set(n.V)
	return nil
}

// kind returns a column that is stored as S, by the conversions from and to V.
func kind[T, V, S any](name string, of func(*T) *V, from func(S) V, to func(V) any) column[T] {
	return column[T]{name: name,
		into:  func(v *T) sql.Scanner { return scanner[S]{func(stored S) { *of(v) = from(stored) }} },
		value: func(v *T) any { return to(*of(v)) }}
}

func text[T any, V ~string](name string, of func(*T) *V) column[T] {
	return kind(name, of, func(s string) V { return V(s) }, func(v V) any { return string(v) })
}

func bigint[T any](name string, of func(*T) *int64) column[T] {
	return kind(name, of, func(n int64) int64 { return n }, func(n int64) any { return n })
}

func integer[T any](name string, of func(*T) *int) column[T] {
	return kind(name, of, func(n int64) int { return int(n) }, func(n int) any { return n })
}

func flag[T any](name string, of func(*T) *bool) column[T] {
	return kind(name, of, func(b bool) bool { return b }, func(b bool) any { return b })
}

func blob[T any](name string, of func(*T) *[]byte) column[T] {
	return kind(name, of, func(b []byte) []byte { return b }, func(b []byte) any { return b })
}

// instant is a time in UTC; the zero time is stored as null.
func instant[T any](name string, of func(*T) *time.Time) column[T] {
	return kind(name, of, func(t time.Time) time.Time {
		if t.IsZero() {
			return time.Time{}
		}
		return t.UTC()
	}, db.Nullable)
}

// milliseconds is a duration.
func milliseconds[T any](name string, of func(*T) *time.Duration) column[T] {
	return kind(name, of, func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }, func(d time.Duration) any { return d.Milliseconds() })
}
