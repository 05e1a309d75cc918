package dev

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// screen draws lines on a terminal; each drawing replaces the one before.
type screen struct {
	out   io.Writer
	size  func() (width, height int)
	drawn []int // widths of the last drawing's lines
}

// draw replaces the last drawing with lines, which fit the width. The lines of kept
// stay above it for good; they may be wider.
func (s *screen) draw(kept, lines []string) {
	width, height := s.size()
	var b strings.Builder
	if up := s.rows(width); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r\x1b[J") // clears to the end of the screen: no row of the last drawing stays
	for _, line := range kept {
		b.WriteString(line + "\n\n")
	}
	s.drawn = nil
	for _, line := range lines[:min(len(lines), max(height-1, 1))] { // a drawing that scrolls cannot be replaced
		b.WriteString(line + "\n")
		s.drawn = append(s.drawn, cells(line))
	}
	fmt.Fprint(s.out, b.String())
}

// rows returns how many rows of the terminal the last drawing takes. A terminal that
// has become narrower wraps its lines.
func (s *screen) rows(width int) int {
	sum := 0
	for _, w := range s.drawn {
		sum += max(1, (w+width-1)/width)
	}
	return sum
}

// terminalSize returns the size of out, or 80 x 24 if it has none.
func terminalSize(out io.Writer) (width, height int) {
	if f, ok := out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			return w, h
		}
	}
	return 80, 24
}
