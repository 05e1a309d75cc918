package dev

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
)

// display shows the connections: on a terminal, a table that it redraws in place;
// otherwise nothing, because the story prints what happens.
type display struct {
	*stack
	story  *story
	screen screen
	quiet  bool
}

func newDisplay(s *stack, story *story, out io.Writer, quiet bool) *display {
	if !quiet {
		story.out = io.Discard // the table shows its news
	}
	return &display{stack: s, story: story, quiet: quiet,
		screen: screen{out: out, size: func() (int, int) { return terminalSize(out) }}}
}

func (d *display) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if !d.quiet {
			d.draw(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *display) draw(ctx context.Context) {
	connections, now, err := d.connections(ctx)
	if err != nil {
		return // the next second tries again
	}
	var rows []row
	for _, c := range connections {
		rows = append(rows, rowOf(c, d.words(c), now, d.lastOutcome(ctx, c)))
	}
	room, _ := d.screen.size()
	lines := table(rows, room)
	d.story.mu.Lock()
	news := d.story.news
	d.story.mu.Unlock()
	lines = append(append(lines, ""), wrap(news, room)...)
	d.screen.draw(d.story.takeKept(), lines)
}

func rowOf(c perennial.Connection, words perennial.StatusText, now time.Time, outcome string) row {
	return row{account: c.AccountID, app: c.App, label: words.Label, detail: strings.TrimSuffix(words.Detail, "."),
		left: secondsLeft(c, now), generation: fmt.Sprint(c.Generation), outcome: outcome}
}

func (d *display) words(c perennial.Connection) perennial.StatusText {
	title := c.Provider
	if app, err := d.deps.Config.App(c.App); err == nil {
		title = app.Provider.Title
	}
	return c.Words(title)
}

func secondsLeft(c perennial.Connection, now time.Time) string {
	if c.ExpiresAt.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%d s", int(c.ExpiresAt.Sub(now).Seconds()))
}

func (d *display) lastOutcome(ctx context.Context, c perennial.Connection) string {
	attempts, err := d.deps.Store.Attempts(ctx, perennial.CommandLineAccess(), c.ID, 1)
	if err != nil || len(attempts) == 0 {
		return "connected"
	}
	return strings.TrimSpace(string(attempts[0].Outcome) + " " + attempts[0].ErrorCode)
}
