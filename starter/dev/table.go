package dev

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// row holds what the table shows of one connection.
type row struct {
	account, app     string
	label, detail    string // of its status; the label must stay visible
	left, generation string
	outcome          string // of its last attempt
}

// column is one column of the table; min is the smallest useful width.
type column struct {
	title      string
	cells      []string
	min, width int
}

const (
	gap       = 2  // between columns
	minName   = 20 // a longer account or app may be cut to this width
	minCut    = 9  // the last outcome may be cut to this: "refreshed" is whole
	minDetail = 12 // a shorter detail would be unreadable
)

// table lays the rows out in lines of at most room cells, below a line of titles. If
// there is little room, it leaves columns out. It never cuts a status's label while
// another column is visible.
func table(rows []row, room int) []string {
	status := newColumn("STATUS", rows, func(r row) string { return r.label })
	account := newColumn("ACCOUNT", rows, func(r row) string { return r.account })
	app := newColumn("APP", rows, func(r row) string { return r.app })
	left := newColumn("LEFT", rows, func(r row) string { return r.left })
	generation := newColumn("GEN", rows, func(r row) string { return r.generation })
	last := newColumn("LAST OUTCOME", rows, func(r row) string { return r.outcome })
	last.min = min(last.width, minCut)
	account.min, app.min = min(account.width, minName), min(app.width, minName)

	columns := []*column{account, app, status, left, generation, last}
	for _, leftOut := range []*column{app, last, generation, left, account} {
		if needed(columns) > room {
			columns = slices.DeleteFunc(columns, func(c *column) bool { return c == leftOut })
		}
	}
	status.min = min(status.min, room)
	spare := spread(columns, room-needed(columns), account, app, last)
	status.addDetails(rows, spare)
	lines := make([]string, len(rows)+1)
	for i := range lines {
		lines[i] = line(columns, i)
	}
	return lines
}

func newColumn(title string, rows []row, text func(row) string) *column {
	c := &column{title: title, width: cells(title)}
	for _, r := range rows {
		cell := printable(text(r))
		c.cells = append(c.cells, cell)
		c.width = max(c.width, cells(cell))
	}
	c.min = c.width
	return c
}

// addDetails extends each label to "label: detail" if there is room, and widens the
// column by at most spare.
func (c *column) addDetails(rows []row, spare int) {
	room := c.width + max(spare, 0)
	for i, r := range rows {
		if r.detail != "" && cells(c.cells[i])+2+minDetail <= room {
			c.cells[i] = cut(c.cells[i]+": "+printable(r.detail), room)
			c.width = max(c.width, cells(c.cells[i]))
		}
	}
}

// needed returns the smallest width of all columns together.
func needed(columns []*column) int {
	sum := gap * (len(columns) - 1)
	for _, c := range columns {
		sum += c.min
	}
	return sum
}

// spread sets each column to its smallest width and gives spare to the wanting columns,
// from left to right. It returns the rest.
func spread(columns []*column, spare int, wanting ...*column) int {
	for _, c := range columns {
		more := 0
		if slices.Contains(wanting, c) {
			more = min(max(spare, 0), c.width-c.min)
		}
		c.width = c.min + more
		spare -= more
	}
	return spare
}

// line returns line i of the table: the titles first, then the rows.
func line(columns []*column, i int) string {
	var b strings.Builder
	for n, c := range columns {
		text := c.title
		if i > 0 {
			text = c.cells[i-1]
		}
		text = cut(text, c.width)
		b.WriteString(text)
		if n < len(columns)-1 {
			b.WriteString(strings.Repeat(" ", c.width-cells(text)+gap))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// cut shortens a text that is wider than room and ends it with an ellipsis.
func cut(text string, room int) string {
	if cells(text) <= room {
		return text
	}
	if room < 1 {
		return ""
	}
	return head(text, room-1) + "…"
}

// head returns the longest beginning of text that fits.
func head(text string, room int) string {
	taken := 0
	for i, r := range text {
		if taken += runeCells(r); taken > room {
			return text[:i]
		}
	}
	return text
}

// wrap breaks text into lines of at most room cells, between words if possible.
func wrap(text string, room int) []string {
	room = max(room, 2) // a wide character needs two cells
	var lines []string
	current := ""
	for _, word := range strings.Fields(printable(text)) {
		if current != "" && cells(current)+1+cells(word) <= room {
			current += " " + word
			continue
		}
		if current != "" {
			lines = append(lines, current)
		}
		for cells(word) > room {
			first := head(word, room)
			lines, word = append(lines, first), word[len(first):]
		}
		current = word
	}
	if current != "" {
		lines = append(lines, current)
	}
	return lines
}

// cells returns how many cells of a terminal a text takes.
func cells(text string) int {
	sum := 0
	for _, r := range text {
		sum += runeCells(r)
	}
	return sum
}

func runeCells(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	if kind := width.LookupRune(r).Kind(); kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// printable replaces characters that would move a terminal's cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
