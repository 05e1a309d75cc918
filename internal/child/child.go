// Package child starts processes that die with this one.
package child

import (
	"os/exec"
	"runtime"
)

// Start starts a child that dies with this process. It closes done when the child has
// ended; cmd.ProcessState then has its state. cmd.SysProcAttr must ask for the
// parent-death signal.
func Start(cmd *exec.Cmd) (done chan struct{}, err error) {
	done = make(chan struct{})
	return done, start(cmd, done)
}

// start starts cmd and waits for it on a thread of its own. The kernel sends the
// parent-death signal when the thread that started the child ends, not the process, so
// that thread must live as long as the child. start closes done when the child has
// ended.
func start(cmd *exec.Cmd, done chan struct{}) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	return <-started
}
