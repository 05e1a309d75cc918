package words

import "strings"

// StatusText is what a customer reads about a connection. Pages, API, command line and
// events all get it from [Describe].
type StatusText struct {
	Label  string `json:"label"`            // "Connected", "Reconnect needed", ...
	Detail string `json:"detail"`           // the reason, in one plain sentence
	Action string `json:"action,omitempty"` // what the customer should do; empty: nothing
}

// String joins label and detail: "Reconnect needed: access was removed in HubSpot".
func (w StatusText) String() string {
	if w.Detail == "" {
		return w.Label
	}
	return w.Label + ": " + strings.TrimSuffix(w.Detail, ".")
}

// statusTextRow is a row of statusTexts. {p} stands for the provider's title.
type statusTextRow struct {
	status Status
	health Health // "" matches any
	reason Reason // "" matches any
	words  StatusText
}

const reconnectAction = "Reconnect {p}; your settings are kept."

// statusTexts is read from top to bottom; the first matching row counts. The last row
// of each status matches every health and reason.
var statusTexts = []statusTextRow{
	{StatusActive, HealthFailing, "", StatusText{"Connected", failingText, ""}},
	{StatusActive, "", "", StatusText{"Connected", "", ""}},
	{StatusReconnectRequired, "", ReasonInvalidGrant, StatusText{"Reconnect needed", "access was removed in {p}", reconnectAction}},
	{StatusReconnectRequired, "", ReasonRotationLost, StatusText{"Reconnect needed", "a renewal by {p} did not reach us; this was not your doing", reconnectAction}},
	{StatusReconnectRequired, "", ReasonNoRefreshToken, StatusText{"Reconnect needed", "{p} gave no lasting access", reconnectAction}},
	{StatusReconnectRequired, "", ReasonGrantEnded, StatusText{"Reconnect needed", "the time that {p} allows for one consent has ended", reconnectAction}},
	{StatusReconnectRequired, "", ReasonIdleExpired, StatusText{"Reconnect needed", "the connection was not used for longer than {p} allows", reconnectAction}},
	{StatusReconnectRequired, "", ReasonSignInRequired, StatusText{"Reconnect needed", "{p} asks you to sign in or to agree again", reconnectAction}},
	{StatusReconnectRequired, "", ReasonCredentials, StatusText{"Reconnect needed", "{p} no longer accepts the credentials that were entered", "Restore the access in {p}, or enter new credentials; your settings are kept."}},
	{StatusReconnectRequired, "", ReasonGrantReplaced, StatusText{"Reconnect needed", "{p} allows one user only so many connections at a time, and a newer one has ended this", reconnectAction}},
	{StatusReconnectRequired, "", ReasonScopesMissing, StatusText{"Reconnect needed", "a permission is missing in {p}", "Reconnect {p} and grant every permission it asks for."}},
	{StatusReconnectRequired, "", ReasonOperator, StatusText{"Reconnect needed", "our support team asks you to connect {p} again", reconnectAction}},
	{StatusReconnectRequired, "", "", StatusText{"Reconnect needed", "access to {p} has ended", reconnectAction}},
	{StatusPaused, "", "", StatusText{"Paused", "no data is exchanged with {p} until it is resumed", "Resume the connection."}},
	{StatusDisconnected, "", "", StatusText{"Disconnected", "", "Connect {p} to use it again."}},
}

// missingText describes an active connection whose grant has lost a permission.
var missingText = StatusText{"Connected", "a permission is missing in {p}; what needs it does not work", "Reconnect {p} and grant every permission it asks for."}

// DescribeMissing is the [StatusText] of an active connection whose grant has lost a
// permission that it needs. It goes on being refreshed.
func DescribeMissing(title string) StatusText { return missingText.filled(title) }

func (w StatusText) filled(title string) StatusText {
	fill := strings.NewReplacer("{p}", title)
	return StatusText{Label: w.Label, Detail: fill.Replace(w.Detail), Action: fill.Replace(w.Action)}
}

// outlooks has what happens by itself to a connection of each status. An active one is
// refreshed at its due time.
var outlooks = map[Status]string{
	StatusReconnectRequired: "nothing until the customer reconnects; what is left of the access token is served until it expires",
	StatusPaused:            "no refresh until it is resumed; only its refresh token is kept from expiring unused",
	StatusDisconnected:      "nothing; connecting the account again revives it under this id",
}

// Outlook returns, for operators, what happens by itself to a connection of this
// status. It is empty for an active one, whose due time says that.
func Outlook(s Status) string { return outlooks[s] }

// Describe turns a connection's state into text for the customer. If it is failing,
// [DescribeFailing] says more. title is the
// provider's name as customers know it ("HubSpot"). A status that this program does not
// know becomes "Unknown", never connected.
func Describe(status Status, health Health, reason Reason, title string) StatusText {
	for _, row := range statusTexts {
		if row.status != status || (row.health != "" && row.health != health) || (row.reason != "" && row.reason != reason) {
			continue
		}
		return row.words.filled(title)
	}
	return StatusText{Label: "Unknown", Detail: "this program does not know the status " + string(status), Action: "Contact support."}
}
