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
	// The controller holds the answer for as long as the fault wants.
	asker = &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
)

// At tells the controller, and goes on when it answers.
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

// With returns a ctx that names the connection for [Written].
func With(ctx context.Context, id string) context.Context { return context.WithValue(ctx, key{}, id) }

// Written has trace mark [AfterWrite] for the connection that ctx names. Whoever
// has the reply calls pass, which waits for as long as the connection stands.
// net/http calls WroteRequest before it flushes its buffer, so nothing is held
// there: the request leaves, and the provider does its work.
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

// Now is this process's wall clock, which may be wrong.
func Now() time.Time { return time.Now().Add(wrong) }
