package providerpages

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/perennial-oauth/perennial/provider"
)

const (
	notLookedUp   = "not looked up"
	notDocumented = "not documented"
)

// writer collects a page in Markdown.
type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// paragraph writes text that ends a block. No text writes nothing.
func (w *writer) paragraph(text string) {
	if text != "" {
		w.line("%s\n", text)
	}
}

// table writes a table of two columns, or more. A cell holds Markdown already.
func (w *writer) table(head []string, rows [][]string) {
	w.line("| %s |", strings.Join(head, " | "))
	w.line("|%s", strings.Repeat("---|", len(head)))
	for _, row := range rows {
		w.line("| %s |", strings.Join(row, " | "))
	}
	w.line("")
}

var escaper = strings.NewReplacer("\n", " ", `\`, `\\`, "<", "&lt;", "|", `\|`, "*", `\*`, "`", "\\`", "[", `\[`, "]", `\]`)

// plain returns a description's text as Markdown that shows it as it is, also in a cell.
// An address becomes a link.
func plain(text string) string {
	text = strings.TrimSpace(text)
	if isAddress(text) {
		return "<" + strings.ReplaceAll(text, "|", "%7C") + ">"
	}
	return escaper.Replace(text)
}

func isAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && !strings.ContainsAny(text, " <>{}")
}

// code returns text in the type of code, also in a cell.
func code(text string) string {
	return "`" + strings.NewReplacer("`", "'", "|", `\|`, "\n", " ").Replace(text) + "`"
}

// or returns text as [plain] has it, or what stands for none.
func or(text, none string) string {
	if strings.TrimSpace(text) == "" {
		return "*" + none + "*"
	}
	return plain(text)
}

// sentence begins text with a capital and ends it with a full stop.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	if first, size := utf8.DecodeRuneInString(text); !strings.HasPrefix(text, "http") {
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

const day = 24 * time.Hour

// span writes a duration in its largest whole unit: 5 years, 60 days, 90 minutes.
func span(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{365 * day, "year"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		n := d / unit.d
		switch {
		case n == 0 || d%unit.d != 0:
		case n == 1:
			return "1 " + unit.name
		default:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}

// bySource names the source of a fact, for a reader.
var bySource = map[string]string{
	provider.ByProvider:      "the provider",
	provider.ByMeasurement:   "measured",
	provider.ByThirdParty:    "a third party",
	provider.ByNobody:        notDocumented,
	provider.ByNobodyLooking: notLookedUp,
}

const (
	seeSource  = "see the [source](#sources)"
	seeSources = "[sources](#sources)" // in the column of who says so
)

// value returns a fact for its table: its value, or why there is none.
func value(e provider.Entry, fact, known string) string {
	source := e.Source(fact)
	switch {
	case known != "":
		return known
	case source == provider.ByNobody || source == provider.ByNobodyLooking:
		return "*" + bySource[source] + "*"
	case source == provider.ByProvider && (fact == "idle_clock" || fact == "hard_clock"):
		return "never"
	}
	return seeSource
}

// source returns the source of a fact, for the column beside it.
func source(e provider.Entry, fact string) string {
	switch by := e.Source(fact); by {
	case provider.ByNobody, provider.ByNobodyLooking:
		return "-"
	default:
		return bySource[by]
	}
}
