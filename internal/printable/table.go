package printable

import (
	"io"
	"strings"
	"text/tabwriter"
)

// Table lays out rows of cells like a [tabwriter.Writer] with two spaces between
// columns. Each write is one row: cells separated by tabs, and a line feed at the end.
// It escapes what is not safe to show, so that no cell starts a row or moves another
// cell.
type Table struct {
	layout *tabwriter.Writer
	tabs   int // number of tabs in the first row
	begun  bool
}

// NewTable returns a table on w. Call [Table.Flush] at the end.
func NewTable(w io.Writer) *Table {
	return &Table{layout: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

// Write adds one row.
func (t *Table) Write(row []byte) (int, error) {
	text := strings.TrimSuffix(string(row), "\n")
	tabs := strings.Count(text, "\t")
	if !t.begun {
		t.begun, t.tabs = true, tabs
	}
	keep := "\t"
	if tabs != t.tabs { // some cell contained a tab, and nothing says which
		keep = ""
	}
	if _, err := io.WriteString(t.layout, escape(text, keep)+"\n"); err != nil {
		return 0, err
	}
	return len(row), nil
}

// Flush writes the table.
func (t *Table) Flush() error { return t.layout.Flush() }
