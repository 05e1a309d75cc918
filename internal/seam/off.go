//go:build !faults

package seam

import (
	"context"
	"time"
)

// At marks that connection id has reached s.
func At(s Seam, id string) {}

// With returns a ctx that names the connection for [AtContext].
func With(ctx context.Context, id string) context.Context { return ctx }

// AtContext is [At] for the connection that ctx names.
func AtContext(ctx context.Context, s Seam) {}

// Waits reports whether [AtContext] may block.
const Waits = false

// Off reports whether a protection is switched off.
func Off(p Protection) bool { return false }

// Now is this process's wall clock, which may be wrong.
func Now() time.Time { return time.Now() }
