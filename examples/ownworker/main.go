// Command ownworker is an example of a Temporal worker of your own that runs
// Perennial's workflows and activities next to yours: one program, one task queue. Your
// activities use the connections directly, through the store that is already open.
//
// Its own workflow, SyncOrders, writes orders to a provider's API (sync.go). While the
// customer has to reconnect, it waits, for weeks if necessary, and then continues with
// the same order.
//
//	TEMPORAL_ADDRESS=localhost:7233 PROVIDER_API=https://api.provider.example/orders \
//	go run ./examples/ownworker -config perennial.yaml -tenant acme
//	temporal workflow start --type SyncOrders --task-queue perennial --workflow-id sync-1 \
//	  --input '{"connection": "con_...", "orders": ["1007", "1008"]}'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/wiring/direct"
	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/worker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Environ()); err != nil {
		fmt.Fprintln(os.Stderr, "ownworker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args, environ []string) error {
	flags := flag.NewFlagSet("ownworker", flag.ContinueOnError)
	path := flags.String("config", "perennial.yaml", "Perennial's configuration")
	tenant := flags.String("tenant", "", "whose connections the workflow may use")
	if err := flags.Parse(args); err != nil {
		return err
	}
	api := os.Getenv("PROVIDER_API")
	if *tenant == "" || api == "" {
		return errors.New("give -tenant, and set PROVIDER_API to the URL that takes orders")
	}
	cfg, err := config.LoadEnviron(*path, environ)
	if err != nil {
		return err
	}
	log := wiring.NewLogger(cfg, os.Stderr)
	deps, err := wiring.Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer deps.Close()
	if err := deps.OpenSpool(); err != nil {
		return err
	}
	temporal, err := wiring.Dial(ctx, cfg, environ, log)
	if err != nil {
		return err
	}
	defer temporal.Close()

	w := worker.New(temporal, cfg.TaskQueue, wiring.WorkerOptions(cfg))

	// Perennial's part.
	perennial, err := deps.Register(w, temporal, prometheus.DefaultRegisterer)
	if err != nil {
		return err
	}

	// Your own.
	backend, err := direct.New(direct.Config{Tenant: *tenant, Store: deps.Store, Keys: deps.Keyring, Workflows: direct.Temporal(temporal, cfg.TaskQueue), Apps: cfg, Floor: cfg.Timing.Floor()})
	if err != nil {
		return err
	}
	defer backend.Close()
	tokens, err := client.New(client.Config{Backend: backend, Log: log})
	if err != nil {
		return err
	}
	defer tokens.Close()
	w.RegisterWorkflow(SyncOrders)
	w.RegisterActivity(&Orders{Tokens: tokens, API: api})

	if err := w.Start(); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	stopPerennial := perennial.Start(ctx)
	log.Info("worker started", "task_queue", cfg.TaskQueue)
	<-ctx.Done()
	w.Stop() // Stop waits for running refreshes: give the process more time than cfg.Timing.WorkerStop
	stopPerennial()
	return nil
}
