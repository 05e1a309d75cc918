package cli

import (
	"strings"
	"unicode/utf8"
)

// wrap breaks a text at spaces, so that it fits a line of a terminal after indent
// columns, and indents the lines after the first. A longer word has a line of its own.
func wrap(text string, indent int) string {
	var out strings.Builder
	used := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case used == 0:
		case used+1+n > lineWidth-indent:
			out.WriteString("\n" + strings.Repeat(" ", indent))
			used = 0
		default:
			out.WriteByte(' ')
			used++
		}
		out.WriteString(word)
		used += n
	}
	return out.String()
}
