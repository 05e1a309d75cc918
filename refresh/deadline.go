package refresh

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// afterStall is how much longer an exchange lasts in a process that was stopped
// or starved past its timeout.
const afterStall = time.Second

// lateBy is how late a timer fires in a process that was.
const lateBy = 250 * time.Millisecond

// within bounds an exchange by d, as [context.WithTimeout] does, but for a process
// that stood still when d was over (a frozen virtual machine, a paused container, a
// starved processor) after its request was written: the reply may lie in its socket
// unread, with tokens that exist nowhere else, so it gets a moment to be read. The
// last part of d is therefore time in which the process ran: who wakes just after d
// was not late enough to be seen, and has the reply just as much. A request that was
// not written gets nothing: another may hold the fence by now.
func within(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	var written atomic.Bool
	traced := httptrace.WithClientTrace(parent, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { written.Store(true) }})
	ctx, cancel := context.WithCancelCause(traced)
	end := func() { cancel(context.DeadlineExceeded) }
	due, last := time.Now().Add(d), min(lateBy, d/2)
	// over gives an exchange that has its whole time behind it a moment more, where
	// the process stood still until now.
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
