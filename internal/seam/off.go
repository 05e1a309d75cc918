//go:build !faults

package seam

import (
	"context"
	"net/http/httptrace"
	"time"
)

// At marks that connection id has reached s.
func At(s Seam, id string) {}

// With returns a ctx that names the connection for [Written].
func With(ctx context.Context, id string) context.Context { return ctx }

// Written has trace mark [AfterWrite] for the connection that ctx names. Whoever
// has the reply calls pass, which waits for as long as the connection stands.
func Written(ctx context.Context, trace *httptrace.ClientTrace) (pass func()) { return func() {} }

// Waits reports whether a seam may block.
const Waits = false

// Off reports whether a protection is switched off.
func Off(p Protection) bool { return false }

// Now is this process's wall clock, which may be wrong.
func Now() time.Time { return time.Now() }
