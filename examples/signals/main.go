// Command signals shows what a program may say to a connection's workflow with Temporal's
// SDK alone: it makes the workflow read its row, asks how the connection is, and asks for
// a fresh token. The contract is docs/signals.md. A Go program that can reach the API, or
// the database, has package client for this.
//
//	TEMPORAL_ADDRESS=127.0.0.1:7233 go run ./examples/signals -queue perennial con_...
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/temporal"
)

func main() {
	log.SetFlags(0)
	queue := flag.String("queue", "perennial", "the workers' task queue")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, *queue, flag.Arg(0)); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, queue, id string) error {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return err
	}
	c, err := client.DialContext(ctx, options)
	if err != nil {
		return err
	}
	defer c.Close()
	workflow := "connection/" + id

	// A plain signal finds no workflow if the last run was terminated. With a start it
	// always arrives, and a running workflow is not started again.
	start := map[string]any{"connection_id": id, "revision": 1}
	if _, err := c.SignalWithStartWorkflow(ctx, workflow, "nudge", nil, client.StartWorkflowOptions{TaskQueue: queue}, "ConnectionWorkflow", start); err != nil {
		return err
	}

	var status struct {
		Status     string `json:"status"`
		Generation int64  `json:"generation"`
	}
	answer, err := c.QueryWorkflow(ctx, workflow, "", "status")
	if err != nil {
		return err
	}
	if err := answer.Get(&status); err != nil {
		return err
	}
	fmt.Printf("status %s, generation %d\n", status.Status, status.Generation)

	// With if_generation a repeated request does no harm: the second caller gets
	// already_fresh.
	update, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: workflow, UpdateName: "refresh_now",
		Args: []any{map[string]any{"if_generation": status.Generation}}, WaitForStage: client.WorkflowUpdateStageCompleted})
	if err != nil {
		return err
	}
	var reply struct {
		Outcome    string `json:"outcome"`
		Generation int64  `json:"generation"`
	}
	err = update.Get(ctx, &reply)
	if refused, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		fmt.Printf("not refreshed: %s\n", refused.Type()) // reconnect_required, paused, ...
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Printf("refresh %s, generation %d\n", reply.Outcome, reply.Generation)
	return nil
}
