package codepage

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
)

// title stands for the provider's name in what customers read.
const title = "HubSpot"

const head = `# Codes: what each means, what to do, what customers read

Written by ` + "`make pages`" + `. Codes are stable: programs compare them, and the texts beside them
may change. A customer reads the provider's title; here it is ` + title + `.

`

// Page returns docs/codes.md.
func Page() string {
	var b strings.Builder
	b.WriteString(head)
	statuses := api.ProblemStatuses()
	b.WriteString("## Errors of the API\n\nThe member `code` of an `application/problem+json` body.\n\n")
	table(&b, []string{"code", "status", "means", "do"}, problems, func(l line) []string {
		status := statuses[perennial.Code(l.code)]
		if l.code == "invalid" {
			return []string{code(l.code), fmt.Sprintf("400, %d", status), l.means, l.do}
		}
		return []string{code(l.code), strconv.Itoa(status), l.means, l.do}
	})
	b.WriteString("\n## Why a connection needs a reconnect\n\nThe member `reason` of a connection with the status `reconnect_required`.\n\n")
	table(&b, []string{"reason", "means", "do", "the customer reads"}, reasons, func(l line) []string {
		return []string{code(l.code), l.means, l.do, perennial.Describe(perennial.StatusReconnectRequired, "", perennial.Reason(l.code), title).String()}
	})
	b.WriteString("\n## Why a connection is failing\n\nThe member `failing_code` of an active connection, and `error_code` of an attempt. A failing connection keeps its status and\nis tried again; its access token is handed out to its end.\n\n")
	table(&b, []string{"code", "means", "do", "the customer reads"}, failing, func(l line) []string {
		return []string{code(l.code), l.means, l.do, perennial.DescribeFailing(strings.Replace(l.code, "NN", "03", 1), title).String()}
	})
	b.WriteString("\nA provider's own code, or a standard's, stands there as the provider wrote it, in lower case. What it means follows from whose fault it is, also where the table above has the code too:\n\n")
	known := perennial.KnownCodes()
	rows(&b, []string{"fault", "means", "do", "the customer reads", "codes"}, len(providers), func(i int) []string {
		p := providers[i]
		var codes []string
		for _, c := range slices.Sorted(maps.Keys(known)) {
			if known[c] == p.fault && !slices.ContainsFunc(failing, func(l line) bool { return l.code == c }) {
				codes = append(codes, code(c))
			}
		}
		return []string{string(p.fault), p.means, p.do, perennial.DescribeFailing(strings.Trim(codes[0], "`"), title).String(), strings.Join(codes, ", ")}
	})
	b.WriteString("\n## How a consent ended\n\nThe member `outcome` of a connect session. Where the line says so, the link works again until it expires.\n\n")
	table(&b, []string{"outcome", "means", "do", "the customer reads"}, consents, func(l line) []string {
		text := perennial.DescribeConnect(perennial.ConnectOutcome(l.code), title)
		return []string{code(l.code), l.means, l.do, strings.TrimSpace(text.Label + ". " + text.Detail + " " + text.Action)}
	})
	b.WriteString("\n## Events\n\nThe `type` of a webhook's message. Products get those of connections; operators also those of apps.\n\n")
	table(&b, []string{"type", "means", "do"}, events, func(l line) []string { return []string{code(l.code), l.means, l.do} })
	b.WriteString("\n## How an attempt ended\n\nThe member `outcome` of an attempt, and of the update `refresh_now`.\n\n")
	table(&b, []string{"outcome", "means"}, outcomes, func(l line) []string { return []string{code(l.code), l.means} })
	b.WriteString("\n## Exit codes\n\nOf every program.\n\n")
	numbers := slices.Sorted(maps.Keys(exits))
	rows(&b, []string{"exit code", "means"}, len(numbers), func(i int) []string {
		return []string{strconv.Itoa(numbers[i]), exits[numbers[i]]}
	})
	return b.String()
}

func code(c string) string { return "`" + c + "`" }

func table(b *strings.Builder, names []string, lines []line, cells func(line) []string) {
	rows(b, names, len(lines), func(i int) []string { return cells(lines[i]) })
}

func rows(b *strings.Builder, names []string, n int, cells func(int) []string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	for i := range n {
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells(i), " | "))
	}
}
