package client

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// Warn when the clock is off by more than this.
const warnOffset = 30 * time.Second

// clock tracks how far this process's clock is behind the backend's. Tokens do not
// depend on it, so a wrong clock does no harm here. But other programs on this machine
// may depend on their clock.
type clock struct {
	offset atomic.Int64
	warned atomic.Bool
}

// saw records the backend's clock, which was read between began and ended.
func (c *clock) saw(backend, began, ended time.Time, log *slog.Logger) time.Duration {
	half := ended.Sub(began) / 2
	offset := backend.Sub(began.Round(0).Add(half))
	c.offset.Store(int64(offset))
	switch wrong := offset.Abs()-half > warnOffset; {
	case wrong && c.warned.CompareAndSwap(false, true):
		log.Warn("this machine's clock and the database's disagree: set one of them right", "clock_offset_seconds", offset.Seconds())
	case !wrong && c.warned.CompareAndSwap(true, false):
		log.Info("this machine's clock and the database's agree again", "clock_offset_seconds", offset.Seconds())
	}
	return offset
}

// ClockOffset returns how far this process's clock was behind the backend's at the last
// load; 0 before the first load.
func (c *Client) ClockOffset() time.Duration { return time.Duration(c.clock.offset.Load()) }
