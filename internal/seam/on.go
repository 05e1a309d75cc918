//go:build faults

package seam

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

var (
	control  = os.Getenv(ControlVariable)
	worker   = os.Getenv(WorkerVariable)
	off      = strings.Split(os.Getenv(OffVariable), ",")
	wrong, _ = time.ParseDuration(os.Getenv(ClockVariable))
	// The fault controller answers only when the connection may go on, so the wait is long.
	asker = &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
)

// At tells the controller, and returns when the controller answers.
func At(s Seam, id string) {
	if control == "" {
		return
	}
	body, err := json.Marshal(Hit{worker, s, id})
	if err != nil {
		panic(err)
	}
	resp, err := asker.Post(control, "application/json", bytes.NewReader(body))
	if err != nil {
		fmt.Fprintln(os.Stderr, "the fault suite's controller does not answer:", err)
		return
	}
	_ = resp.Body.Close()
}

type key struct{}

// With returns a context that names the connection for [Written].
func With(ctx context.Context, id string) context.Context { return context.WithValue(ctx, key{}, id) }

// Written makes trace mark [AfterWrite] for the connection that ctx names. The caller
// calls pass when it has the reply; pass waits as long as the controller stops the
// connection. net/http calls WroteRequest before it flushes its buffer, so nothing
// waits there: the request leaves, and the provider does its work.
func Written(ctx context.Context, trace *httptrace.ClientTrace) (pass func()) {
	var standing sync.WaitGroup
	trace.WroteRequest = func(httptrace.WroteRequestInfo) {
		standing.Go(func() {
			if id, ok := ctx.Value(key{}).(string); ok {
				At(AfterWrite, id)
			}
		})
	}
	return standing.Wait
}

// Waits reports whether a seam may block.
const Waits = true

// Off reports whether a protection is switched off.
func Off(p Protection) bool { return slices.Contains(off, string(p)) }

// Now returns this process's wall clock, which a fault may set wrong.
func Now() time.Time { return time.Now().Add(wrong) }
