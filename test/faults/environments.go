package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/perennial-oauth/perennial/store"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// temporalDenied takes the workers' access to Temporal away, as an API key does that has
// expired: Temporal answers, and refuses everything. The workers refresh overdue
// connections themselves.
func temporalDenied(r *round) error {
	defer r.away()()
	refuses, err := newRefusal()
	if err != nil {
		return err
	}
	defer refuses.Stop()
	r.each(func(w *worker) { w.temporal.divert(refuses.address) })
	overdue := pick(r.r, r.steady(r.five()), 8)
	before := map[*conn]int64{}
	for _, c := range overdue {
		before[c] = r.get(c).Generation
		if _, err := r.db.Exec("UPDATE connections SET next_refresh_at = clock_timestamp() WHERE id = $1 AND status = 'active'", c.id); err != nil {
			return err
		}
	}
	for _, c := range overdue {
		r.until(2*buffer, c.account+" is refreshed while Temporal refuses the workers", func() bool { return r.get(c).Generation > before[c] })
	}
	r.each(func(w *worker) { w.temporal.divert(r.temporal.Address) })
	return nil
}

// refusal is a Temporal server that refuses every call.
type refusal struct {
	*grpc.Server
	address string
}

func newRefusal() (*refusal, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		return status.Error(codes.PermissionDenied, "the API key has expired")
	}))
	go func() { _ = s.Serve(l) }() // ends when it is stopped
	return &refusal{s, l.Addr().String()}, nil
}

// foreignWorker starts the worker of another environment, with a database of its own, at
// this one's namespace and task queue. It takes no task.
func foreignWorker(r *round) error {
	const name = "stranger"
	if err := errors.Join(r.exec(r.pg.URL, "DROP DATABASE IF EXISTS "+name), r.exec(r.pg.URL, "CREATE DATABASE "+name)); err != nil {
		return err
	}
	other, err := store.Open(context.Background(), replaceDatabase(r.pg.URL, name))
	if err != nil {
		return err
	}
	_, _, err = other.Migrate(context.Background())
	if err := errors.Join(err, other.Close()); err != nil {
		return err
	}
	return r.stranger(name, "perennial adopt --replace")
}

// clonedDatabase starts a worker at this namespace and task queue over a copy of the
// database. It presents nothing, once a sweep has shown Temporal a number that the copy
// does not have: before, nothing tells the two apart.
func clonedDatabase(r *round) error {
	const name = "clone"
	if err := errors.Join(r.exec(r.pg.URL, "DROP DATABASE IF EXISTS "+name), r.copyDatabase("perennial", name)); err != nil {
		return err
	}
	var copied int64 // or less: a sweep may have raised it since
	r.until(buffer, "the database answers after it was copied", func() bool {
		f, err := r.binding.Inspect(context.Background())
		copied = f.Installation.Number
		return err == nil
	})
	r.until(4*buffer, "Temporal sees a higher number than the copy has", func() bool {
		f, err := r.binding.Inspect(context.Background())
		return err == nil && f.Record != nil && f.Record.Number > copied
	})
	return r.stranger(name, "perennial restored")
}

// stranger runs a worker over another database of the same server until it has named the
// remedy. It must not reach a seam.
func (r *round) stranger(database, says string) error {
	w, err := r.newWorker(fmt.Sprintf("%s-%d", database, r.done["foreign_worker"]+r.done["cloned_database"]))
	if err != nil {
		return err
	}
	w.database = database
	if err := w.start(); err != nil {
		return err
	}
	defer w.end()
	r.stir(pick(r.r, r.steady(r.five()), 20)) // tasks for any worker that polls
	r.until(20*time.Second, "the worker over "+database+" says "+says, func() bool {
		raw, err := os.ReadFile(w.log())
		return err == nil && bytes.Contains(raw, []byte(says))
	})
	r.wait(3 * time.Second)
	for _, c := range r.all {
		if !r.control.lastIn(w.name, c.id).IsZero() {
			r.brokeOf(c, "was refreshed by a worker over %s", database)
		}
	}
	return nil
}
