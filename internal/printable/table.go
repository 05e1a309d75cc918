package printable

import (
	"io"
	"strings"
	"text/tabwriter"
)

// Table lays out rows of cells, as a [tabwriter.Writer] with two spaces between.
// Each write is one row: cells separated by tabs, with a line feed at its end.
// What is not safe to show is escaped, so no cell begins a row, or moves another.
type Table struct {
	layout *tabwriter.Writer
	tabs   int // of the first row
	begun  bool
}

// NewTable returns a table on w. [Table.Flush] must be called at its end.
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
	if tabs != t.tabs { // one of them came with a cell: which is not known
		keep = ""
	}
	if _, err := io.WriteString(t.layout, escape(text, keep)+"\n"); err != nil {
		return 0, err
	}
	return len(row), nil
}

// Flush writes the table.
func (t *Table) Flush() error { return t.layout.Flush() }
