package providerpages

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"golang.org/x/oauth2"
)

// Page returns the page of a provider.
func Page(e provider.Entry) string {
	e.ReplayClass = cmp.Or(e.ReplayClass, perennial.ReplayUnknown)
	e.ReplaySource = cmp.Or(e.ReplaySource, notLookedUp)
	w := &writer{}
	w.line("<!-- Do not edit: `make pages` writes it from provider/catalogue/%s.yaml. -->\n", e.Name)
	w.line("# %s\n", plain(e.Title))
	w.paragraph(summary(e))
	w.setup(e)
	w.clocks(e)
	w.lostReply(e)
	w.refusals(e)
	if e.Notes != "" {
		w.line("## Known traps\n")
		w.paragraph(sentence(plain(strings.Join(strings.Fields(e.Notes), " "))))
	}
	w.customer(e)
	w.sources(e)
	w.line("[All providers](README.md) · [What a description says](../providers.md) · [The description of %s](../../provider/catalogue/%s.yaml)", plain(e.Title), e.Name)
	return w.String()
}

// summary says the most important facts in one line.
func summary(e provider.Entry) string {
	parts := []string{"Access token lives: " + strong(value(e, "lifetime", lifetime(e))), "a refresh gives: " + strong(value(e, "rotation", given(e))),
		"an unused refresh token ends: " + strong(value(e, "idle_clock", after(e.IdleLifetime))), "a lost reply costs: " + strong(costs[e.ReplayClass])}
	parts = slices.DeleteFunc(parts, func(part string) bool { return strings.HasSuffix(part, seeSource) })
	return strings.Join(parts, " · ")
}

// strong makes text bold, unless it says already that nothing is known.
func strong(text string) string {
	if strings.HasPrefix(text, "*") || text == seeSource {
		return text
	}
	return "**" + text + "**"
}

// setup says how to register an app, there and here.
func (w *writer) setup(e provider.Entry) {
	w.line("## Set up an app\n")
	if e.Grant.FromCredentials() {
		w.credentials(e)
		return
	}
	rows := [][]string{
		{"Register the app", or(e.Setup.Register, notLookedUp)},
		{"Redirect URI", "yours is `<base_url>/connect/callback/<app>`; accepted: " + or(e.Setup.RedirectURIs, notLookedUp)},
		{"What gives a refresh token", or(e.Setup.RefreshToken, notLookedUp)},
		{"Sandbox", or(e.Setup.Sandbox, notLookedUp)},
		{"The client authenticates", authentication(e)},
	}
	if e.TokenURL == "" {
		rows = append(rows, []string{"Endpoints", "those of your server, or your customer's: set them in the app's description"})
	}
	if len(e.AuthParams) > 0 {
		rows = append(rows, []string{"Perennial adds to the consent's address", members(e.AuthParams)})
	}
	if len(e.RefreshParams) > 0 {
		rows = append(rows, []string{"Perennial adds to token requests", members(e.RefreshParams)})
	}
	if e.HostNeeded() {
		rows = append(rows, []string{"Each account has its own host", hosts(e.HostSuffixes)})
	}
	if len(e.APIHosts) > 0 {
		rows = append(rows, []string{"The access token is for", hosts(e.APIHosts)})
	}
	w.table([]string{"", ""}, rows)
	w.example(e)
}

// credentials says what a customer gives in place of a consent.
func (w *writer) credentials(e provider.Entry) {
	optional := ""
	if len(e.CredentialsOptional) > 0 {
		optional = ", and if there are " + hosts(e.CredentialsOptional)
	}
	w.line("There is no consent: a connection is made from what the customer gives, %s%s ([how](../providers.md#connections-without-a-consent)).\n", hosts(e.Credentials), optional)
	w.line("```yaml\napps:\n  - name: %s\n    provider: %s", e.Name, e.Name)
	if !e.CustomersClient() {
		w.line("    client_id: the app's")
	}
	if e.Proof() == provider.ProofKey {
		w.line("    client_key_file: /etc/perennial/%s.pem", e.Name)
	}
	w.line("```\n")
}

// example writes the app's part of a configuration.
func (w *writer) example(e provider.Entry) {
	variable := strings.ToUpper(strings.ReplaceAll(e.Name, "-", "_")) + "_CLIENT_SECRET"
	w.line("In `perennial.yaml`, with the client secret in an environment variable:\n")
	w.line("```yaml\napps:\n  - name: %s\n    provider: %s\n    client_id: the app's\n    client_secret_env: %s\n    scopes: [what, you, need]", e.Name, e.Name, variable)
	if e.TokenURL == "" {
		w.line("    auth_url: https://sso.example.com/authorize\n    token_url: https://sso.example.com/token\n    revoke_url: https://sso.example.com/revoke")
	}
	w.line("```\n")
}

func authentication(e provider.Entry) string {
	var how string
	switch {
	case e.SecretAsUser:
		how = "HTTP Basic, with the client secret as the user name"
	case e.AuthStyle == oauth2.AuthStyleInHeader:
		how = "HTTP Basic"
	case e.AuthStyle == oauth2.AuthStyleInParams:
		how = "`client_id` and `client_secret` as members of the request"
	case e.AuthStyle == provider.AuthStyleNone:
		how = "not at all: a public client"
	case e.AuthStyle == provider.AuthStylePrivateKeyJWT:
		how = "a token that its private key signs"
	case e.AuthStyle == provider.AuthStyleSecretJWT:
		how = "a token that its secret signs"
	case e.AuthStyle == provider.AuthStyleTLS:
		how = "its certificate in TLS"
	default:
		how = "*" + notLookedUp + "*"
	}
	if e.JSONBody {
		how += "; the request is JSON"
	}
	return how
}

func members(list map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(list)) {
		out = append(out, code(name+"="+list[name]))
	}
	return strings.Join(out, ", ")
}

func hosts(list []string) string {
	var out []string
	for _, host := range list {
		if strings.HasPrefix(host, ".") {
			host = "<account>" + host
		}
		out = append(out, code(host))
	}
	return cmp.Or(strings.Join(out, ", "), "*"+notLookedUp+"*")
}

// clocks says how long everything lives.
func (w *writer) clocks(e provider.Entry) {
	w.line("## Tokens and their clocks\n")
	row := func(name, fact, known string) []string { return []string{name, value(e, fact, known), source(e, fact)} }
	rows := [][]string{
		row("Access token lives", "lifetime", lifetime(e)),
		row("A refresh gives", "rotation", given(e)),
		row("An unused refresh token ends", "idle_clock", after(e.IdleLifetime)),
		row("The grant ends, whatever is refreshed", "hard_clock", after(e.GrantLifetime)),
		row("Limit of the token endpoint", "rate_limit", limit(e)),
		row("A revocation reaches", "revocation", plain(e.Revocation)),
	}
	if how := renewals[e.Renewal]; how != "" {
		rows = append(rows, []string{"How access is kept", how, seeSources})
	}
	if e.GrantsPerUser > 0 {
		rows = append(rows, []string{"Grants of one user for one app", fmt.Sprintf("%d; the next one ends the oldest without a word", e.GrantsPerUser), seeSources})
	}
	if e.RefreshWithin > 0 {
		rows = append(rows, []string{"A refresh is accepted", fmt.Sprintf("only in the last %s of the access token; Perennial keeps to it", span(e.RefreshWithin)), seeSources})
	}
	if e.RefreshKillsAccessToken {
		rows = append(rows, []string{"The old access token", "ends with the refresh: requests under way may get a 401, and clients do not keep it in memory", seeSources})
	}
	w.table([]string{"", "", "who says so"}, rows)
}

func lifetime(e provider.Entry) string {
	if e.DefaultLifetime == 0 {
		return ""
	}
	return span(e.DefaultLifetime)
}

func limit(e provider.Entry) string {
	known := plain(e.RateLimit)
	if scope := scopes[e.RateLimitScope]; scope != "" {
		known = strings.TrimPrefix(known+"; "+scope, "; ")
	}
	return known
}

// lostReply says what it costs if the reply to a refresh never arrives.
func (w *writer) lostReply(e provider.Entry) {
	w.line("## If the reply to a refresh is lost\n")
	w.paragraph(fmt.Sprintf("A broken connection or a crash can swallow the reply that has the new tokens. Here that costs: %s.", strong(costs[e.ReplayClass])))
	w.paragraph(afterLoss(e))
	w.paragraph(fmt.Sprintf("Replay class %s: %s", code(string(e.ReplayClass)), sentence(plain(e.ReplaySource))))
}

// refusals says how the token endpoint refuses.
func (w *writer) refusals(e provider.Entry) {
	w.line("## How it refuses\n")
	w.table([]string{"", "", "who says so"}, [][]string{
		{"A dead grant", value(e, "refusal", words(e, perennial.OutcomeRevoked)), source(e, "refusal")},
		{"A wrong client", value(e, "wrong_client", words(e, perennial.OutcomeMisconfigured)), source(e, "wrong_client")},
	})
	if len(e.Spellings) > 0 {
		var rows [][]string
		for _, s := range e.Spellings {
			rows = append(rows, []string{spelling(s), outcomes[s.Outcome]})
		}
		w.table([]string{"reply", "means"}, rows)
	}
	w.paragraph("The codes of the standards, `invalid_grant`, `invalid_client` and the like, count at every provider ([what follows](../state_machine.md)).")
	if e.ChecksClientFirst {
		w.paragraph("It checks the client before the grant: a refused grant shows that the client is right.")
	}
	if e.RequestIDHeader != "" {
		w.paragraph("Its own request id, for its support, is in the header " + code(e.RequestIDHeader) + "; `perennial show ID` lists it with each attempt.")
	}
}

// words returns an entry's own codes for an outcome.
func words(e provider.Entry, outcome perennial.Outcome) string {
	var out []string
	for _, s := range e.Spellings {
		if s.Outcome == outcome && s.Code != "" && !slices.Contains(out, code(s.Code)) {
			out = append(out, code(s.Code))
		}
	}
	return strings.Join(out, ", ")
}

func spelling(s provider.Spelling) string {
	var parts []string
	if s.HTTPStatus != 0 {
		parts = append(parts, fmt.Sprintf("status %d", s.HTTPStatus))
	}
	if s.Code != "" {
		parts = append(parts, code(s.Code))
	}
	if s.Contains != "" {
		parts = append(parts, "with “"+plain(s.Contains)+"”")
	}
	return strings.Join(parts, " ")
}

// sources lists how each fact is known.
func (w *writer) sources(e provider.Entry) {
	w.line("## Sources\n")
	count := e.CountFacts()
	w.paragraph(fmt.Sprintf("How ten facts are known: %d from %s itself, %d measured, %d from third parties, %d looked for and not documented, %d not looked up.",
		count[provider.ByProvider], plain(e.Title), count[provider.ByMeasurement], count[provider.ByThirdParty], count[provider.ByNobody], count[provider.ByNobodyLooking]))
	w.table([]string{"facts", "who says so", "where", "looked up"}, sourceRows(e))
}

// sourceRows lists what is written down about how facts are known, the best source first,
// and at the end the facts of which nothing is.
func sourceRows(e provider.Entry) [][]string {
	var rows [][]string
	for _, by := range provider.BestFirst {
		for _, found := range e.Evidence {
			if found.By == by {
				rows = append(rows, []string{names(found.Facts), bySource[by], where(found.Source), or(found.Date, notLookedUp)})
			}
		}
	}
	left := slices.DeleteFunc(slices.Clone(provider.Facts), func(fact string) bool { return e.Source(fact) != provider.ByNobodyLooking })
	if len(left) > 0 {
		rows = append(rows, []string{names(left), "*" + notLookedUp + "*", "-", "-"})
	}
	return rows
}

func names(facts []string) string {
	var out []string
	for _, fact := range facts {
		out = append(out, cmp.Or(factNames[fact], plain(fact)))
	}
	return strings.Join(out, ", ")
}

// where returns a source as a short link, or as it is.
func where(source string) string {
	if source == "" {
		return "-"
	}
	if !isAddress(source) {
		return plain(source)
	}
	short := strings.TrimSuffix(strings.TrimPrefix(source, "https://"), "/")
	if runes := []rune(short); len(runes) > maxAddress {
		short = string(runes[:maxAddress]) + "..."
	}
	return fmt.Sprintf("[%s](%s)", escaper.Replace(short), strings.NewReplacer("|", "%7C", "(", "%28", ")", "%29").Replace(source))
}

// maxAddress bounds how much of an address a table shows.
const maxAddress = 60
