package wiring

import (
	"context"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial/internal/version"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
)

// The kinds of processes.
const (
	KindWorker = store.KindWorker
	KindServer = "server"
	KindDirect = "direct" // a product's own process
)

// reportEvery is less than half of the time for which a process counts as alive.
const reportEvery = 50 * time.Second

// Report lists this process in the database until stop is called, and writes anew each
// minute which keys, spool and steps it has. Others read it there.
func (d *Deps) Report(ctx context.Context, kind string) (stop func()) {
	p := d.process(kind)
	end := inBackground(context.WithoutCancel(ctx), func(ctx context.Context) {
		told := false
		every(ctx, reportEvery, func(ctx context.Context) {
			bounded, cancel := context.WithTimeout(ctx, pollTimeout)
			defer cancel()
			err := d.report(bounded, p)
			if err != nil && !told && ctx.Err() == nil {
				d.Log.Warn("this process is not listed at present", "error", err)
			}
			told = err != nil
		})
	})
	return func() {
		end()
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		if err := d.Store.Leave(leave, p.ID); err != nil {
			d.Log.Warn("this process stays listed", "error", err)
		}
	}
}

// process returns the part of a report that does not change while the process runs.
func (d *Deps) process(kind string) store.Process {
	p := store.Process{ID: uuid.NewString(), Kind: kind, Version: version.Get().String(), Revision: workflows.Knows, TaskQueue: d.Config.TaskQueue,
		Keys: map[string][]uint32{}, StartedAt: time.Now()}
	if host, err := os.Hostname(); err == nil {
		p.Host = host
	}
	for _, field := range seal.Fields {
		if ids := d.Keyring.KeyIDs(field); len(ids) > 0 {
			p.Keys[string(field)] = ids
		}
	}
	return p
}

func (d *Deps) report(ctx context.Context, p store.Process) error {
	before := time.Now()
	now, err := d.Store.Now(ctx)
	if err != nil {
		return err
	}
	p.ClockOffset = before.Add(time.Since(before) / 2).Sub(now)
	if d.Spool != nil {
		if p.SpoolSets, _, err = d.Spool.Count(); err != nil {
			d.Log.Warn("the spool cannot be counted", "error", err)
		}
	}
	if d.binding != nil {
		state, _ := d.binding.State()
		p.Binding = string(state)
	}
	return d.Store.Report(ctx, p)
}
