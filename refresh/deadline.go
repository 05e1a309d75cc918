package refresh

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// afterStall is the extra time for an exchange whose process was stopped or starved
// past the timeout.
const afterStall = time.Second

// lateBy is how late a timer fires if the process was stopped or starved.
const lateBy = 250 * time.Millisecond

// within bounds an exchange by d, as [context.WithTimeout] does, with one exception. A
// process may stand still when d ends (a frozen virtual machine, a paused container, a
// starved processor) after it has written its request. Then the reply may lie unread in
// its socket, with tokens that exist nowhere else, so within grants a moment to read
// it. For this the last part of d counts only while the process runs: a process that
// wakes just after d does not look late, and gets the reply all the same. A request
// that was not written gets no extra time, because another process may hold the fence
// by now.
func within(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	var written atomic.Bool
	traced := httptrace.WithClientTrace(parent, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { written.Store(true) }})
	ctx, cancel := context.WithCancelCause(traced)
	end := func() { cancel(context.DeadlineExceeded) }
	due, last := time.Now().Add(d), min(lateBy, d/2)
	// over ends an exchange that has used up its time. If the process stood still until
	// now, it grants a moment more.
	over := func(at time.Time, otherwise func()) {
		if time.Since(at) > lateBy && written.Load() {
			time.AfterFunc(afterStall, end)
			return
		}
		otherwise()
	}
	timer := time.AfterFunc(d-last, func() {
		over(due.Add(-last), func() {
			rest := last
			if !written.Load() {
				rest = time.Until(due)
			}
			then := time.Now().Add(rest)
			time.AfterFunc(rest, func() { over(then, end) })
		})
	})
	return ctx, func() { timer.Stop(); cancel(context.Canceled) }
}
