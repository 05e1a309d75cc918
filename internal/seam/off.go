//go:build !faults

package seam

import (
	"context"
	"net/http/httptrace"
	"time"
)

// At marks that connection id has reached s.
func At(s Seam, id string) {}

// With returns a context that names the connection for [Written].
func With(ctx context.Context, id string) context.Context { return ctx }

// Written makes trace mark [AfterWrite] for the connection that ctx names. The caller
// calls pass when it has the reply; pass waits as long as the controller stops the
// connection.
func Written(ctx context.Context, trace *httptrace.ClientTrace) (pass func()) { return func() {} }

// Waits reports whether a seam may block.
const Waits = false

// Off reports whether a protection is switched off.
func Off(p Protection) bool { return false }

// Now returns this process's wall clock, which a fault may set wrong.
func Now() time.Time { return time.Now() }
