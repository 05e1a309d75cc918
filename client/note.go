package client

import (
	"context"
	"time"
)

const (
	// usedEvery bounds how often last_used_at is written.
	usedEvery = time.Hour
	// usedRetry keeps a failing write from being tried at each load.
	usedRetry = time.Minute
	// noteTimeout bounds one write.
	noteTimeout = 5 * time.Second
)

// used records that a token was used, if the row's last record is old enough. Memory is
// loaded anew each minute, so the loads alone show the use.
func (c *Client) used(ctx context.Context, e *entry, s *snapshot, now time.Time) {
	last := s.state.LastUsedAt
	if !last.IsZero() && s.state.Now.Sub(last) < usedEvery || !e.usedAt.IsZero() && now.Sub(e.usedAt) < usedRetry {
		return
	}
	e.usedAt = now
	c.note(ctx, e.id, NoteUsed)
}

// note writes in the background: no caller waits for it, and a failure costs only the
// note.
func (c *Client) note(ctx context.Context, id string, n Note) {
	ctx = context.WithoutCancel(ctx)
	c.work.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, noteTimeout)
		defer cancel()
		if err := c.Backend.Note(ctx, id, n); err != nil {
			c.Log.Warn("not noted", "connection_id", id, "note", n, "error", err)
		}
	})
}
