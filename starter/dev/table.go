package dev

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// row is what the table shows of one connection.
type row struct {
	account, app     string
	label, detail    string // of its status: the label is what must be seen
	left, generation string
	outcome          string // of its last attempt
}

// column is one column of the table; min is the least width at which it says
// something.
type column struct {
	title      string
	cells      []string
	min, width int
}

const (
	gap       = 2  // between columns
	minName   = 20 // a longer account or app may be cut to this
	minCut    = 9  // the last outcome may be cut to this: "refreshed" is whole
	minDetail = 12 // a shorter detail says nothing
)

// table lays the rows out in lines that are at most so many cells wide, with a line
// of titles. Where there is little room it leaves columns out. It never cuts a
// status's label while a cell of another column is shown.
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

// addDetails makes each label "label: detail" for which there is room, and widens
// the column by spare at most.
func (c *column) addDetails(rows []row, spare int) {
	room := c.width + max(spare, 0)
	for i, r := range rows {
		if r.detail != "" && cells(c.cells[i])+2+minDetail <= room {
			c.cells[i] = cut(c.cells[i]+": "+printable(r.detail), room)
			c.width = max(c.width, cells(c.cells[i]))
		}
	}
}

// needed is the least width of all columns together.
func needed(columns []*column) int {
	sum := gap * (len(columns) - 1)
	for _, c := range columns {
		sum += c.min
	}
	return sum
}

// spread sets the widths of the columns: the least, and of spare what those that
// want more can use, from left to right. It returns what is left.
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

// line is line i of the table: the titles, then the rows.
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

// cut ends a text that is wider than room with an ellipsis.
func cut(text string, room int) string {
	if cells(text) <= room {
		return text
	}
	if room < 1 {
		return ""
	}
	return head(text, room-1) + "…"
}

// head is as much of the beginning of text as fits.
func head(text string, room int) string {
	taken := 0
	for i, r := range text {
		if taken += runeCells(r); taken > room {
			return text[:i]
		}
	}
	return text
}

// wrap breaks text into lines that are at most room cells wide, between words if
// it can.
func wrap(text string, room int) []string {
	room = max(room, 2) // a wide character needs as much
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

// cells is how many cells of a terminal a text takes.
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

// printable replaces what would move a terminal's cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
