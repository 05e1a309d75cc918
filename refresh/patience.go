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
// unread, with tokens that exist nowhere else, so it gets a moment to be read. A
// request that was not written must not be: another may hold the fence by now.
func within(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	var written atomic.Bool
	traced := httptrace.WithClientTrace(parent, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { written.Store(true) }})
	ctx, cancel := context.WithCancelCause(traced)
	due := time.Now().Add(d)
	end := func() { cancel(context.DeadlineExceeded) }
	timer := time.AfterFunc(d, func() {
		if time.Since(due) > lateBy && written.Load() {
			time.AfterFunc(afterStall, end)
			return
		}
		end()
	})
	return ctx, func() { timer.Stop(); cancel(context.Canceled) }
}
