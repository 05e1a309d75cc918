package dev

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/term"
)

// display shows the connections: a table drawn in place on a terminal, nothing
// otherwise (the story tells what happens).
type display struct {
	*stack
	story *story
	out   io.Writer
	quiet bool
	lines int // of the last drawing
}

func newDisplay(s *stack, story *story, out io.Writer, quiet bool) *display {
	if !quiet {
		story.out = io.Discard // its news stand below the table
	}
	return &display{stack: s, story: story, out: out, quiet: quiet}
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
		return // the next second will tell
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ACCOUNT\tAPP\tSTATUS\tSECONDS LEFT\tGENERATION\tLAST OUTCOME")
	for _, c := range connections {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", c.AccountID, c.App, d.words(c), secondsLeft(c, now), c.Generation, d.lastOutcome(ctx, c))
	}
	_ = table.Flush() // into memory
	d.story.mu.Lock()
	news := d.story.news
	d.story.mu.Unlock()
	fmt.Fprintf(&b, "\n%s\n", news)
	drawing := clip(b.String(), width(d.out))
	// Up over the last drawing; each line is cleared to its end.
	text := strings.ReplaceAll(drawing, "\n", "\x1b[K\n")
	for _, line := range d.story.takeKept() { // above the table; it may wrap, what it covers is drawn below it
		text = line + "\x1b[K\n\n" + text
	}
	if d.lines > 0 {
		text = fmt.Sprintf("\x1b[%dA", d.lines) + text
	}
	d.lines = strings.Count(drawing, "\n")
	fmt.Fprint(d.out, text)
}

// width is that of the terminal; a line that is longer would wrap and be drawn
// over wrongly.
func width(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

func clip(text string, width int) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if r := []rune(l); len(r) > width {
			lines[i] = string(r[:width-1]) + "…"
		}
	}
	return strings.Join(lines, "\n")
}

func (d *display) words(c perennial.Connection) string {
	title := c.Provider
	if app, err := d.deps.Config.App(c.App); err == nil {
		title = app.Provider.Title
	}
	return perennial.Describe(c.Status, c.Health, c.Reason, title).String()
}

func secondsLeft(c perennial.Connection, now time.Time) string {
	if c.ExpiresAt.IsZero() {
		return "-"
	}
	return fmt.Sprint(int(c.ExpiresAt.Sub(now).Seconds()))
}

func (d *display) lastOutcome(ctx context.Context, c perennial.Connection) string {
	attempts, err := d.deps.Store.Attempts(ctx, c.ID, 1)
	if err != nil || len(attempts) == 0 {
		return "connected"
	}
	return strings.TrimSpace(string(attempts[0].Outcome) + " " + attempts[0].ErrorCode)
}
