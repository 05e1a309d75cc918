package providerpages

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// Index returns the page that lists all providers.
func Index(all []provider.Entry) string {
	w := &writer{}
	w.line("<!-- Do not edit: `make pages` writes it from provider/catalogue. -->\n")
	w.line("# Providers, one by one\n")
	w.paragraph(counts(all))
	w.paragraph("*Reconnect* says what a lost reply to a refresh costs at worst. Anything else is on the provider's page, with its sources. [Providers](../providers.md) explains how to lay your own knowledge over an entry, and how to describe a provider that is not here.")
	byTitle := func(a, b provider.Entry) int {
		return strings.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title))
	}
	var rows [][]string
	for _, e := range slices.SortedFunc(slices.Values(all), byTitle) {
		value := func(fact, known string) string {
			return strings.ReplaceAll(value(e, fact, known), "(#", "("+e.Name+".md#")
		}
		rows = append(rows, []string{
			fmt.Sprintf("[%s](%s.md)", plain(e.Title), e.Name), code(e.Name),
			value("lifetime", lifetime(e)), value("rotation", rotated[e.Rotation]),
			value("idle_clock", after(e.IdleLifetime)), value("hard_clock", after(e.GrantLifetime)),
			reconnect(e), fmt.Sprint(e.CountFacts()[provider.ByProvider]),
		})
	}
	w.table([]string{"provider", "name", "access token", "rotates", "unused token ends", "grant ends", "reconnect", "facts from the provider, of 10"}, rows)
	return w.String()
}

// counts says how much is known, and how.
func counts(all []provider.Entry) string {
	count, six := map[string]int{}, 0
	for _, e := range all {
		for by, n := range e.CountFacts() {
			count[by] += n
		}
		if e.CountFacts()[provider.ByProvider] >= 6 {
			six++
		}
	}
	return fmt.Sprintf("%d providers, ten facts each: %d from pages of the provider's own, %d measured, %d from third parties, %d looked for and not documented, %d not looked up. At %d providers six or more are the provider's own.",
		len(all), count[provider.ByProvider], count[provider.ByMeasurement], count[provider.ByThirdParty], count[provider.ByNobody], count[provider.ByNobodyLooking], six)
}

var rotated = map[provider.Rotation]string{provider.RotationAlways: "yes", provider.RotationSometimes: "sometimes", provider.RotationNever: "no"}

// reconnect says whether a lost reply may end the connection.
func reconnect(e provider.Entry) string {
	if e.GraceWindow > 0 {
		return "no, within " + span(e.GraceWindow)
	}
	return reconnects[cmp.Or(e.ReplayClass, perennial.ReplayUnknown)]
}
